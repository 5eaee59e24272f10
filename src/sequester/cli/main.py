"""The entry point: finds the command, loads only what that command needs, prints errors once."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # loading `typing` or argparse takes longer than some commands' work
if TYPE_CHECKING:
    import argparse
    from typing import Any, NoReturn

COMMANDS = {
    "probe": "what this host can do, why not, and what would mend it",
    "platforms": "the platforms: what they take from the host, what they need, their properties",
    "plan": "protect a guest: choose the platform, apply every consequence, write the result",
    "check": "say where guests do not hold to their limitation",
    "run": "start a guest from its plan",
    "guard": "a QMP server before QEMU's own that keeps a running guest to its limitation",
    "audit": "a running guest against what its limitation asks",
    "hook": "a hook of libvirt that starts no domain whose protection is misconfigured",
    "measure": "what a launch will be measured as, why, and which mistake explains another digest",
    "image": "make a boot image that only the machines you name can open (s390 Secure Execution)",
    "verify": "whether evidence is real, current, and from the guest that was meant",
    "collateral": "gather what evidence is verified with, for a place without a network",
    "show": "every field of evidence, and what it means",
    "owner": "the guest owner's side of a launch: chain, session, measurement, secret, ID block",
    "serve": "the answers of verify, over HTTP",
    "explain": "a rule by its code, or an error text of QEMU, KVM, libvirt or the firmware",
}
"""Command → one line of help. Each is a module of this package with `add(parser)` and `run(arguments) -> int`."""

EPILOG = """\
GUEST is a file (.toml, .xml, .args), - for standard input, libvirt:NAME, or a QEMU command line behind --.

examples:
  sequester probe
  sequester check web.xml db.args
  sequester plan web.toml --limit auto --to argv
  sequester plan --limit sev-snp -- qemu-system-x86_64 -M q35 -m 4G -drive file=disk.qcow2,if=virtio
  sequester run --simulate sev-snp web.toml
  sequester explain SQ201

exit status: 0 fine, 1 findings or a refused plan, 2 usage or unreadable input, 3 this host can't,
4 the guest or its evidence failed
"""


def entry() -> NoReturn:
    """Run the command line and leave with its exit status."""
    sys.exit(main(sys.argv[1:]))


def main(argv: list[str]) -> int:
    """Run one command; return the exit status."""
    from sequester.cli.streams import discard_output, prepare
    from sequester.errors import SequesterError, printable

    prepare()
    try:
        status = _run(argv)
        sys.stdout.flush()
        return status
    except SequesterError as error:
        _complain(str(error))
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        discard_output()
        return 0
    except MemoryError:
        _complain("this takes more memory than there is")
        return 2
    except OSError as error:
        # What reads and writes files says more itself; this is mostly a standard output that takes no more.
        discard_output()
        place = f"{error.filename}: " if error.filename else ""
        _complain(printable(f"{place}reading or writing failed: {error.strerror or error}"))
        return 2


def _run(argv: list[str]) -> int:
    if argv in (["--version"], ["-V"]):
        from sequester import __version__

        print(f"sequester {__version__}")
        return 0
    arguments = _plain(argv) or _parse(argv)
    status: int = arguments.run(arguments)
    return status


def _complain(text: str) -> None:
    """Write one line to standard error; one that takes nothing must not change the exit status."""
    try:
        print(f"sequester: {text}", file=sys.stderr, flush=True)
    except OSError:
        return


def _plain(argv: list[str]) -> Any:
    """Return simple arguments of the one command whose work is shorter than loading argparse; None for all else."""
    if argv[:1] != ["measure"]:
        return None
    from sequester.cli.measure import plain

    return plain(argv[1:])


def _parse(argv: list[str]) -> argparse.Namespace:
    import argparse
    from importlib import import_module

    from sequester.cli.parser import Parser

    mine, _, guest = _split(argv)
    parser = Parser(
        prog="sequester",
        description="One switch that protects a QEMU/KVM guest from its host.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-V", "--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    named = next((word for word in mine if not word.startswith("-")), "")
    for name, text in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            formatter_class=parser.formatter_class,
        )
        if name == named:
            module = import_module(f"sequester.cli.{name}")
            module.add(command)
            command.set_defaults(run=module.run)
    arguments = parser.parse_args(mine)
    arguments.guest_argv = guest
    return arguments


def _split(argv: list[str]) -> tuple[list[str], bool, list[str]]:
    """Split at the first ``--``: what is behind it is a QEMU command line."""
    if "--" not in argv:
        return argv, False, []
    at = argv.index("--")
    return argv[:at], True, argv[at + 1 :]
