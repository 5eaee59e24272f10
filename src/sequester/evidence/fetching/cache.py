"""Documents that were fetched before, each in a file named by the SHA-256 of its address.

`NAME.json` beside it has the address, when it was fetched, until when it may be used (null: for ever), and the
document's own SHA-256, so that a pair of which one half was written is no document.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from sequester.errors import InputError
from sequester.evidence.fetching.document import LARGEST, Document
from sequester.evidence.fetching.entry import read_entry, told_of
from sequester.evidence.fetching.files import replace
from sequester.evidence.files import read_file

_LARGEST_ENTRY = 16 << 10


def cache_folder(environment: Mapping[str, str]) -> Path | None:
    """Return the user's cache of collateral, by $XDG_CACHE_HOME or $HOME; None where neither is a whole path."""
    for name, below in (("XDG_CACHE_HOME", ""), ("HOME", ".cache")):
        said = environment.get(name, "")
        if os.path.isabs(said):
            return Path(said, below, "sequester", "collateral")
    return None


class Cache:
    """A folder of documents."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, address: str) -> Document | None:
        """Return a document; None where it is not there, or not whole. Whether it is still good is not asked."""
        path = self._path(address)
        try:
            entry = read_entry(json.loads(read_file(f"{path}.json", _LARGEST_ENTRY)))
            data = read_file(str(path), LARGEST)
        except (InputError, ValueError, RecursionError):
            return None
        if entry is None or entry.address != address or entry.more.get("sha256") != sha256(data).hexdigest():
            return None
        return Document(address, data, entry.fetched, entry.until)

    def put(self, document: Document) -> str:
        """Keep a document; return why that cannot be, or ''."""
        path = self._path(document.address)
        entry = told_of(document, sha256=sha256(document.data).hexdigest())
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace(path, document.data)
            replace(path.with_suffix(".json"), json.dumps(entry).encode())
        except OSError as error:
            return f"{self._folder} cannot be written: {error.strerror or error}"
        return ""

    def _path(self, address: str) -> Path:
        return self._folder / sha256(address.encode()).hexdigest()
