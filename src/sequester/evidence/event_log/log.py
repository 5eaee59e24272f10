"""Event logs in the TCG's crypto-agile form, as ACPI's CCEL table and Linux hand them on.

Layout, little-endian (TCG PC Client Platform Firmware Profile 1.06, 10.2; UEFI 2.10, 38.4 for the registers)::

    first    register 32, type 32: 3, 20 zeros, length 32: "Spec ID Event03", 0, class 32, version minor, major, errata,
             size of UINTN, number of algorithms 32, each: ID 16, size of its digest 16; length 8 and vendor's data
    then     register 32, type 32, number of digests 32, each: ID 16 and the digest; length 32 and the event's data

Of a TDX guest register 0 is MRTD, 1 to 4 are RTMR0 to RTMR3. The log ends where the next type and register are all ones
or all zeros, or with the data.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from sequester.errors import InputError

SIGNATURE = b"Spec ID Event03\0"
SHA384 = 0xC
_HEAD = struct.Struct("<II20sI")
_SPEC = struct.Struct("<16sIBBBBI")
_NO_ACTION = 3
_MOST_ALGORITHMS = 8
_MOST_EVENTS = 1 << 16
_LARGEST_EVENT = 1 << 20
_KNOWN_SIZES = {0x4: 20, 0xB: 32, 0xC: 48, 0xD: 64, 0x12: 32}
"""TCG algorithm IDs and their digests' sizes in bytes."""
_ENDS = (b"\xff" * 8, bytes(8))


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its register's number, its type, its digests by algorithm, its data, and where it is in the log."""

    register: int
    type: int
    digests: tuple[tuple[int, bytes], ...]
    data: bytes
    offset: int

    @property
    def sha384(self) -> bytes | None:
        """Its SHA-384 digest, None where it has none."""
        return next((digest for algorithm, digest in self.digests if algorithm == SHA384), None)

    @property
    def size(self) -> int:
        """Bytes that it takes in the log."""
        return 16 + sum(2 + len(digest) for _, digest in self.digests) + len(self.data)


def looks_so(data: bytes) -> bool:
    """Tell whether bytes may be such a log."""
    return data[32:48] == SIGNATURE


def parse(data: bytes, where: str = "event log") -> tuple[Event, ...]:
    """Read a log. Raises InputError naming the offset."""

    def fault(what: str, offset: int) -> InputError:
        return InputError(what, code="evidence.event-log", where=f"{where}: offset {offset:#x}")

    if len(data) < _HEAD.size + _SPEC.size or not looks_so(data):
        raise fault("this is no event log in the TCG's crypto-agile form", 0)
    _, kind, _, size = _HEAD.unpack_from(data)
    end = _HEAD.size + size
    if kind != _NO_ACTION or end > len(data) or size < _SPEC.size:
        raise fault("the first event is malformed", 0)
    count = _SPEC.unpack_from(data, _HEAD.size)[6]
    at = _HEAD.size + _SPEC.size
    if not 0 < count <= _MOST_ALGORITHMS or at + 4 * count > end:
        raise fault(f"{count} algorithms are none, or too many", at)
    sizes = dict(struct.unpack_from("<HH", data, at + 4 * number) for number in range(count))
    if any(_KNOWN_SIZES.get(algorithm, length) != length for algorithm, length in sizes.items()):
        raise fault("an algorithm's digest has another size than it can have", at)
    found: list[Event] = []
    at = end
    while at + 8 <= len(data) and data[at : at + 8] not in _ENDS:
        if len(found) == _MOST_EVENTS:
            raise fault(f"more than {_MOST_EVENTS} events", at)
        start = at
        try:
            register, kind, number = struct.unpack_from("<III", data, at)
            at += 12
            if number > count:
                raise fault(f"an event with {number} digests, and the log has {count} algorithms", start)
            digests = []
            for _ in range(number):
                (algorithm,) = struct.unpack_from("<H", data, at)
                if algorithm not in sizes:
                    raise fault(f"an event has algorithm {algorithm:#x}, which the log does not name", at)
                digests.append((algorithm, data[at + 2 : at + 2 + sizes[algorithm]]))
                at += 2 + sizes[algorithm]
            (length,) = struct.unpack_from("<I", data, at)
            at += 4
        except struct.error:
            raise fault("the log ends within an event", start) from None
        if length > _LARGEST_EVENT or at + length > len(data):
            raise fault(f"an event claims {length} bytes of data", start)
        found.append(Event(register, kind, tuple(digests), data[at : at + length], start))
        at += length
    return tuple(found)
