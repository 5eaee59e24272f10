"""The simulated vendors' and platforms' keys: made when they are first asked for, and kept in a folder.

They protect nothing, and are kept as if they did: the folder is its owner's alone (0700), each key a file of its own
(0600, PKCS #8 in PEM) that appears whole or not at all. A folder is one platform: who keeps it keeps the chip ID, the
host key and the roots that evidence is verified with.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sequester.errors import HostError, InputError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    Key = EllipticCurvePrivateKey | RSAPrivateKey

_CURVES = {"secp256r1": "SECP256R1", "secp384r1": "SECP384R1", "secp521r1": "SECP521R1"}
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,60}")
_LARGEST = 1 << 14


def default_folder() -> Path:
    """`$XDG_STATE_HOME/sequester/simulated`, or `~/.local/state/sequester/simulated` (XDG Base Directory 0.8)."""
    base = os.environ.get("XDG_STATE_HOME", "")
    return (
        Path(base if base.startswith("/") else os.path.expanduser("~/.local/state")) / "sequester/simulated"
    )


class Identity:
    """The keys in a folder, which is made when the first key is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._keys: dict[str, Key] = {}

    def curve_key(self, name: str, curve: str) -> EllipticCurvePrivateKey:
        """Return a key on ``secp256r1``, ``secp384r1`` or ``secp521r1``, made if there is none of this name yet.

        Raises HostError where the folder cannot be used, InputError for a file that holds no such key.
        """
        from cryptography.hazmat.primitives.asymmetric import ec

        made = getattr(ec, _CURVES[curve])
        key = self._key(name, lambda: ec.generate_private_key(made()))
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != curve:
            raise self._wrong(name, curve)
        return key

    def rsa_key(self, name: str, bits: int = 4096) -> RSAPrivateKey:
        """Return an RSA key, as `curve_key` does."""
        from cryptography.hazmat.primitives.asymmetric import rsa

        key = self._key(name, lambda: rsa.generate_private_key(65537, bits))
        if not isinstance(key, rsa.RSAPrivateKey) or key.key_size != bits:
            raise self._wrong(name, f"RSA of {bits} bits")
        return key

    def _key(self, name: str, make: Callable[[], Key]) -> Key:
        if name not in self._keys:
            if not _NAME.fullmatch(name):
                raise ValueError(f"'{name}' is no name of a key")
            try:
                self._keys[name] = self._read(name) or self._write(name, make())
            except OSError as error:
                raise HostError(
                    "the simulated platform's keys cannot be kept",
                    code="simulator.identity",
                    where=str(self.folder),
                    why=error.strerror or str(error),
                    remedy="name a folder that can be written, or set XDG_STATE_HOME",
                ) from None
        return self._keys[name]

    def _read(self, name: str) -> Key | None:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            with open(self._path(name), "rb") as file:
                data = file.read(_LARGEST)
        except FileNotFoundError:
            return None
        try:
            key: Any = load_pem_private_key(data, None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise self._wrong(name, "PKCS #8 in PEM") from None
        found: Key = key
        return found

    def _write(self, name: str, key: Key) -> Key:
        """Keep a key, unless another process was faster: then that one's is returned."""
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, beside = tempfile.mkstemp(prefix=".key-", dir=self.folder)
        try:
            with open(descriptor, "wb") as file:
                file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            try:
                os.link(beside, self._path(name))
            except FileExistsError:
                return self._read(name) or key
        finally:
            os.unlink(beside)
        return key

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.pem"

    def _wrong(self, name: str, wanted: str) -> InputError:
        return InputError(
            f"this is no private key ({wanted})",
            code="simulator.identity",
            where=str(self._path(name)),
            remedy="remove the file, and another is made; evidence then has another root",
        )
