"""A folder that was filled for a place without a network: documents under readable names, and ``index.json``.

The index is an object with ``schema`` and ``documents``, a list with an entry for each: its address, ``file``, when it
was fetched and until when it may be used (null: for ever).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from sequester.errors import InputError
from sequester.evidence.fetching.document import LARGEST, Document
from sequester.evidence.fetching.entry import Entry, read_entry, told_of
from sequester.evidence.fetching.files import replace
from sequester.evidence.files import read_file

SCHEMA = "sequester-collateral/1"
INDEX = "index.json"
_LARGEST_INDEX = 64 << 20
_SHORT = {
    "kdsintf.amd.com": "amd",
    "api.trustedservices.intel.com": "intel",
    "certificates.trustedservices.intel.com": "intel",
}
_LONGEST_WORD = 24
_DULL = frozenset(("v1", "v4", "certification"))
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=-]*")


@dataclass(frozen=True, slots=True)
class Saved:
    """A document in a folder: what the index says of it, and the path of its file."""

    entry: Entry
    path: str

    def read(self) -> Document | None:
        """Return the document; None where its file cannot be read."""
        try:
            data = read_file(self.path, LARGEST)
        except InputError:
            return None
        return Document(self.entry.address, data, self.entry.fetched, self.entry.until)


def read_index(folder: str) -> Mapping[str, Saved]:
    """Return what a folder has, by address; nothing where it has no index of ours.

    Raises InputError for an index that is one of ours and malformed.
    """
    path = os.path.join(folder, INDEX)
    if not os.path.exists(path):
        return {}
    try:
        told = json.loads(read_file(path, _LARGEST_INDEX))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(told, dict) or told.get("schema") != SCHEMA:
        return {}
    entries = told.get("documents")
    found: dict[str, Saved] = {}
    for number, each in enumerate(entries if isinstance(entries, list) else [None], 1):
        entry = read_entry(each)
        name = entry.more.get("file", "") if entry is not None else ""
        if entry is None or not _PLAIN.fullmatch(name):
            raise InputError(
                f"entry {number} of this index is malformed",
                code="collateral.index",
                where=path,
                remedy="fill the folder anew with `sequester collateral`",
            )
        found[entry.address] = Saved(entry, os.path.join(folder, name))
    return found


def write_folder(folder: str, documents: Iterable[Document]) -> None:
    """Add documents to a folder, in the place of older ones. Raises InputError where that cannot be."""
    known = read_index(folder)
    new = {each.address: each for each in documents}
    mask = os.umask(0)
    os.umask(mask)
    mode = 0o666 & ~mask
    entries = [told_of_saved(each) for address, each in known.items() if address not in new]
    try:
        os.makedirs(folder, exist_ok=True)
        for document in new.values():
            name = _name(document)
            replace(Path(folder, name), document.data, mode)
            entries.append(told_of(document, file=name))
        entries.sort(key=lambda entry: entry["address"] or "")
        index = json.dumps({"schema": SCHEMA, "documents": entries}, indent=2) + "\n"
        replace(Path(folder, INDEX), index.encode(), mode)
    except OSError as error:
        raise InputError(
            "this folder cannot be written", code="output.unwritable", where=folder, why=error.strerror or ""
        ) from None


def told_of_saved(saved: Saved) -> dict[str, str | None]:
    """Return what the index says of a document that is there, as JSON has it."""
    entry = saved.entry
    return told_of(
        Document(entry.address, b"", entry.fetched, entry.until), file=os.path.basename(saved.path)
    )


def _name(document: Document) -> str:
    """Return a file name that tells what is in it; the end of it is the address's own."""
    parts = urlsplit(document.address)
    words = re.findall(r"[A-Za-z0-9._=]+", f"{parts.path} {parts.query} {parts.fragment}")
    kept = [word[:_LONGEST_WORD] for word in words if word not in _DULL][:6]
    own = sha256(document.address.encode()).hexdigest()[:8]
    return "-".join((_SHORT.get(parts.netloc, "other"), *kept, own)) + _ending(document.data)


def _ending(data: bytes) -> str:
    if data[:1] == b"\x30":
        return ".der"
    return ".pem" if b"-----BEGIN" in data[:4096] else ".json"
