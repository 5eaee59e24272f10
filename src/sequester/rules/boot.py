"""SQ4xx: what the guest boots from. Here: the firmware and its variables, and whether the files are there."""

from __future__ import annotations

from collections.abc import Iterator

from sequester.findings.case import Case
from sequester.findings.rule import Breach, Rule, Severity
from sequester.guest.change import Add, Change, Remove, Unset
from sequester.guest.firmware import Image, Use, boots, firmware, images, setting
from sequester.guest.part import Part
from sequester.platforms.limitation import HostTrustLimitation, Limits
from sequester.rules.boot_image import image_read
from sequester.rules.boot_input import INPUT_RULES
from sequester.rules.boot_kernel import KERNEL_RULES

_READ = int(Limits.READ_MEMORY)
_ROM_STEP = 1 << 16
"""A ROM's size is a multiple of this (QEMU hw/i386/x86-common.c, `x86_bios_rom_init`)."""
_LEFT_TO_LIBVIRT = "<os firmware="
_SEV_DOC = "https://www.qemu.org/docs/master/system/i386/amd-memory-encryption.html"
_TDX_DOC = "https://www.qemu.org/docs/master/system/i386/tdx.html"


def _no_firmware(case: Case) -> Iterator[Breach]:
    limitation, guest = case.limitation, case.guest
    if limitation is None or not limitation.demands.firmware or boots(firmware(guest)) is not None:
        return
    if any(left.what.startswith(_LEFT_TO_LIBVIRT) for left in guest.not_carried):
        return
    path = _of_host(case, limitation)
    fix = (Add(Part("bios", path, {}, guest.next_key)),) if path and guest.dialect == "qemu" else ()
    yield Breach(
        "no firmware is named, and QEMU's own (SeaBIOS, or qboot) cannot start this guest",
        guest.machine,
        fix,
        f"-bios {path}" if fix else "",
        remedy=_take(limitation, case.guest.dialect, path),
    )


def _of_host(case: Case, limitation: HostTrustLimitation) -> str:
    """Return a stateless image on the host whose descriptor says that it is for this platform, '' if there is none."""
    wanted = limitation.demands.firmware_descriptor
    for image in case.host.firmware if case.host is not None and wanted else ():
        fits = case.guest.arch in image.architectures and wanted in image.features
        if fits and image.usable and image.device == "memory":
            return image.filename
    return ""


def _misplaced(case: Case) -> Iterator[Breach]:
    limitation = case.limitation
    if limitation is None:
        return
    found = firmware(case.guest)
    first = boots(found)
    if first is None:
        return
    for image in found:
        if image.use in (Use.FLASH, Use.VARIABLES) and first.use is Use.IGVM:
            yield Breach("an IGVM file brings the firmware, and QEMU takes no pflash beside it", image.part)
        elif image.use is Use.ROM and first.use is Use.FLASH:
            yield Breach(
                f"{image.path} is ignored: the guest boots from pflash ({first.path})",
                image.part,
                severity=Severity.ERROR if limitation.demands.firmware == "rom" else Severity.WARNING,
                remedy="name the firmware once",
            )
    if first.use is Use.FLASH and limitation.demands.firmware == "rom":
        fix = _as_rom(case, limitation, found, first)
        yield Breach(
            f"firmware in flash ({first.path or 'pflash0'}): {limitation.title} needs it as a ROM",
            first.part,
            fix,
            f"-bios {first.path} in place of pflash" if fix else "",
            remedy=_take(limitation, case.guest.dialect),
        )


def _as_rom(
    case: Case, limitation: HostTrustLimitation, found: tuple[Image, ...], first: Image
) -> tuple[Change, ...]:
    """Return the changes that make a flash image a ROM; none where it is not known to work as one."""
    guest, about = case.guest, case.firmware.get(first.path)
    if guest.dialect != "qemu" or len(found) != 1 or about is None or about.size % _ROM_STEP:
        return ()
    if not about.features.issuperset(limitation.demands.firmware_features) or "qcow2" in about.features:
        return ()
    gone: list[Change] = [Add(Part("bios", first.path, {}, guest.next_key))]
    if "pflash0" in guest.machine.properties:
        gone.append(Unset(guest.machine.key, "pflash0"))
    if first.part.group == "blockdev":
        gone.append(Remove(first.part.key))
        below = first.part.get("file")
        node = guest.by_id.get(below) if isinstance(below, str) else None
        if node is not None:
            gone.append(Remove(node.key))
    else:
        gone.append(Remove(first.part.key))
    return tuple(gone)


def _lacking(case: Case) -> Iterator[Breach]:
    limitation = case.limitation
    if limitation is None or not limitation.demands.firmware or not case.firmware:
        return
    image, about = image_read(case)
    if image is None or about is None or "qcow2" in about.features:
        return
    if image.use is Use.IGVM:
        if "igvm" in about.features and f"igvm-{limitation.name}" not in about.features:
            yield Breach(f"{image.path} is an IGVM file for other platforms", image.part)
        return
    missing = [name for name in limitation.demands.firmware_features if name not in about.features]
    if missing:
        yield Breach(
            f"{image.path} has no metadata for {limitation.title} ({', '.join(missing)})",
            image.part,
            remedy=_take(limitation, case.guest.dialect),
        )


def _unloadable(case: Case) -> Iterator[Breach]:
    if not case.firmware:
        return
    for image in firmware(case.guest):
        about = case.firmware.get(image.path)
        if about is None:
            continue
        if image.use is Use.ROM and "qcow2" in about.features:
            yield Breach(f"{image.path} is a qcow2 image, and -bios wants the raw one", image.part)
        elif image.use is Use.ROM and about.size % _ROM_STEP:
            yield Breach(
                f"{image.path} is {about.size} bytes, no multiple of {_ROM_STEP >> 10} KiB: it is one half of an "
                "image that was split into code and variables",
                image.part,
            )
        elif image.use is not Use.IGVM and "igvm" in about.features:
            yield Breach(f"{image.path} is an IGVM file", image.part, remedy="name it in an igvm-cfg object")


def _variables(case: Case) -> Iterator[Breach]:
    limitation = case.limitation
    if (
        limitation is None
        or not limitation.demands.stateless_firmware
        or limitation.demands.firmware == "rom"
    ):
        return
    for image in firmware(case.guest):
        if image.use is Use.VARIABLES:
            how = "" if image.writable else ", although it is read-only"
            yield Breach(f"{image.path or 'pflash1'}: what it holds is measured by nobody{how}", image.part)
        elif image.use is Use.FLASH:
            about = case.firmware.get(image.path)
            if image.writable and about is not None and "variables" in about.features:
                yield Breach(
                    f"{image.path} holds a store of variables, and the guest may write it", image.part
                )
    for part in case.guest.devices:
        if part.type.startswith("uefi-vars"):
            yield Breach(f"{part.label()} keeps the firmware's variables on the host", part)


def _needs_smm(case: Case) -> Iterator[Breach]:
    limitation, guest = case.limitation, case.guest
    if limitation is None or ("smm", "on") not in limitation.demands.forbidden_machine:
        return
    secure = guest.globals.get(("cfi.pflash01", "secure"))
    if secure is not None and secure.flag("secure"):
        yield Breach(
            f"only SMM may write the flash, as firmware built for SMM wants it, and {limitation.title} has no SMM",
            secure,
        )


def _absent(case: Case) -> Iterator[Breach]:
    if not case.absent:
        return
    for image in images(case.guest):
        # A store of variables is made of its template when the guest is first started.
        if image.path in case.absent and image.use is not Use.VARIABLES:
            yield Breach(f"there is no file {image.path}", image.part)
    for name in ("initrd", "shim", "dtb"):
        given = setting(case.guest, name)
        if given is not None and given[0] in case.absent:
            yield Breach(f"there is no file {given[0]}", given[1])


def _take(limitation: HostTrustLimitation, dialect: str, path: str = "") -> str:
    rom = limitation.demands.firmware == "rom"
    if dialect == "libvirt":
        how = "<loader type='rom'>" if rom else "<loader>"
    else:
        how = "-bios" if rom else "-bios or as pflash"
    return f"give an OVMF image built for {limitation.title} with {how}" + (
        f", such as {path}" if path else ""
    )


RULES: tuple[Rule, ...] = (
    Rule(
        "SQ401",
        "No firmware that could start the guest",
        Severity.ERROR,
        _no_firmware,
        why="The first instructions run encrypted, and must know how to share memory with the host before any device "
        "works. Only a build of OVMF for the platform does.",
        broken="SEV-ES with QEMU's default firmware: QEMU 10.0 and 11.1 refuse to start, \"SEV information "
        'block/Firmware GUID Table block not found in pflash rom", "failed to locate and/or save reset vector" '
        '(q35, pc and microvm, tried up to the accelerator). SNP ends with "Failed to locate SEV metadata header", '
        'TDX with "failed to parse TDVF for TDX VM" (messages of 11.1). Plain SEV starts and finds no disk: SeaBIOS '
        "hands its devices encrypted memory (from its source; not tried with hardware).",
        remedy="give the guest an OVMF image built for its platform",
        references=(_SEV_DOC, _TDX_DOC),
        limits=_READ,
    ),
    Rule(
        "SQ402",
        "Firmware in a place that does not work",
        Severity.ERROR,
        _misplaced,
        why="Flash is a read-only view of memory for the guest, and private memory has no such view: SNP and TDX "
        "take their firmware as memory. Where both a ROM and flash are given, flash wins.",
        broken='TDX: "pflash with kvm requires KVM readonly memory support" (message of 11.1). SNP: the launch fails, '
        "\"SNP_LAUNCH_START ret=-22 fw_error=0 ''\" or later (users' reports); KVM refuses read-only memory in "
        'guest_memfd. IGVM: "pflash devices cannot be configured when using IGVM". -bios beside pflash: QEMU 7.2 and '
        "11.1 map the flash and never look at the ROM (`info mtree`), without a word. SEV and SEV-ES take either "
        "(-bios since QEMU 7.1).",
        remedy="give the firmware with -bios alone (libvirt: <loader type='rom'>)",
        references=("https://github.com/AMDESE/AMDSEV/issues/223", _TDX_DOC),
        limits=_READ,
    ),
    Rule(
        "SQ403",
        "Firmware without what the platform needs",
        Severity.ERROR,
        _lacking,
        why="QEMU and the launch find out from tables in the image where vCPUs start and which pages to prepare.",
        broken='SEV-ES: QEMU 10.0 and 11.1 refuse to start with "SEV information block/Firmware GUID Table block not '
        'found in pflash rom" (tried with SeaBIOS as ROM and as flash). SNP: "Failed to locate SEV metadata '
        'header", TDX: "Cannot find TDX_METADATA_OFFSET_GUID" (messages of 11.1).',
        remedy="use an image built for the platform",
        references=(_SEV_DOC, _TDX_DOC),
        limits=_READ,
    ),
    Rule(
        "SQ404",
        "A firmware file that cannot be loaded like this",
        Severity.ERROR,
        _unloadable,
        why="A ROM is one raw file whose size is a multiple of 64 KiB. Distributions also ship images for flash: "
        "split in two, or as qcow2.",
        broken="QEMU 7.2, 10.0 and 11.1 refuse to start: \"qemu: could not load PC BIOS '.../OVMF_CODE_4M.fd'\".",
        remedy="use an image that holds code and variables in one raw file",
        limits=_READ,
    ),
    Rule(
        "SQ407",
        "Variables of the firmware that nobody measures",
        Severity.WARNING,
        _variables,
        why="Boot order, secure boot keys and what else the firmware keeps there are an input that the host can change "
        "before every start, and no measurement shows.",
        broken="QEMU's manual calls firmware with an NVRAM store not secure to use; only the firmware image itself is "
        "encrypted and measured (target/i386/sev.c). QEMU 10.0 and 11.1 also take uefi-vars-x64.",
        remedy="use stateless firmware: one image without pflash unit 1 (libvirt: <loader stateless='yes'>)",
        references=(_SEV_DOC,),
        limits=_READ,
    ),
    Rule(
        "SQ405",
        "Firmware that wants System Management Mode",
        Severity.ERROR,
        _needs_smm,
        why="SMM means to enter the guest with registers that are not its own, which the platform prevents.",
        broken="Firmware built for SMM stops without a word: Debian's OVMF_CODE_4M.secboot.fd with smm=off on QEMU "
        "11.1 prints nothing for a minute; with smm=on it is at its boot menu.",
        remedy="use firmware built without SMM, and leave cfi.pflash01's secure off",
        references=(_SEV_DOC, _TDX_DOC),
        limits=_READ,
    ),
    Rule(
        "SQ406",
        "A file that the guest boots from is not there",
        Severity.ERROR,
        _absent,
        why="QEMU loads it before the guest starts.",
        broken='QEMU 7.2, 10.0 and 11.1 refuse to start ("could not load PC BIOS", "could not open kernel file").',
        remedy="put the file there, or correct the path",
        limits=_READ,
    ),
    *KERNEL_RULES,
    *INPUT_RULES,
)
