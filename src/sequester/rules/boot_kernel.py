"""SQ408 to SQ411: the kernel that the host gives, and who measures it."""

from __future__ import annotations

from collections.abc import Iterator

from sequester.findings.case import Case
from sequester.findings.rule import Breach, Rule, Severity
from sequester.guest.change import Change, Set
from sequester.guest.firmware import Use, images, setting
from sequester.guest.guest import Guest
from sequester.guest.part import Part
from sequester.platforms.limitation import HostTrustLimitation, Limits
from sequester.rules.boot_image import image_read

_READ = int(Limits.READ_MEMORY)
_SEV_DOC = "https://www.qemu.org/docs/master/system/i386/amd-memory-encryption.html"


def _no_hash_table(case: Case) -> Iterator[Breach]:
    limitation = case.limitation
    if limitation is None or not _hashes(limitation) or not case.firmware or not _kernel(case.guest):
        return
    image, about = image_read(case)
    if image is None or about is None or image.use is Use.IGVM or "qcow2" in about.features:
        return
    missing = [name for name in limitation.demands.kernel_hash_features if name not in about.features]
    if missing:
        yield Breach(
            f"{image.path} has no room for kernel hashes ({', '.join(missing)})",
            image.part,
            remedy="use an AmdSev build of OVMF, or boot from the disk",
        )


def _unmeasured_kernel(case: Case) -> Iterator[Breach]:
    limitation, part = case.limitation, case.guest.limitation
    if limitation is None or part is None or not limitation.demands.kernel_hashes or _hashes(limitation):
        return
    kernel = _kernel(case.guest)
    if kernel is None:
        return
    name = limitation.demands.kernel_hashes
    _, about = image_read(case)
    able = about is not None and about.features.issuperset(limitation.demands.kernel_hash_features)
    fix = _set(case.guest, limitation, part, name, True) if able else ()
    yield Breach(
        f"kernel {kernel[0]} is measured by nobody: {name} is off",
        kernel[1],
        fix,
        f"{part.label()} {name}=on",
        severity=Severity.ERROR if able else None,
        remedy=f"set {name}=on, with a firmware that can check it",
    )


def _hashes_of_nothing(case: Case) -> Iterator[Breach]:
    limitation, part = case.limitation, case.guest.limitation
    if limitation is None or part is None or not _hashes(limitation) or _kernel(case.guest):
        return
    name = limitation.demands.kernel_hashes
    dies = limitation.demands.hashes_need_kernel
    yield Breach(
        f"{name} is on, and there is no kernel to hash" + (": QEMU dies of that" if dies else ""),
        part,
        severity=Severity.ERROR if dies else None,
    )


def _set(
    guest: Guest, limitation: HostTrustLimitation, part: Part, name: str, value: bool
) -> tuple[Change, ...]:
    prop = next((prop for prop in limitation.properties if prop.name == name), None)
    if prop is None:
        return ()
    if guest.dialect != "libvirt":
        return (Set(part.key, name, _like(part, value)),)
    return (Set(part.key, prop.libvirt, prop.to_libvirt(value)),) if prop.libvirt else ()


def _like(part: Part, value: bool) -> bool | str:
    """Return a truth as this part spells its own: numbers and booleans are of JSON or TOML."""
    structured = any(isinstance(given, (bool, int)) for given in part.properties.values())
    return value if structured else ("on" if value else "off")


def _ordinary_kernel(case: Case) -> Iterator[Breach]:
    limitation = case.limitation
    if limitation is None or not limitation.demands.kernel_feature:
        return
    kernel = next((image for image in images(case.guest) if image.use is Use.KERNEL), None)
    about = case.firmware.get(kernel.path) if kernel is not None else None
    if kernel is None or about is None or not about.size:
        return
    if limitation.demands.kernel_feature not in about.features:
        yield Breach(f"{kernel.path} is no image that can switch over: it would run unprotected", kernel.part)
        return
    for name in ("initrd", "append"):
        given = setting(case.guest, name)
        if given is not None and given[0]:
            yield Breach(
                f"-{name} is ignored: {kernel.path} brings its own",
                given[1],
                severity=Severity.NOTE,
                remedy=f"put it into the image when it is built, and leave -{name} out",
            )


def _hashes(limitation: HostTrustLimitation) -> bool:
    name = limitation.demands.kernel_hashes
    return bool(name) and bool(limitation.value(name))


def _kernel(guest: Guest) -> tuple[str, Part] | None:
    found = setting(guest, "kernel")
    return found if found is not None and found[0] else None


KERNEL_RULES: tuple[Rule, ...] = (
    Rule(
        "SQ408",
        "Kernel hashes, and firmware that cannot check them",
        Severity.ERROR,
        _no_hash_table,
        why="The hashes go into a table in the measured firmware, and the firmware compares what it loads.",
        broken='QEMU 10.0 and 11.1 refuse to start: "SEV: kernel specified but guest firmware has no hashes table '
        'GUID" (sev-guest with SeaBIOS, tried up to the accelerator; 7.2 has the message too). With an SNP image '
        "whose table is in no measured page the hashes never reach the guest.",
        remedy="use firmware with a hash table",
        references=(_SEV_DOC,),
        limits=_READ,
    ),
    Rule(
        "SQ409",
        "A kernel that nobody measures",
        Severity.WARNING,
        _unmeasured_kernel,
        why="Kernel, initrd and command line come from the host. Only their hashes in the measured firmware tie them "
        "to the launch measurement.",
        broken="Firmware without a hash table boots whatever kernel the host gives, and the measurement stays the same "
        "(Debian's OVMF.fd on QEMU 11.1). Firmware with one refuses the kernel: OVMF.amdsev.fd on QEMU 11.1 goes on to "
        'its own boot loader and ends in "BdsDxe: No bootable option was found"; with a right table in memory it '
        "boots the kernel, with another kernel or command line it does not.",
        remedy="set kernel-hashes=on",
        references=(_SEV_DOC,),
        limits=_READ,
    ),
    Rule(
        "SQ410",
        "A kernel that cannot switch the guest over",
        Severity.WARNING,
        _ordinary_kernel,
        why="The guest asks for protection with an encrypted image that brings kernel, initrd and command line.",
        broken="An ordinary kernel runs as ever, unprotected, and nothing says so; with a protected image QEMU's "
        "-initrd and -append have no effect (QEMU docs/system/s390x/protvirt.rst; not tried, as it takes the "
        "hardware).",
        remedy="build the image with `pvimg create` (genprotimg)",
        references=("https://www.qemu.org/docs/master/system/s390x/protvirt.html",),
        limits=_READ,
    ),
    Rule(
        "SQ411",
        "Kernel hashes without a kernel",
        Severity.NOTE,
        _hashes_of_nothing,
        why="Only -kernel, -initrd and -append are hashed, not what the guest loads from its disk. The table is built "
        "when a Linux kernel is loaded, and nothing else asks whether it was.",
        broken='SEV and SEV-ES: no effect. SNP with firmware that has a page for the table: "Assertion '
        "`sev_snp->kernel_hashes_data' failed\" (users' reports, QEMU's source; not tried, as it takes the hardware).",
        remedy="turn kernel-hashes off, or boot with -kernel",
        references=(_SEV_DOC, "https://github.com/kata-containers/kata-containers/issues/11785"),
        limits=_READ,
    ),
)
