"""What a guest that starts from an IGVM file will be measured as, on SEV-SNP and TDX.

An IGVM file lists what goes into the guest, in order. Layouts, little-endian (microsoft/igvm, igvm_defs): the variable
headers are of `sequester.firmware.igvm`; a page (0x302): address 64, compatibility mask, offset of its data in the
file (0: zeros), flags 32 bits each, type and reserved 16; a parameter area (0x301): bytes 64, number and offset 32;
its insertion (0x303): address 64, mask and number 32; a processor (0x304): address 64, mask and offset 32, number 16.

How each is measured: microsoft/igvm, igvm/src/measurement; QEMU backends/igvm.c (10.1 to 11.1), where pages that follow
each other are zero pages if none of them has data; coconut-svsm tools/igvmmeasure.
"""

from __future__ import annotations

import struct
from hashlib import sha384

from sequester.errors import InputError
from sequester.measure import mrtd, snp_pages, vmsa
from sequester.measure.measurement import Contribution, Measurement, Register
from sequester.measure.vmsa import QEMU
from sequester.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC = b"IGVM"
PAGE, LARGE_PAGE = 4096, 2 << 20
MOST_BYTES = 256 << 20
"""Guest memory that one file may fill: 2 MiB without data are 24 bytes of a file."""

SNP, TDX = 2, 3
"""`IgvmPlatformType`."""

_FIXED = struct.Struct("<4sIII")
_HEADER = struct.Struct("<II")
_PLATFORM = struct.Struct("<IBBHQ")
_AREA = struct.Struct("<QII")
_PAGE = struct.Struct("<QIIIHH")
_INSERT = struct.Struct("<QII")
_CONTEXT = struct.Struct("<QIIH")
_IS_PLATFORM, _IS_AREA, _IS_PAGE, _IS_INSERT, _IS_CONTEXT = 0x1, 0x301, 0x302, 0x303, 0x304
_LEAST = {
    _IS_PLATFORM: _PLATFORM.size,
    _IS_AREA: _AREA.size,
    _IS_PAGE: _PAGE.size,
    _IS_INSERT: _INSERT.size,
    _IS_CONTEXT: _CONTEXT.size,
}
"""Type of a header → bytes that it has at least."""
_LARGE, _UNMEASURED, _SHARED = 1, 2, 4
_NORMAL, _SECRETS, _CPUID, _CPUID_XF = range(4)
_MOST_AREAS = 256


@record
class Run:
    """Pages that follow each other with the same flags and type; `data` is as long as they, or b"" for zeros."""

    address: int
    size: int
    flags: int
    type: int
    data: bytes = b""


@record
class Area:
    """A parameter area that the launcher fills in: unmeasured pages."""

    address: int
    size: int


@record
class Context:
    """A processor's state: a VMSA page."""

    number: int
    page: bytes


@record
class IgvmFile:
    """What a file puts into a guest of one platform, in order: page by page, as it says it."""

    name: str
    steps: tuple[Run | Area | Context, ...]

    def runs(self) -> tuple[Run | Area | Context, ...]:
        """Return the steps as QEMU takes them: pages that follow each other are one run."""
        return tuple(_runs(iter(self.steps)))


def read_igvm(data: bytes, platform: int, name: str) -> IgvmFile:
    """Read a file's directives for one platform. Raises InputError, naming it, where it is malformed."""
    try:
        return IgvmFile(name, tuple(_directives(data, platform)))
    except (struct.error, _MalformedError) as error:
        raise InputError(
            f"this IGVM file is malformed: {error}",
            code="firmware.malformed",
            where=name,
            remedy="make it again from its build",
        ) from None


class _MalformedError(ValueError):
    pass


def _directives(data: bytes, platform: int) -> Iterator[Run | Area | Context]:
    magic, version, start, size = _FIXED.unpack_from(data)
    if magic != MAGIC or version not in (1, 2):
        raise _MalformedError(f"it is not of version 1 or 2 ({version})")
    end = start + size
    if end > len(data):
        raise _MalformedError(f"its headers end at {end:#x}, outside the file")
    mask, left, at = 0, MOST_BYTES, start
    areas: dict[int, int] = {}
    while at + _HEADER.size <= end:
        kind, length = _HEADER.unpack_from(data, at)
        body, at = at + _HEADER.size, at + _HEADER.size + -(-length // 8) * 8
        if at > end or length < _LEAST.get(kind, 0):
            raise _MalformedError(f"a header of type {kind:#x} claims {length} bytes")
        step: Run | Area | Context | None = None
        if kind == _IS_PLATFORM:
            own, _vtl, of, _version, _boundary = _PLATFORM.unpack_from(data, body)
            mask |= own if of == platform else 0
        elif kind == _IS_AREA:
            bytes_, number, _offset = _AREA.unpack_from(data, body)
            areas[number] = bytes_
            if len(areas) > _MOST_AREAS:
                raise _MalformedError("it has more parameter areas than any real one")
        elif kind == _IS_PAGE:
            address, own, offset, flags, type_, _reserved = _PAGE.unpack_from(data, body)
            step = _page(data, address, offset, flags, type_) if own & mask else None
        elif kind == _IS_INSERT:
            address, own, number = _INSERT.unpack_from(data, body)
            if own & mask:
                if number not in areas:
                    raise _MalformedError(f"it inserts parameter area {number}, which it has not")
                step = Area(address, -(-areas[number] // PAGE) * PAGE)
        elif kind == _IS_CONTEXT:
            _address, own, offset, number = _CONTEXT.unpack_from(data, body)
            if own & mask:
                step = Context(number, _at(data, offset, PAGE))
        if step is not None:
            left -= step.size if not isinstance(step, Context) else PAGE
            if left < 0:
                raise _MalformedError("it fills more memory than any real one")
            yield step
    if not mask:
        raise _MalformedError("it is not made for this platform")


def _page(data: bytes, address: int, offset: int, flags: int, type_: int) -> Run:
    size = LARGE_PAGE if flags & _LARGE else PAGE
    if address % size or type_ not in (_NORMAL, _SECRETS, _CPUID, _CPUID_XF):
        raise _MalformedError(f"a page at {address:#x} is of type {type_}, {size:#x} bytes")
    return Run(address, size, flags, type_, _at(data, offset, size) if offset else b"")


def _at(data: bytes, offset: int, size: int) -> bytes:
    if offset + size > len(data):
        raise _MalformedError(f"data would be at {offset:#x}, outside the file")
    return data[offset : offset + size]


def _runs(steps: Iterator[Run | Area | Context]) -> Iterator[Run | Area | Context]:
    """Join pages that follow each other as QEMU does: alike in flags and type, whether or not they have data."""
    joined: list[Run] = []
    end = 0

    def run() -> Run:
        first = joined[0]
        some = any(each.data for each in joined)
        data = b"".join(each.data or bytes(each.size) for each in joined) if some else b""
        return Run(first.address, end - first.address, first.flags, first.type, data)

    for step in steps:
        if joined and not (
            isinstance(step, Run)
            and (step.address, step.flags, step.type) == (end, joined[0].flags, joined[0].type)
        ):
            yield run()
            joined = []
        if isinstance(step, Run):
            joined.append(step)
            end = step.address + step.size
        else:
            yield step
    if joined:
        yield run()


@record
class SnpIgvmLaunch:
    """A SEV-SNP guest that starts from an IGVM file; QEMU adds its processors last, and zeros as zero pages.

    The others say what else a launcher may do: `apart`, that each page without data is a zero page, whatever is beside
    it; `processors`, how many of the file's it starts; `features`, the SEV_FEATURES that it gives them; `more`, the
    VMSA pages of processors that the file does not have.
    """

    file: IgvmFile
    monitor: str = QEMU
    notes: tuple[str, ...] = ()
    apart: bool = False
    processors: int | None = None
    features: int | None = None
    more: tuple[bytes, ...] = ()

    def measure(self) -> Measurement:
        """Return the launch digest, 48 bytes. Raises InputError for a file that puts nothing into the guest."""
        digest = b""
        for step in self.contributions():
            digest = step.running
        if not digest:
            raise InputError(
                "this file puts nothing into the guest", code="measure.igvm", where=self.file.name
            )
        contexts = sum(isinstance(step, Context) for step in self.file.steps)
        said = (
            f"of the processors, {contexts} that the file has; a launcher that adds others changes the digest"
        )
        return Measurement("sev-snp", (Register("launch-digest", digest),), (*self.notes, said))

    def contributions(self) -> Iterator[Contribution]:
        """Yield each run of pages and each processor; `running` is the chain after it."""
        chain = snp_pages.NO_DIGEST
        for step in self._steps():
            contents = b""
            if isinstance(step, Context):
                contents = sha384(step.page).digest()
                chain = snp_pages.add_vmsa(chain, contents)
                what, kind, place, size = (
                    f"VMSA of vCPU {step.number}",
                    snp_pages.VMSA,
                    snp_pages.VMSA_ADDRESS,
                    PAGE,
                )
            else:
                what, place, size = "parameters", step.address, step.size
                kind = snp_pages.UNMEASURED
                if isinstance(step, Run):
                    if step.flags & _SHARED:
                        continue
                    what, kind = "pages", self._kind(step)
                if kind == snp_pages.NORMAL and isinstance(step, Run):
                    data = step.data or bytes(step.size)
                    contents = sha384(data).digest()
                    chain = snp_pages.add_contents(chain, place, data)
                else:
                    chain = snp_pages.add_blank(chain, kind, place, size)
            yield Contribution(
                what, snp_pages.TYPE_NAMES[kind], chain, contents, place, size, "launch-digest"
            )

    def _steps(self) -> Iterator[Run | Area | Context]:
        """Yield what goes in, in the launcher's order."""
        steps = list(self.file.steps if self.apart else self.file.runs())
        if self.monitor == QEMU:
            steps.sort(key=lambda step: isinstance(step, Context))
        number = 0
        for step in steps:
            if isinstance(step, Context):
                number += 1
                if self.processors is not None and number > self.processors:
                    continue
                if self.features is not None:
                    step = Context(step.number, vmsa.with_features(step.page, self.features))
            yield step
        yield from (Context(number + at, page) for at, page in enumerate(self.more))

    def _kind(self, run: Run) -> int:
        if run.type == _SECRETS:
            return snp_pages.SECRETS
        if run.type in (_CPUID, _CPUID_XF):
            return snp_pages.CPUID
        if run.flags & _UNMEASURED:
            return snp_pages.UNMEASURED
        return snp_pages.ZERO if not run.data and self.monitor == QEMU else snp_pages.NORMAL


@record
class TdxIgvmLaunch:
    """A TDX guest that starts from an IGVM file: MRTD alone, for its firmware need not be OVMF.

    `pages_first` is for launchers that add all pages of a run before they measure any.
    """

    file: IgvmFile
    notes: tuple[str, ...] = ()
    pages_first: bool = False

    def measure(self) -> Measurement:
        """Return MRTD. Raises InputError for a file that puts nothing into the guest."""
        digest = b""
        for step in self.contributions():
            digest = step.running
        if not digest:
            raise InputError(
                "this file puts nothing into the guest", code="measure.igvm", where=self.file.name
            )
        said = "the run-time registers are what the file's own firmware measures"
        return Measurement("tdx", (Register("MRTD", digest),), (*self.notes, said))

    def contributions(self) -> Iterator[Contribution]:
        """Yield each run of pages; `running` is MRTD if it ended there."""
        digest = mrtd.start()
        for step in self.file.runs():
            if isinstance(step, Context) or (isinstance(step, Run) and step.flags & _SHARED):
                continue
            contents = b""
            if isinstance(step, Run) and not step.flags & _UNMEASURED:
                data = step.data or bytes(step.size)
                contents = sha384(data).digest()
                if self.pages_first:
                    mrtd.add(digest, step.address, step.size)
                    mrtd.extend(digest, step.address, data)
                else:
                    mrtd.add_and_extend(digest, step.address, data)
            else:
                mrtd.add(digest, step.address, step.size)
            what = "pages" if isinstance(step, Run) else "parameters"
            kind = "measured" if contents else "added"
            yield Contribution(what, kind, digest.digest(), contents, step.address, step.size, "MRTD")
