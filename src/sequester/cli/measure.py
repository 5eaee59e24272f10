"""`sequester measure`: what a launch will be measured as."""

from __future__ import annotations

import sys

from sequester.errors import InputError
from sequester.record import record, replaced

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from sequester.measure.pieces import Pieces


@record
class Option:
    """An option: its flag, what stands for its value ('' for a switch), its help, and what it may be."""

    flag: str
    metavar: str
    help: str
    choices: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The attribute that holds its value."""
        return self.flag.removeprefix("--").replace("-", "_")


GROUPS = {
    "pieces, instead of a guest or other than it says": (
        Option(
            "--type", "NAME", "the platform, instead of a guest: sev, sev-es, sev-snp, tdx, s390-pv, cca, pef"
        ),
        Option(
            "--firmware", "F", "firmware image; for --references several, or folders, with commas between"
        ),
        Option("--cpus", "N", "number of vCPUs; for --references several: 1-64,96"),
        Option(
            "--cpu",
            "MODEL",
            "QEMU's model, family/model/stepping (25/1/1), or signature (0xa00f11); or several",
        ),
        Option(
            "--kernel",
            "F",
            "kernel that is started and measured (kernel-hashes=on); a Secure Execution image (s390), a vmlinux (PEF)",
        ),
        Option("--initrd", "F", "its initrd"),
        Option("--append", "S", "its command line"),
        Option("--monitor", "NAME", "who starts it: qemu, ec2 or gce"),
        Option("--guest-features", "N", "SEV_FEATURES of an SNP guest (0x1)"),
        Option("--legacy-vm-type", "", "on: a SEV-ES guest's VMSA is without the FPU state", ("on", "off")),
        Option("--firmware-digest", "HEX", "stands in for the firmware's pages (SNP)"),
        Option("--svsm", "F", "COCONUT-SVSM image below the firmware (SNP)"),
        Option("--memory", "SIZE", "the guest's memory, such as 4G (TDX)"),
        Option("--acpi", "DIR", "what QEMU gives its firmware for ACPI: etc of qemu_fw_cfg/by_name (TDX)"),
        Option(
            "--acpi-from", "QEMU", "or this QEMU, which is started for it without protection (TDX, a guest)"
        ),
        Option(
            "--realm",
            "NAME=N,...",
            "what the host gives realms: breakpoints=6,watchpoints=4,pmu-counters=6 (CCA)",
        ),
        Option("--device-tree", "F", "the device tree that QEMU gives the guest, as it is in memory (CCA)"),
        Option("--vars", "F|SIZE", "variable store between the two, or its size in bytes"),
    ),
    "what to say": (
        Option("--explain", "", "every contribution in order"),
        Option("--compare", "DIGEST", "which likely mistake gives this digest, hex or base64"),
        Option("--among", "DIR", "other firmware images to compare with (the image's folder)"),
        Option("--firmware-only", "", "the digest of the firmware's pages (SNP)"),
        Option("--id-key", "F", "make an ID block, signed with this key (SNP)"),
        Option("--author-key", "F", "and the ID key signed with this one"),
        Option("--references", "", "every acceptable value, for verifiers", ("json", "corim", "rvps")),
        Option("--output", "FILE", "write it there"),
        Option("--dump-vmsas", "DIR", "write each vCPU's VMSA page there, as vmsa0.bin ... (SEV-ES, SNP)"),
        Option("--format", "", "how digests are spelled (hex)", ("hex", "base64")),
        Option("--json", "", "as JSON"),
    ),
}
OPTIONS = {option.flag: option for group in GROUPS.values() for option in group}

EPILOG = """\
examples:
  sequester measure web.toml
  sequester measure --type sev-snp --firmware OVMF.amdsev.fd --cpus 4 --cpu EPYC-Milan --kernel vmlinuz --initrd i.img
  sequester measure --explain web.xml
  sequester measure td.xml --acpi-from /usr/bin/qemu-system-x86_64
  sequester measure --references rvps --type sev-snp --firmware builds/ --cpus 1-64 --cpu EPYC-Milan,EPYC-Genoa
  sequester measure --compare DIGEST --type sev-es --firmware OVMF.fd --cpus 2 --cpu 25/1/1
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    from sequester.cli.arguments import add_guest, add_host

    parser.epilog = EPILOG
    add_guest(parser)
    parser.add_argument("--limit", metavar="auto|NAME", help="the guest's platform, as for `plan`")
    add_host(parser)
    for title, options in GROUPS.items():
        group = parser.add_argument_group(title)
        for option in options:
            if option.choices:
                group.add_argument(option.flag, choices=option.choices, help=option.help)
            elif option.metavar:
                group.add_argument(option.flag, metavar=option.metavar, help=option.help)
            else:
                group.add_argument(option.flag, action="store_true", help=option.help)


class Plain:
    """Arguments that were read without argparse, which takes longer to load than a digest takes."""

    def __init__(self) -> None:
        self.run = run
        self.guest = self.limit = self.host = None
        self.guest_argv: list[str] = []
        for option in OPTIONS.values():
            setattr(self, option.name, None if option.metavar or option.choices else False)


def plain(argv: list[str]) -> Plain | None:
    """Read arguments that are nothing but whole options with their values; None for all else: argparse reads it."""
    found, words = Plain(), iter(argv)
    for word in words:
        option = OPTIONS.get(word)
        if option is None:
            return None
        value: str | bool | None = True
        if option.metavar or option.choices:
            value = next(words, None)
            if value is None or value.startswith("-") or (option.choices and value not in option.choices):
                return None
        setattr(found, option.name, value)
    return found if found.type is not None else None  # type: ignore[attr-defined]


def run(arguments: Any) -> int:
    """Print the measurement, or what else was asked for; 1 for a mistake that was found, 4 for none found."""
    if arguments.references is not None:
        from sequester.cli.measure_references import run as run_references

        return run_references(arguments)
    pieces = the_pieces(arguments)
    if arguments.compare is not None:
        return _compare(arguments, pieces)
    if arguments.firmware_only:
        return _firmware_only(arguments, pieces)
    if arguments.id_key is not None:
        return _id_block(arguments, pieces)
    return _measure(arguments, pieces)


def the_pieces(arguments: Any) -> Pieces:
    """Return the pieces that were named: of a guest, or of a platform, changed by what else was given."""
    from sequester.measure.pieces import Pieces

    if arguments.type is not None:
        if arguments.guest or arguments.guest_argv:
            raise InputError(
                "a guest and --type were both given", code="usage.guest", remedy="give one of them"
            )
        if arguments.acpi_from is not None:
            raise InputError(
                "ACPI tables are made for a whole guest",
                code="usage.guest",
                remedy="name one instead of --type",
            )
        pieces = Pieces(arguments.type)
    elif arguments.guest or arguments.guest_argv:
        from sequester.cli.arguments import the_guest, the_host
        from sequester.measuring import pieces_of_plan, with_tables_of
        from sequester.planning import make_plan

        plan = make_plan(the_guest(arguments), arguments.limit, the_host(arguments))
        pieces = pieces_of_plan(plan)
        if arguments.acpi_from is not None:
            if arguments.acpi is not None:
                raise InputError(
                    "--acpi and --acpi-from were both given", code="usage.acpi", remedy="give one of them"
                )
            pieces = with_tables_of(pieces, plan, arguments.acpi_from)
    else:
        raise InputError(
            "neither a guest nor --type was given",
            code="usage.guest",
            remedy="name a guest, or the pieces: --type sev-snp --firmware F --cpus N --cpu MODEL",
        )
    return changed(pieces, arguments)


def changed(pieces: Pieces, arguments: Any) -> Pieces:
    """Return pieces with what else was given."""
    from sequester.measure import processor

    def given(name: str, read: Any = str) -> Any:
        value = getattr(arguments, name)
        return None if value is None else read(value)

    changes = {
        "firmware": given("firmware"),
        "vcpus": given("cpus", number),
        "signature": given("cpu", processor.parse),
        "kernel": given("kernel"),
        "initrd": given("initrd"),
        "append": given("append"),
        "monitor": given("monitor", str.lower),
        "features": given("guest_features", number),
        "seed": given("firmware_digest", _hex),
        "svsm": given("svsm"),
        "variables": given("vars", _size),
        "memory": given("memory", _memory),
        "acpi": given("acpi"),
        "realm": given("realm"),
        "device_tree": given("device_tree"),
        "new_vm_type": given("legacy_vm_type", lambda value: value == "off"),
    }
    return replaced(pieces, **{name: value for name, value in changes.items() if value is not None})


def _measure(arguments: Any, pieces: Pieces) -> int:
    from sequester.measure.methods import method
    from sequester.report.measure import contributions_text, measurement_json, measurement_text

    launch = method(pieces.platform).launch(pieces)
    measurement = launch.measure()
    if arguments.dump_vmsas is not None:
        _dump(launch, arguments.dump_vmsas)
    if arguments.json:
        steps = launch.contributions() if arguments.explain else ()
        sys.stdout.write(measurement_json(measurement, steps))
        return 0
    if arguments.explain:
        from sequester.cli.arguments import coloured
        from sequester.report.style import Style

        sys.stdout.write(contributions_text(launch.contributions(), Style(coloured())))
    sys.stdout.write(measurement_text(measurement, arguments.format or "hex"))
    _say_notes(measurement.notes)
    return 0


def _dump(launch: Any, folder: str) -> None:
    import os

    if not hasattr(launch, "vmsas"):
        raise InputError("this launch has no VMSAs of its own", code="measure.vmsas")
    try:
        os.makedirs(folder, exist_ok=True)
        for number, page in enumerate(launch.vmsas()):
            with open(os.path.join(folder, f"vmsa{number}.bin"), "wb") as file:
                file.write(page)
    except OSError as error:
        raise InputError(
            "the VMSAs cannot be written", code="output.unwritable", where=folder, why=error.strerror or ""
        ) from None


def _compare(arguments: Any, pieces: Pieces) -> int:
    import os

    from sequester.measure.methods import method
    from sequester.measuring import images_beside
    from sequester.report.measure import match_json, match_text

    digest = _digest(arguments.compare)
    own = pieces.firmware or pieces.kernel
    beside = os.path.join(arguments.among, "") if arguments.among else own
    others = images_beside(beside) if beside else ()
    match = method(pieces.platform).find(digest, pieces, others)
    sys.stdout.write((match_json if arguments.json else match_text)(match, digest))
    return 4 if match is None else int(bool(match.differences))


def _firmware_only(arguments: Any, pieces: Pieces) -> int:
    from sequester.measure.sev_snp import image_digest
    from sequester.report.measure import spelled

    print(spelled(image_digest(pieces.read_firmware()), arguments.format or "hex"))
    return 0


def _id_block(arguments: Any, pieces: Pieces) -> int:
    import json

    from sequester.measure.id_block import DEFAULT_POLICY, IdBlock, authenticate, key_digest, read_key
    from sequester.measure.methods import method
    from sequester.report.measure import spelled

    measurement = method(pieces.platform).launch(pieces).measure()
    id_key = read_key(arguments.id_key)
    author_key = read_key(arguments.author_key) if arguments.author_key is not None else None
    block = IdBlock(measurement.digest, policy=pieces.properties.get("policy", DEFAULT_POLICY))
    made = {
        "id-block": spelled(block.pack(), "base64"),
        "id-auth": spelled(authenticate(block, id_key, author_key), "base64"),
        "author-key-enabled": "on" if author_key is not None else "off",
    }
    digests = {"id-key-digest": key_digest(id_key.public_key()).hex()}
    if author_key is not None:
        digests["author-key-digest"] = key_digest(author_key.public_key()).hex()
    if arguments.json:
        print(json.dumps({"launch-digest": measurement.digest.hex(), **made, **digests}, indent=2))
    else:
        print(",".join(f"{name}={value}" for name, value in made.items()))
        for name, value in digests.items():
            print(f"{name}: {value}", file=sys.stderr)
    _say_notes(measurement.notes)
    return 0


def _say_notes(notes: tuple[str, ...]) -> None:
    sys.stdout.flush()
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def number(text: str) -> int:
    """Return a number in decimal or hex. Raises InputError for anything else."""
    try:
        return int(text, 0)
    except ValueError:
        raise InputError(f"'{text[:40]}' is no number", code="usage.number", remedy="12 or 0xc") from None


def _memory(text: str) -> int:
    from sequester.guest.memory import MIB, byte_size

    size = byte_size(text, default_unit=MIB)
    if size is None:
        raise InputError(f"'{text[:40]}' is no size", code="usage.number", remedy="4G or 4096M")
    return size


def _hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise InputError(f"'{text[:40]}' is not hex", code="measure.digest") from None


def _digest(text: str) -> bytes:
    """Return a digest in hex or base64; what can be hex is hex."""
    from base64 import b64decode

    try:
        if not text.lower().strip("0123456789abcdef"):
            return bytes.fromhex(text)
        return b64decode(text, validate=True)
    except ValueError:
        raise InputError(
            f"'{text[:100]}' is no digest in hex or base64",
            code="measure.digest",
            remedy="32 or 48 bytes: 64 or 96 hex digits, or 44 or 64 base64 characters",
        ) from None


def _size(text: str) -> int:
    """Return a size that is said as a number or by a file that has it."""
    import os

    if text.isdecimal() or text.startswith("0x"):
        return number(text)
    try:
        return os.stat(text).st_size
    except (OSError, ValueError) as error:
        raise InputError(
            "this file cannot be read",
            code="measure.unreadable",
            where=text,
            why=getattr(error, "strerror", "") or str(error),
        ) from None
