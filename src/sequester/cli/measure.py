"""`sequester measure`: what a launch will be measured as."""

from __future__ import annotations

import argparse
import base64
import binascii
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from sequester.cli.arguments import add_guest, add_host, coloured, the_guest, the_host
from sequester.errors import InputError

if TYPE_CHECKING:
    from sequester.measure.pieces import Pieces

EPILOG = """\
examples:
  sequester measure web.toml
  sequester measure --type sev-snp --firmware OVMF.amdsev.fd --cpus 4 --cpu EPYC-Milan --kernel vmlinuz --initrd i.img
  sequester measure --explain web.xml
  sequester measure --compare DIGEST --type sev-es --firmware OVMF.fd --cpus 2 --cpu 25/1/1
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.epilog = EPILOG
    add_guest(parser)
    parser.add_argument("--limit", metavar="auto|NAME", help="the guest's platform, as for `plan`")
    add_host(parser)
    pieces = parser.add_argument_group("pieces", "instead of a guest, or other than it says")
    pieces.add_argument(
        "--type", metavar="NAME", help="the platform, instead of a guest: sev, sev-es, sev-snp ..."
    )
    pieces.add_argument("--firmware", metavar="F", help="firmware image")
    pieces.add_argument("--cpus", metavar="N", type=_number, help="number of vCPUs")
    pieces.add_argument(
        "--cpu", metavar="MODEL", help="QEMU's model, family/model/stepping (25/1/1), or signature (0xa00f11)"
    )
    pieces.add_argument(
        "--kernel", metavar="F", help="kernel that is started and measured (kernel-hashes=on)"
    )
    pieces.add_argument("--initrd", metavar="F", help="its initrd")
    pieces.add_argument("--append", metavar="S", help="its command line")
    pieces.add_argument("--monitor", metavar="NAME", help="who starts it: qemu, ec2 or gce")
    pieces.add_argument(
        "--guest-features", metavar="N", type=_number, help="SEV_FEATURES of an SNP guest (0x1)"
    )
    pieces.add_argument(
        "--legacy-vm-type", choices=("on", "off"), help="on: a SEV-ES guest's VMSA is without the FPU state"
    )
    pieces.add_argument("--firmware-digest", metavar="HEX", help="stands in for the firmware's pages (SNP)")
    pieces.add_argument("--svsm", metavar="F", help="COCONUT-SVSM image below the firmware (SNP)")
    pieces.add_argument(
        "--vars", metavar="F|SIZE", help="variable store between the two, or its size in bytes"
    )
    what = parser.add_argument_group("what to say")
    what.add_argument("--explain", action="store_true", help="every contribution in order")
    what.add_argument(
        "--compare", metavar="DIGEST", help="which likely mistake gives this digest, hex or base64"
    )
    what.add_argument(
        "--among", metavar="DIR", help="other firmware images to compare with (the image's folder)"
    )
    what.add_argument("--firmware-only", action="store_true", help="the digest of the firmware's pages (SNP)")
    what.add_argument("--id-key", metavar="F", help="make an ID block, signed with this key (SNP)")
    what.add_argument("--author-key", metavar="F", help="and the ID key signed with this one")
    what.add_argument("--format", choices=("hex", "base64"), default="hex", help="how digests are spelled")
    what.add_argument("--json", action="store_true", help="as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print the measurement, or what else was asked for; 1 for a mistake that was found, 4 for none found."""
    pieces = the_pieces(arguments)
    if arguments.compare is not None:
        return _compare(arguments, pieces)
    if arguments.firmware_only:
        return _firmware_only(arguments, pieces)
    if arguments.id_key is not None:
        return _id_block(arguments, pieces)
    return _measure(arguments, pieces)


def the_pieces(arguments: argparse.Namespace) -> Pieces:
    """Return the pieces that were named: of a guest, or of a platform, changed by what else was given."""
    from sequester.measure.pieces import Pieces

    if arguments.type is not None:
        if arguments.guest or arguments.guest_argv:
            raise InputError(
                "a guest and --type were both given", code="usage.guest", remedy="give one of them"
            )
        pieces = Pieces(arguments.type)
    elif arguments.guest or arguments.guest_argv:
        from sequester.measuring import pieces_of_guest

        pieces = pieces_of_guest(the_guest(arguments), arguments.limit, the_host(arguments))
    else:
        raise InputError(
            "neither a guest nor --type was given",
            code="usage.guest",
            remedy="name a guest, or the pieces: --type sev-snp --firmware F --cpus N --cpu MODEL",
        )
    return _changed(pieces, arguments)


def _changed(pieces: Pieces, arguments: argparse.Namespace) -> Pieces:
    from sequester.measure import processor

    given = {
        "firmware": arguments.firmware,
        "vcpus": arguments.cpus,
        "signature": processor.parse(arguments.cpu) if arguments.cpu is not None else None,
        "kernel": arguments.kernel,
        "initrd": arguments.initrd,
        "append": arguments.append,
        "monitor": arguments.monitor.lower() if arguments.monitor is not None else None,
        "features": arguments.guest_features,
        "seed": _hex(arguments.firmware_digest) if arguments.firmware_digest is not None else None,
        "svsm": arguments.svsm,
        "variables": _size(arguments.vars) if arguments.vars is not None else None,
        "new_vm_type": arguments.legacy_vm_type == "off" if arguments.legacy_vm_type is not None else None,
    }
    return replace(pieces, **{name: value for name, value in given.items() if value is not None})


def _measure(arguments: argparse.Namespace, pieces: Pieces) -> int:
    from sequester.measure.methods import method
    from sequester.report.measure import contributions_text, measurement_json, measurement_text
    from sequester.report.style import Style

    launch = method(pieces.platform).launch(pieces)
    measurement = launch.measure()
    if arguments.json:
        steps = launch.contributions() if arguments.explain else ()
        sys.stdout.write(measurement_json(measurement, steps))
        return 0
    if arguments.explain:
        sys.stdout.write(contributions_text(launch.contributions(), Style(coloured())))
    sys.stdout.write(measurement_text(measurement, arguments.format))
    _say_notes(measurement.notes)
    return 0


def _compare(arguments: argparse.Namespace, pieces: Pieces) -> int:
    from sequester.measure.methods import method
    from sequester.measuring import images_beside
    from sequester.report.measure import match_json, match_text

    digest = _digest(arguments.compare)
    beside = os.path.join(arguments.among, "") if arguments.among else pieces.firmware
    others = images_beside(beside) if beside else ()
    match = method(pieces.platform).find(digest, pieces, others)
    sys.stdout.write((match_json if arguments.json else match_text)(match, digest))
    return 4 if match is None else int(bool(match.differences))


def _firmware_only(arguments: argparse.Namespace, pieces: Pieces) -> int:
    from sequester.measure.sev_snp import image_digest
    from sequester.report.measure import spelled

    print(spelled(image_digest(pieces.read_firmware()), arguments.format))
    return 0


def _id_block(arguments: argparse.Namespace, pieces: Pieces) -> int:
    import json

    from sequester.measure.id_block import IdBlock, authenticate, key_digest, read_key
    from sequester.measure.methods import method

    measurement = method(pieces.platform).launch(pieces).measure()
    id_key = read_key(arguments.id_key)
    author_key = read_key(arguments.author_key) if arguments.author_key is not None else None
    block = IdBlock(measurement.digest, policy=pieces.properties.get("policy", 0x30000))
    made = {
        "id-block": _base64(block.pack()),
        "id-auth": _base64(authenticate(block, id_key, author_key)),
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


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text[:40]}' is no number") from None


def _hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise InputError(f"'{text[:40]}' is not hex", code="measure.digest") from None


def _digest(text: str) -> bytes:
    """Return a digest in hex or base64; what can be hex is hex."""
    try:
        if not text.lower().strip("0123456789abcdef"):
            return bytes.fromhex(text)
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise InputError(
            f"'{text[:100]}' is no digest in hex or base64",
            code="measure.digest",
            remedy="32 or 48 bytes: 64 or 96 hex digits, or 44 or 64 base64 characters",
        ) from None


def _size(text: str) -> int:
    """Return a size that is said as a number or by a file that has it."""
    if text.isdecimal() or text.startswith("0x"):
        return _number(text)
    try:
        return os.stat(text).st_size
    except (OSError, ValueError) as error:
        raise InputError(
            "this file cannot be read",
            code="measure.unreadable",
            where=text,
            why=getattr(error, "strerror", ""),
        ) from None
