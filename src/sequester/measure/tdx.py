"""What a TDX guest will be measured as: MRTD, the run-time registers, and the owner's own fields.

MRTD follows from the firmware alone (QEMU target/i386/kvm/tdx.c 10.1 to 11.1, `tdx_init_fw_mem_region`). RTMR0 to 2
follow from the guest as far as it is started by ``-kernel``: what a disk's boot loader measures is the disk's matter.
RTMR3 is the guest's own, and empty when it starts.
"""

from __future__ import annotations

from hashlib import sha384

from sequester.errors import InputError
from sequester.measure import mrtd, td_hob, tdx_events
from sequester.measure.measurement import Contribution, Measurement, Register
from sequester.measure.tdvf_image import TdvfImage
from sequester.measure.tdx_events import RTMR0, RTMR1, RTMR2, AcpiTables, Event
from sequester.measure.uefi import load_options, read_store
from sequester.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sequester.measure.ovmf_ways import Ways

MRTD = "MRTD"
OWNERS = ("MRCONFIGID", "MROWNER", "MROWNERCONFIG")
SIZE = 48
LARGEST_MEMORY = 1 << 46

_HOST = "MRSEAM, MRSIGNERSEAM and the TCB's security versions are the host's, and are checked against Intel's lists"
_RUNTIME = "RTMR3 and what else is extended after the start are the guest's own: check them by its event log"
_KERNEL_MEASURES = "RTMR2 as Linux 6.10 and later measure themselves in a TDX guest"
_OLD_SEPARATOR = (
    "the oldest builds of such firmware extend one separator more into RTMR0, and none into RTMR1"
)
_DISK = "the guest boots from a disk, whose boot loader and kernel are measured, not from -kernel"


@record
class Unknown:
    """An event that cannot be known beforehand: its register, and why."""

    register: str
    why: str


@record
class Kernel:
    """A kernel by its UEFI image digest, an initrd by its SHA-384 (None without), and a command line."""

    digest: bytes
    initrd: bytes | None = None
    command_line: str = ""


@record
class TdxLaunch:
    """A TDX guest.

    `memory` is its size in bytes, None where not known; `acpi` what its firmware will read for ACPI, where known;
    `kernel` what it starts without a boot loader, and `ways` how its firmware does that. `owners` are MRCONFIGID,
    MROWNER and MROWNERCONFIG. `pages_first` is for launchers that add all pages of a section before they measure any.
    """

    firmware: TdvfImage
    memory: int | None = None
    acpi: AcpiTables | None = None
    kernel: Kernel | None = None
    ways: Ways | None = None
    owners: tuple[bytes, bytes, bytes] = (bytes(SIZE), bytes(SIZE), bytes(SIZE))
    pages_first: bool = False
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, value in zip(OWNERS, self.owners, strict=True):
            if len(value) != SIZE:
                raise InputError(f"{name} has {SIZE} bytes, not {len(value)}", code="measure.digest")
        if self.memory is not None and not 0 < self.memory <= LARGEST_MEMORY:
            raise InputError(f"a guest cannot have {self.memory} bytes of memory", code="measure.memory")

    def measure(self) -> Measurement:
        """Return MRTD, the run-time registers with why any cannot be known, and the owner's fields."""
        *_, built = self.build()
        events = tuple(self.events())
        values = tdx_events.replay(event for event in events if not isinstance(event, Unknown))
        unknown = {event.register: event.why for event in reversed(events) if isinstance(event, Unknown)}
        registers = [
            Register(name, None if name in unknown else value, unknown.get(name, ""))
            for name, value in values.items()
        ]
        notes = [*self.notes, _HOST, _RUNTIME]
        if RTMR2 not in unknown:
            notes.append(_KERNEL_MEASURES)
        if RTMR0 not in unknown and self.ways is not None and not self.ways.initrd_first:
            notes.append(_OLD_SEPARATOR)
        owners = (Register(name, value) for name, value in zip(OWNERS, self.owners, strict=True))
        return Measurement("tdx", (Register(MRTD, built.running), *registers, *owners), tuple(notes))

    def register(self, name: str) -> bytes | None:
        """Return a run-time register's value, None where it cannot be known."""
        events = [event for event in self.events() if event.register == name]
        if any(isinstance(event, Unknown) for event in events):
            return None
        return tdx_events.replay(event for event in events if isinstance(event, Event))[name]

    def build(self) -> Iterator[Contribution]:
        """Yield each section that goes into the guest before it starts; `running` is MRTD if it ended there."""
        digest = mrtd.start()
        for section in self.firmware.sections:
            contents = b""
            if not section.measured:
                mrtd.add(digest, section.address, section.size)
            else:
                contents = (
                    self.hobs_in(section.size)
                    if section == self.firmware.hob
                    else self.firmware.contents(section)
                )
                if self.pages_first:
                    mrtd.add(digest, section.address, section.size)
                    mrtd.extend(digest, section.address, contents)
                else:
                    mrtd.add_and_extend(digest, section.address, contents)
            yield Contribution(
                f"{section.name} of {self.firmware.name}",
                "measured" if section.measured else "added",
                digest.digest(),
                sha384(contents).digest() if contents else b"",
                section.address,
                section.size,
                MRTD,
            )

    def contributions(self) -> Iterator[Contribution]:
        """Yield the sections, then each event of the start; one that is not known has no value after it."""
        yield from self.build()
        values: dict[str, bytes] = {}
        for event in self.events():
            if isinstance(event, Unknown):
                values[event.register] = b""
                yield Contribution(event.why, "unknown", b"", register=event.register)
                continue
            before = values.get(event.register, tdx_events.START)
            after = values[event.register] = tdx_events.extended(before, event.digest) if before else b""
            yield Contribution(event.what, event.type, after, event.digest, register=event.register)

    def events(self) -> Iterator[Event | Unknown]:
        """Yield the events of the start, register by register, each in order."""
        yield from self._platform()
        yield from self._kernel()

    def _platform(self) -> Iterator[Event | Unknown]:
        configuration = self.firmware.configuration
        if self.memory is None:
            yield Unknown(RTMR0, "the size of the guest's memory is not known (--memory)")
            return
        if configuration is None:
            yield Unknown(
                RTMR0, "this image has no configuration volume, and is measured in another way than OVMF"
            )
            return
        yield from tdx_events.of_platform(td_hob.measured(self.hobs()), configuration)
        store = read_store(configuration)
        can = self.ways is not None and self.ways.secure_boot
        yield from tdx_events.of_secure_boot(store, can)
        if self.acpi is None:
            yield Unknown(RTMR0, "the ACPI tables that QEMU makes for this guest are not at hand (--acpi)")
            return
        yield from tdx_events.of_acpi(self.acpi)
        if self.kernel is None:
            yield Unknown(RTMR0, f"{_DISK}: its boot options name the disks")
        elif self.ways is None:
            yield Unknown(
                RTMR0, "what boot options this firmware makes is not known: its drivers cannot be unpacked"
            )
        elif tdx_events.secure_boot(store):
            yield Unknown(
                RTMR0, "Secure Boot is on: the certificate that vouches for the kernel is measured too"
            )
        else:
            yield from tdx_events.of_boot_options(self.ways.options)

    def _kernel(self) -> Iterator[Event | Unknown]:
        if self.kernel is None:
            yield Unknown(RTMR1, _DISK)
            yield Unknown(RTMR2, _DISK)
            return
        if self.ways is None or not self.ways.kernel_as_is:
            why = (
                "how this firmware starts a kernel is not known: its drivers cannot be unpacked"
                if self.ways is None
                else "this firmware takes the kernel with a header that QEMU fills in for the guest at hand"
            )
            yield Unknown(RTMR1, why)
        else:
            yield from tdx_events.of_kernel(self.kernel.digest)
        options = (
            self.ways.command_line(self.kernel.command_line, self.kernel.initrd is not None)
            if self.ways is not None
            else ""
        )
        if options:
            yield from tdx_events.of_load_options(load_options(options), self.kernel.initrd)
        elif self.ways is None:
            yield Unknown(RTMR2, "what command line this firmware gives a kernel is not known")
        else:
            yield Unknown(RTMR2, "whether an empty command line is measured depends on the kernel")

    def hobs(self) -> bytes:
        """Return the list of hand-off blocks. Raises InputError where memory does not hold what was added."""
        if self.memory is None:
            raise InputError(
                "the size of the guest's memory is not known, and is measured",
                code="measure.memory",
                remedy="give --memory",
            )
        try:
            ranges = tuple(td_hob.split(td_hob.ram(self.memory), self.firmware.added))
        except ValueError as error:
            raise InputError(
                f"this firmware wants memory at {error}, which the guest has not",
                code="measure.memory",
                where=self.firmware.name,
                remedy="give the guest more memory",
            ) from None
        return td_hob.hob_list(self.firmware.hob.address, ranges)

    def hobs_in(self, size: int) -> bytes:
        """Return the list in a section of `size` bytes. Raises InputError where it does not fit."""
        hobs = self.hobs()
        if len(hobs) > size:
            raise InputError(
                f"a list of {len(hobs)} bytes does not fit in the {size} that this firmware has for it",
                code="firmware.malformed",
                where=self.firmware.name,
            )
        return hobs.ljust(size, b"\0")
