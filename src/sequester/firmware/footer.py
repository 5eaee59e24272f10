"""OVMF's table of GUIDed entries at the end of an image, by which it tells a launcher where things are.

Layout, from the end of the image (QEMU hw/i386/pc_sysfw_ovmf.c; edk2 OvmfPkg/ResetVector/Ia16/ResetVectorVtf0.asm)::

    -0x20  16-bit reset code, 32 bytes
    -0x30  GUID of the footer, 16 bytes
    -0x32  length of the whole table, footer included: 16 bits, little-endian
    ...    entries, the last one first: data, 16-bit length of data + 18, GUID

GUIDs have their first three fields little-endian. Of entries with the same GUID the one nearest the end counts.
"""

from __future__ import annotations

import struct

from sequester.firmware.image import Image, malformed, read_exactly
from sequester.record import record

FOOTER = "96b582de-1fb2-45f7-baea-a366c55a082d"
SEV_ES_RESET = "00f771de-1a7e-4fcb-890e-68c77e2fb44e"
SEV_SECRET = "4c2eb361-7d9b-4cc3-8081-127c90d3d294"
SEV_HASHES = "7255371f-3a3b-4b04-927b-1da6efa8d454"
SEV_METADATA = "dc886566-984a-4798-a75e-5585a7bf67cc"
TDX_METADATA = "e47a6535-984a-4798-865e-4685a7bf8ec2"
IGVM_METADATA = "784fa70e-3176-4677-8a20-04b68699e374"
SVSM_INFO = "a789a612-0597-4c4b-a49f-cbb1fe9d1ddd"

NAMES = {
    SEV_ES_RESET: "SEV-ES reset block",
    SEV_SECRET: "SEV secret block",
    SEV_HASHES: "SEV hash table block",
    SEV_METADATA: "SEV metadata offset",
    TDX_METADATA: "TDX metadata offset",
    IGVM_METADATA: "IGVM parameter offset",
    SVSM_INFO: "SVSM information",
}
"""What the GUIDs stand for (edk2 OvmfPkg/ResetVector; coconut-svsm igvmbuilder for the last two)."""

RESET_CODE = 0x20
"""Bytes between the table and the end of the image."""
_TAIL = struct.Struct("<H16s")
_AREA = struct.Struct("<II")
_WORD = struct.Struct("<I")

HASH_TABLE_SIZE = 176
"""QEMU's `PaddedSevHashTable` in bytes (target/i386/sev.c): a smaller area is refused."""


@record
class Area:
    """An area of guest memory: `base` and `size` in bytes. Both are zero where a build has none."""

    base: int
    size: int


@record
class Entry:
    """One entry of the table: its GUID in the usual spelling, its data, and where the data is in the image."""

    guid: str
    data: bytes
    offset: int

    @property
    def name(self) -> str:
        """What the entry is, or its GUID."""
        return NAMES.get(self.guid, self.guid)


@record
class FooterTable:
    """The table: its entries from the end of the image backwards, and why reading stopped early, or ''."""

    entries: tuple[Entry, ...] = ()
    fault: str = ""

    def entry(self, guid: str) -> Entry | None:
        """Return the entry with this GUID that counts, or None."""
        return next((entry for entry in self.entries if entry.guid == guid), None)

    @property
    def secret(self) -> Area | None:
        """Where a launch secret goes, or None. InputError where the entry is too short."""
        return self._area(SEV_SECRET)

    @property
    def hashes(self) -> Area | None:
        """Where the table of kernel hashes goes, or None. InputError where the entry is too short."""
        return self._area(SEV_HASHES)

    @property
    def sev_es_reset(self) -> int | None:
        """The address at which further vCPUs of an SEV-ES or SNP guest start, or None."""
        return self._word(SEV_ES_RESET)

    @property
    def sev_metadata(self) -> int | None:
        """The SEV metadata's distance from the end of the image in bytes, or None."""
        return self._word(SEV_METADATA)

    @property
    def tdx_metadata(self) -> int | None:
        """The TDX metadata's distance from the end of the image in bytes, or None."""
        return self._word(TDX_METADATA)

    def _area(self, guid: str) -> Area | None:
        entry = self.entry(guid)
        if entry is None:
            return None
        return Area(*_AREA.unpack(_at_least(entry, _AREA.size)[: _AREA.size]))

    def _word(self, guid: str) -> int | None:
        entry = self.entry(guid)
        if entry is None:
            return None
        (value,) = _WORD.unpack(_at_least(entry, _WORD.size)[: _WORD.size])
        return int(value)


def read_footer(image: Image) -> FooterTable | None:
    """Return the table at the end of an image, or None where there is none: it is not OVMF, or a very old one.

    As in QEMU, entries up to the first wrong one count. A table whose length cannot be is an InputError.
    """
    end = image.size - RESET_CODE
    if end < _TAIL.size:
        return None
    length, guid = _TAIL.unpack(
        read_exactly(image, end - _TAIL.size, _TAIL.size, "the footer of the GUID table")
    )
    if guid_text(guid) != FOOTER:
        return None
    if not _TAIL.size <= length <= end:
        raise malformed(f"the GUID table claims {length} bytes, of an image of {image.size}")
    start = end - length
    table = read_exactly(image, start, length - _TAIL.size, "the GUID table")
    entries: list[Entry] = []
    position = len(table)
    while position >= _TAIL.size:
        size, guid = _TAIL.unpack_from(table, position - _TAIL.size)
        if not _TAIL.size <= size <= position:
            fault = f"entry {len(entries) + 1} of the GUID table ({guid_text(guid)}) claims {size} bytes of {position}"
            return FooterTable(tuple(entries), fault)
        data = table[position - size : position - _TAIL.size]
        position -= size
        entries.append(Entry(guid_text(guid), data, start + position))
    fault = f"{position} stray bytes before the first entry of the GUID table" if position else ""
    return FooterTable(tuple(entries), fault)


def guid_text(raw: bytes) -> str:
    """Spell 16 bytes as a GUID with little-endian first fields, in lower case."""
    first, second, third = struct.unpack_from("<IHH", raw)
    return f"{first:08x}-{second:04x}-{third:04x}-{raw[8:10].hex()}-{raw[10:16].hex()}"


def _at_least(entry: Entry, size: int) -> bytes:
    if len(entry.data) < size:
        raise malformed(f"the {entry.name} has {len(entry.data)} bytes of data, {size} are needed")
    return entry.data
