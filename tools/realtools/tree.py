"""One suite's packages, fetched and unpacked into a directory of their own."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from realtools.suites import UNUSED_PACKAGES, Suite
from realtools.wrapper import link_bundle
from sequester.run import debian

Progress = Callable[[str], None]

STAMP = ".packages"  # in a finished tree: the key of its request, then one package a line
UNUSED = ("doc", "man", "locale", "info", "lintian")  # under usr/share; three quarters of all files


def request_key(suite: Suite, architecture: str) -> str:
    """Changes when the tree has to be built anew."""
    text = repr((suite, architecture, UNUSED, UNUSED_PACKAGES.pattern))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_built(tree: Path, key: str) -> bool:
    """Whether `tree` is finished and answers the request `key`."""
    try:
        return (tree / STAMP).read_text(encoding="utf-8").startswith(key + "\n")
    except OSError:
        return False


def build(suite: Suite, root: Path, archive: debian.Archive, progress: Progress) -> Path:
    """Make `root/<suite>`; what was fetched before an interruption is used again.

    The tree appears under its name only when it is complete. Raises `HostError` with apt's cause.
    """
    tree = root / suite.name
    key = request_key(suite, archive.architecture)
    if is_built(tree, key):
        return tree
    work = root / f".{suite.name}.work"
    progress(f"{suite.name}: reading the package lists")
    # A frozen mirror is as good as another: what is fetched is only run by tests, and its signature is checked.
    state = debian.open_state(
        work / "apt", archive, suite.apt_suites, None, suite.default_release, accept_expired=True
    )
    packages = [
        package
        for package in debian.resolve(state, suite.packages)
        if not UNUSED_PACKAGES.fullmatch(package.name)
    ]
    size = sum(package.size for package in packages) / 1e6
    progress(f"{suite.name}: fetching {len(packages)} packages, {size:.0f} MB")
    files = debian.download_alone(state, [f"{package.name}={package.version}" for package in packages])
    progress(f"{suite.name}: unpacking")
    partial = work / "tree"
    shutil.rmtree(partial, ignore_errors=True)
    _unpack_all(files, partial)
    link_bundle(partial)
    lines = [key, *sorted(f"{package.name} {package.version}" for package in packages)]
    (partial / STAMP).write_text("\n".join(lines) + "\n", encoding="utf-8")
    old = work / "old"
    shutil.rmtree(old, ignore_errors=True)
    if tree.exists():
        tree.rename(old)
    partial.rename(tree)
    shutil.rmtree(work)
    return tree


def _unpack_all(files: tuple[Path, ...], tree: Path) -> None:
    """Unpack on two processors; base-files first, because it carries the links that merge /lib into /usr/lib."""
    first = [file for file in files if file.name.startswith("base-files_")]
    for file in first:
        debian.unpack(file, tree)
    with ThreadPoolExecutor(2) as pool:
        for _ in pool.map(
            lambda file: debian.unpack(file, tree), [file for file in files if file not in first]
        ):
            pass
    for name in UNUSED:
        shutil.rmtree(tree / "usr" / "share" / name, ignore_errors=True)
