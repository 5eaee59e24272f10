"""The command `real-tools`."""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from realtools import manifest, tree
from realtools.suites import ARCHES, SUITES, Suite
from realtools.wrapper import IncompleteTreeError
from sequester.errors import HostError
from sequester.run import debian

CHECKOUT = Path(__file__).resolve().parents[2]
DESCRIPTION = """\
Fetch real QEMUs and a real libvirt from Debian into private trees, without root, for the differential tests.
Nothing is installed; removing the directory undoes everything. Running it again does only what is missing.
"""


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns 0, or 3 when something could not be had (what there is can be used)."""
    parser = argparse.ArgumentParser(prog="real-tools", description=DESCRIPTION)
    parser.add_argument("--root", type=Path, default=default_root(), help="where the trees go (%(default)s)")
    parser.add_argument(
        "--suite", action="append", choices=[suite.name for suite in SUITES], help="only this one"
    )
    options = parser.parse_args(arguments)
    root: Path = options.root.resolve()
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs in one checkout
        return _make(root, _wanted(options.suite))


def default_root() -> Path:
    """`.cache/real` in the checkout, or where $SEQUESTER_REAL_TOOLS says."""
    return Path(os.environ.get("SEQUESTER_REAL_TOOLS") or CHECKOUT / ".cache" / "real")


def _wanted(names: Sequence[str] | None) -> list[Suite]:
    """The suites that were asked for; without a wish, bookworm only where its QEMU 7.2 is not installed."""
    if names:
        return [suite for suite in SUITES if suite.name in names]
    installed = all((manifest.SYSTEM / f"qemu-system-{arch}").exists() for arch in ARCHES)
    return [suite for suite in SUITES if not (suite.name == "bookworm" and installed)]


def _make(root: Path, wanted: Sequence[Suite]) -> int:
    errors: list[str] = []
    missing = wanted
    try:
        archive = debian.machine_archive()
        missing = [
            suite
            for suite in wanted
            if not tree.is_built(root / suite.name, tree.request_key(suite, archive.architecture))
        ]
        with ThreadPoolExecutor(2) as pool:
            errors = [
                error for error in pool.map(lambda suite: _build(suite, root, archive), missing) if error
            ]
    except HostError as error:
        errors = [str(error)]
    if missing or not (root / manifest.NAME).exists():
        trees = [root / suite.name for suite in SUITES if (root / suite.name).is_dir()]
        manifest.write(root, trees, _progress)
    for failure in errors:
        print(f"real-tools: {failure}", file=sys.stderr)
    if errors:
        print("real-tools: tests that need what is missing are skipped", file=sys.stderr)
    return 3 if errors else 0


def _build(suite: Suite, root: Path, archive: debian.Archive) -> str:
    """Build one tree; returns the error, so that one suite's failure leaves the others alone."""
    try:
        tree.build(suite, root, archive, _progress)
    except (HostError, IncompleteTreeError, OSError) as error:
        return f"{suite.name}: {error}"
    return ""


def _progress(text: str) -> None:
    sys.stdout.write(f"real-tools: {text}\n")  # one write, so that two threads' lines stay apart
    sys.stdout.flush()
