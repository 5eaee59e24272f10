"""The vendors' root certificates, shipped as they publish them and pinned by their SHA-256.

One module a vendor has the pins and addresses; the files beside it are the certificates in DER. A file whose digest is
not its pin is not used. A certificate that is pinned but not shipped is as good when it is handed in.
"""

from __future__ import annotations

import os
from functools import cache
from hashlib import sha256

from sequester.errors import InputError


@cache
def shipped(name: str, pin: str) -> bytes | None:
    """Return the certificate in a file of this folder, None where it is not shipped.

    `pin` is its SHA-256 in hex. Raises InputError for a file that was changed.
    """
    try:
        with open(os.path.join(os.path.dirname(__file__), name), "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return None
    if sha256(data).hexdigest() != pin:
        raise InputError("this shipped certificate was changed", code="evidence.root", where=name)
    return data
