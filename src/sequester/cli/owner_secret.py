"""`sequester owner secret`: secrets for a guest whose launch is the one that was meant, and for no other."""

from __future__ import annotations

import argparse
import json
import os
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING

from sequester.cli.owner_measurement import add_launch, demand, the_keys, the_launch, the_plan
from sequester.errors import InputError

if TYPE_CHECKING:
    from uuid import UUID

    from sequester.owner.launch import Launch
    from sequester.owner.sev_secret import Packet
    from sequester.owner.sev_session import TransportKeys


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.epilog = (
        "The measurement is checked first, as `owner measurement` does. The packet goes to FILE_header.b64 and\n"
        "FILE_payload.b64 (-o), or straight to the QEMU that waits (--inject)."
    )
    add_launch(parser)
    add_secrets(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="how the two files' names begin")
    parser.add_argument("--inject", action="store_true", help="give it to the QEMU of --qmp")
    parser.add_argument("--address", metavar="GPA", help="where it goes, if the firmware has no place for it")
    parser.add_argument("--json", action="store_true", help="print the packet as QEMU takes it")


def add_secrets(parser: argparse.ArgumentParser) -> None:
    """Add --secret."""
    parser.add_argument(
        "--secret",
        action="append",
        default=[],
        metavar="NAME|GUID:F",
        help="a secret in a file, as it is; luks-key is the one for an encrypted disk; may be given several times",
    )


def the_secrets(arguments: argparse.Namespace) -> dict[UUID, bytes]:
    """Read the secrets. Raises InputError for one that is not said as it should be, or said twice."""
    from sequester.owner.files import read
    from sequester.owner.sev_secret import LARGEST, named

    found: dict[UUID, bytes] = {}
    for said in arguments.secret:
        name, colon, path = said.partition(":")
        if not colon or not path:
            raise InputError(
                "a secret is said as NAME:FILE",
                code="usage.secret",
                remedy="--secret luks-key:passphrase.txt",
            )
        guid = named(name)
        if guid in found:
            raise InputError(f"there are two secrets '{name}'", code="usage.secret")
        found[guid] = read(path, LARGEST)
    return found


def sealed(launch: Launch, keys: TransportKeys, secrets: dict[UUID, bytes]) -> Packet:
    """Return the packet for a launch whose measurement was checked."""
    from sequester.owner.sev_secret import seal, table

    return seal(keys, launch.measurement[:32], table(secrets), os.urandom(16))


def run(arguments: argparse.Namespace) -> int:
    """Check the launch, then make the packet."""
    from sequester.owner.files import write_new
    from sequester.owner.launch import in_base64

    if not (arguments.output or arguments.inject or arguments.json):
        raise InputError(
            "where the secret goes is not said", code="usage.secret", remedy="-o FILE, --inject or --json"
        )
    if arguments.inject and arguments.qmp is None:
        raise InputError("--inject needs the QEMU of --qmp", code="usage.secret")
    plan = the_plan(arguments)
    launch, keys, secrets = the_launch(arguments, plan), the_keys(arguments), the_secrets(arguments)
    demand(launch, plan, keys)
    packet = sealed(launch, keys, secrets)
    if arguments.output:
        path = Path(arguments.output)
        parts = {f"{path.name}_header.b64": packet.header, f"{path.name}_payload.b64": packet.payload}
        for made in write_new(path.parent, {name: b64encode(part) for name, part in parts.items()}):
            print(made)
    if arguments.json:
        print(json.dumps(in_base64(packet), indent=2))
    if arguments.inject:
        from sequester.owner.qmp import inject

        inject(arguments.qmp, packet, _address(arguments.address))
        print(f"{plan.document.name}: the measurement is that of this guest, and it has its secret.")
    return 0


def _address(said: str | None) -> int | None:
    try:
        return None if said is None else int(said, 0)
    except ValueError:
        raise InputError(f"'{said}' is no address", code="usage.number", remedy="0x80d000") from None
