"""`sequester hook`: a hook of libvirt that keeps domains with misconfigured protection from starting."""

from __future__ import annotations

import argparse
import sys

from sequester.cli.output import say
from sequester.errors import InputError
from sequester.hook.installing import FOLDER, POLICY

_EPILOG = f"""\
  sequester hook --install            writes {FOLDER}/qemu.d/50-sequester; other hooks stay as they are
  sequester hook --install ./hooks --policy ./hook.toml
  virsh dumpxml web | sequester hook --judge web        what the hook says of a domain

Restart libvirt's daemon after the first installation (systemctl restart virtqemud, or libvirtd): it looks for hooks
when it starts. A domain that asks for protection and would run without, or not at all, is then not started, and
libvirt's error says why. Domains that ask for none start as before, unless {POLICY} says that they must be protected:

  required = ["web-*", "db"]      names of domains that must be protected
  ignore = ["SQ805"]              rules that do not count
  refuse = "error"                or "warning"

A domain says so itself with <must-be-protected xmlns='urn:sequester:hook:1'/> in its <metadata>.
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.epilog = _EPILOG
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--install", nargs="?", const=FOLDER, metavar="DIR", help=f"put the hook in place (default: {FOLDER})"
    )
    what.add_argument("--judge", action="store_true", help="judge the domain whose XML is on standard input")
    parser.add_argument("--policy", default=POLICY, metavar="FILE", help=f"its policy (default: {POLICY})")
    parser.add_argument("--required", action="store_true", help="with --judge: the domain must be protected")
    parser.add_argument("name", nargs="?", default="", metavar="NAME", help="with --judge: the domain's name")


def run(arguments: argparse.Namespace) -> int:
    """Install, or judge one domain: 0 where it may start, 1 where it may not, 2 where that cannot be told."""
    if arguments.install is not None:
        return _install(arguments)
    from sequester.formats.sources import MAX_BYTES
    from sequester.hook.judging import judged, read_policy

    name = arguments.name or next(iter(arguments.guest_argv), "")
    lines = judged(
        sys.stdin.buffer.read(MAX_BYTES + 1), name, arguments.required, read_policy(arguments.policy)
    )
    for line in lines:
        say(line)
    return int(bool(lines))


def _install(arguments: argparse.Namespace) -> int:
    from sequester.hook.installing import install, writable_by_others
    from sequester.hook.judging import read_policy

    if arguments.required or arguments.name or arguments.guest_argv:
        raise InputError("--install takes no domain", code="usage.hook")
    read_policy(arguments.policy)
    print(install(arguments.install, arguments.policy))
    for path in writable_by_others():
        say(f"warning: libvirt's daemon will run what others may write: {path}")
    say("restart libvirt's daemon if this is the first hook: it looks for hooks when it starts")
    return 0
