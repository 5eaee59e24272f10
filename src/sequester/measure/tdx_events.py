"""The events of a TDX guest's start that are extended into its run-time registers, as edk2 makes them.

Source: edk2 OvmfPkg/Tcg/TdTcg2Dxe/TdTcg2Dxe.c, OvmfPkg/Library/SecMeasurementLib, OvmfPkg/AcpiPlatformDxe; Linux
drivers/firmware/efi/libstub/efi-stub-helper.c. Each kind of event was compared with those of a real guest's log
(Trustee deps/eventlog/test_data/CCEL_data_ovmf and CCEL_data_grub).
"""

from __future__ import annotations

from hashlib import sha384

from sequester.measure.uefi import GLOBAL, IMAGE_SECURITY, SECURE_BOOT_ENABLE, Variable
from sequester.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

RTMR0, RTMR1, RTMR2, RTMR3 = "RTMR0", "RTMR1", "RTMR2", "RTMR3"
START = bytes(48)
"""What a run-time register holds before anything was extended."""

_SECURE_BOOT = ((GLOBAL, "PK"), (GLOBAL, "KEK"), (IMAGE_SECURITY, "db"), (IMAGE_SECURITY, "dbx"))


@record
class Event:
    """An event: the register, the TCG's name of its type, what it is, and the SHA-384 that is extended."""

    register: str
    type: str
    what: str
    digest: bytes


@record
class AcpiTables:
    """The three files of ``fw_cfg`` from which a guest's firmware makes ACPI tables."""

    loader: bytes
    rsdp: bytes
    tables: bytes


def extended(value: bytes, digest: bytes) -> bytes:
    """Return a register's value after a digest was extended into it."""
    return sha384(value + digest).digest()


def replay(events: Iterable[Event]) -> dict[str, bytes]:
    """Return the registers after these events."""
    registers = dict.fromkeys((RTMR0, RTMR1, RTMR2, RTMR3), START)
    for event in events:
        registers[event.register] = extended(registers[event.register], event.digest)
    return registers


def of_platform(hob: bytes, configuration: bytes) -> Iterator[Event]:
    """Yield the hand-off blocks and the volume with configuration."""
    yield _event(RTMR0, "EV_EFI_HANDOFF_TABLES2", "hand-off blocks: the memory that QEMU describes", hob)
    yield _event(
        RTMR0, "EV_EFI_PLATFORM_FIRMWARE_BLOB2", "configuration volume: variables as built", configuration
    )


def of_secure_boot(store: tuple[Variable, ...], supported: bool) -> Iterator[Event]:
    """Yield the variables of Secure Boot and the separator behind them.

    `store` are the variables that the firmware begins with; `supported` says whether it can do Secure Boot.
    """
    held = {(variable.vendor, variable.name): variable for variable in store}
    state = b"\1" if secure_boot(store) else b"\0" if supported else b""
    for variable in (
        Variable(GLOBAL, "SecureBoot", state),
        *(held.get(key) or Variable(*key) for key in _SECURE_BOOT),
    ):
        yield _event(RTMR0, "EV_EFI_VARIABLE_DRIVER_CONFIG", f"variable {variable.name}", variable.event())
    timestamps = held.get((IMAGE_SECURITY, "dbt"))
    if timestamps is not None:
        yield _event(RTMR0, "EV_EFI_VARIABLE_DRIVER_CONFIG", "variable dbt", timestamps.event())
    yield separator(RTMR0)


def secure_boot(store: tuple[Variable, ...]) -> bool:
    """Tell whether firmware that begins with these variables enforces Secure Boot: it has a platform key."""
    held = {(variable.vendor, variable.name): variable.data for variable in store}
    return (GLOBAL, "PK") in held and held.get((SECURE_BOOT_ENABLE, "SecureBootEnable")) != b"\0"


def of_acpi(acpi: AcpiTables) -> Iterator[Event]:
    """Yield the files that the firmware reads for ACPI, in its order."""
    named = {"etc/table-loader": acpi.loader, "etc/acpi/rsdp": acpi.rsdp, "etc/acpi/tables": acpi.tables}
    for name, data in named.items():
        yield _event(RTMR0, "EV_PLATFORM_CONFIG_FLAGS", f"ACPI DATA {name}", data)


def of_boot_options(options: tuple[bytes, ...]) -> Iterator[Event]:
    """Yield the boot order and its options, numbered from 0."""
    order = b"".join(number.to_bytes(2, "little") for number in range(len(options)))
    yield _event(RTMR0, "EV_EFI_VARIABLE_BOOT", "variable BootOrder", order)
    for number, option in enumerate(options):
        yield _event(RTMR0, "EV_EFI_VARIABLE_BOOT", f"variable Boot{number:04X}", option)


def of_kernel(digest: bytes) -> Iterator[Event]:
    """Yield the start of a kernel with this digest, up to where it leaves the firmware's services."""
    yield Event(RTMR1, "EV_EFI_BOOT_SERVICES_APPLICATION", "kernel", digest)
    yield _action("Calling EFI Application from Boot Option")
    yield separator(RTMR1)
    yield _action("Exit Boot Services Invocation")
    yield _action("Exit Boot Services Returned with Success")


def of_load_options(options: bytes, initrd: bytes | None) -> Iterator[Event]:
    """Yield what a Linux kernel measures of itself: its command line, and an initrd by its SHA-384."""
    yield _event(RTMR2, "EV_EVENT_TAG", "command line (LOADED_IMAGE::LoadOptions)", options)
    if initrd is not None:
        yield Event(RTMR2, "EV_EVENT_TAG", "initrd (Linux initrd)", initrd)


def separator(register: str) -> Event:
    """Return the event that stands between two phases."""
    return _event(register, "EV_SEPARATOR", "separator", bytes(4))


def _action(what: str) -> Event:
    return _event(RTMR1, "EV_EFI_ACTION", what, what.encode())


def _event(register: str, kind: str, what: str, data: bytes) -> Event:
    return Event(register, kind, what, sha384(data).digest())
