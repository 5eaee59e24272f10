"""`sequester owner measurement`: whether a waiting launch is the guest that was meant."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from sequester.cli.arguments import add_guest, add_host, the_guest, the_host
from sequester.errors import InputError
from sequester.planning import Plan, make_plan

if TYPE_CHECKING:
    from sequester.owner.launch import Launch
    from sequester.owner.sev_session import TransportKeys

_LARGEST_LAUNCH = 1 << 20


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.epilog = (
        "The launch comes from QEMU (--qmp), from a file that a host wrote (--launch, or - for standard input), or in\n"
        "pieces: --measurement, --api and --build, as `virsh domlaunchsecinfo` shows them. Digest and policy are\n"
        "those of the guest's plan."
    )
    add_launch(parser)
    parser.add_argument("--json", action="store_true", help="as JSON")


def add_launch(parser: argparse.ArgumentParser) -> None:
    """Add what says which launch it is, with which keys, and which guest was meant."""
    add_guest(parser)
    parser.add_argument("--limit", metavar="auto|NAME", help="the guest's platform, as for `plan`")
    add_host(parser)
    add_keys(parser)
    parser.add_argument("--qmp", metavar="SOCKET", help="ask the QEMU that waits there")
    parser.add_argument("--launch", metavar="F", help="the launch as JSON (sequester-launch/1)")
    parser.add_argument("--measurement", metavar="BASE64", help="the launch measurement, 48 bytes")
    parser.add_argument("--api", metavar="MAJOR.MINOR", help="the firmware's API version")
    parser.add_argument("--build", type=int, metavar="N", help="the firmware's build")


def add_keys(parser: argparse.ArgumentParser) -> None:
    """Add what says where the session's keys are."""
    parser.add_argument(
        "--keys", metavar="NAME", help="NAME_tik.bin and NAME_tek.bin, as `session` made them"
    )
    parser.add_argument("--tik", metavar="F", help="the transport integrity key, 16 bytes")
    parser.add_argument("--tek", metavar="F", help="the transport encryption key, 16 bytes")


def the_keys(arguments: argparse.Namespace) -> TransportKeys:
    """Return the session's keys. Raises InputError where they are not said or are none."""
    from sequester.owner.files import read
    from sequester.owner.sev_session import KEY, TransportKeys

    tik, tek = arguments.tik, arguments.tek
    if arguments.keys is not None:
        tik, tek = (given or f"{arguments.keys}_{name}.bin" for given, name in ((tik, "tik"), (tek, "tek")))
    if tik is None or tek is None:
        raise InputError(
            "the session's keys are not said",
            code="usage.keys",
            remedy="give --keys NAME, or --tik and --tek",
        )
    found = []
    for path in (tek, tik):
        data = read(path)
        if len(data) != KEY:
            raise InputError(
                f"a transport key has {KEY} bytes, and this file {len(data)}", code="session.key", where=path
            )
        found.append(data)
    return TransportKeys(*found)


def the_plan(arguments: argparse.Namespace) -> Plan:
    """Return the plan of the guest that was meant."""
    return make_plan(the_guest(arguments), arguments.limit, the_host(arguments))


def the_launch(arguments: argparse.Namespace, plan: Plan) -> Launch:
    """Return the launch that was named. Raises InputError unless one source was."""
    from sequester.owner.launch import LAUNCH, Launch

    given = [arguments.qmp, arguments.launch, arguments.measurement]
    if sum(each is not None for each in given) != 1:
        raise InputError(
            "one source of the launch is needed",
            code="usage.launch",
            remedy="--qmp, --launch, or --measurement with --api and --build",
        )
    if arguments.qmp is not None:
        from sequester.owner.qmp import launch

        return launch(arguments.qmp)
    if arguments.launch is not None:
        return read_launch(arguments.launch)
    major, _, minor = (arguments.api or "").partition(".")
    if not (major.isdecimal() and minor.isdecimal()) or arguments.build is None:
        raise InputError(
            "the firmware's version is in its measurement",
            code="usage.launch",
            remedy="give --api MAJOR.MINOR and --build N",
        )
    told = {
        "schema": LAUNCH,
        "platform": plan.limitation.name,
        "guest": plan.document.name,
        "measurement": arguments.measurement,
        "policy": plan.limitation.value("policy"),
        "api-major": int(major),
        "api-minor": int(minor),
        "build-id": arguments.build,
    }
    return Launch.of(told, "--measurement")


def read_launch(path: str) -> Launch:
    """Read a launch as JSON from a file, or standard input for ``-``. Raises InputError for anything else."""
    from sequester.owner.files import read
    from sequester.owner.launch import Launch

    data = sys.stdin.buffer.read(_LARGEST_LAUNCH + 1) if path == "-" else read(path, _LARGEST_LAUNCH)
    where = "<stdin>" if path == "-" else path
    try:
        told = json.loads(data) if len(data) <= _LARGEST_LAUNCH else None
    except (ValueError, RecursionError):
        raise InputError("this is no JSON", code="owner.launch", where=where) from None
    return Launch.of(told, where)


def demand(launch: Launch, plan: Plan, keys: TransportKeys) -> None:
    """Raise GuestError unless the launch is the plan's, InputError where that cannot be known."""
    from sequester.measuring import measure

    if launch.platform != plan.limitation.name:
        raise InputError(
            f"the launch is one of {launch.platform}, and the guest that was meant one of {plan.limitation.name}",
            code="owner.platform",
            where=plan.document.name,
        )
    launch.demand(measure(plan).digest, keys, plan.limitation.value("policy"))


def run(arguments: argparse.Namespace) -> int:
    """Check the launch; 4 where it is another one."""
    plan = the_plan(arguments)
    launch = the_launch(arguments, plan)
    demand(launch, plan, the_keys(arguments))
    if arguments.json:
        print(
            json.dumps({"schema": "sequester-owner/1", "accepted": True, "launch": launch.told()}, indent=2)
        )
    else:
        simulated = " SIMULATED: nothing is protected." if launch.simulated else ""
        print(f"{plan.document.name}: the measurement is that of this guest.{simulated}")
    return 0
