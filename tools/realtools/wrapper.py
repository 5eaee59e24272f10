"""Scripts that run a program of a tree through the tree's own dynamic loader, with the host's paths in view."""

from __future__ import annotations

import os
from pathlib import Path

# $0 always has a slash: a script is run by its path, or by a search of $PATH, which passes on the path it found.
SCRIPT = """\
#!/bin/sh
tree=${{0%/*}}/../{tree}
exec "$tree/{loader}" --library-path "{libraries}" "$tree/{program}" "$@"
"""

LOADERS = ("usr/lib/*-linux-gnu/ld-linux*.so.*", "lib/*-linux-gnu/ld-linux*.so.*", "lib/ld-linux*.so.*")
BUNDLE = "qemu-bundle"


class IncompleteTreeError(Exception):
    """A tree lacks a part that every program needs; the message names it."""


def write_wrapper(root: Path, tree: Path, program: str, name: str) -> Path:
    """Write `root/bin/<name>`, which runs `program` (a path relative to the tree), and return it."""
    script = SCRIPT.format(
        tree=tree.name,
        loader=loader(tree).relative_to(tree),
        libraries=":".join(f"$tree/{directory}" for directory in library_directories(tree)),
        program=program,
    )
    wrapper = root / "bin" / name
    wrapper.parent.mkdir(parents=True, exist_ok=True)
    partial = wrapper.with_name(f".{wrapper.name}.{os.getpid()}")
    partial.write_text(script, encoding="utf-8")
    partial.chmod(0o755)
    partial.replace(wrapper)
    return wrapper


def link_bundle(tree: Path) -> None:
    """Make QEMU find its modules and firmware in the tree, and never the host's.

    QEMU looks for `qemu-bundle` beside its executable and, if it is there, takes every compiled-in path from
    below it. The executable is the loader here. Without this, QEMU tries the host's modules after the tree's
    and dies of those that belong to another build. Source: QEMU util/cutils.c, get_relocated_path.
    """
    place = loader(tree).parent
    link = place / BUNDLE
    if not link.is_symlink():
        link.symlink_to(os.path.relpath(tree, place))


def loader(tree: Path) -> Path:
    """The tree's dynamic loader; raises `IncompleteTreeError` when there is none."""
    for pattern in LOADERS:
        for found in sorted(tree.glob(pattern)):
            return found
    raise IncompleteTreeError(f"{tree.name} has no dynamic loader ({LOADERS[0]})")


def library_directories(tree: Path) -> list[str]:
    """The directories of the multiarch tuple, relative to the tree, and one level below where libraries are."""
    roots = [*sorted(tree.glob("lib/*-linux-gnu")), *sorted(tree.glob("usr/lib/*-linux-gnu"))]
    nested = [
        path for root in roots for path in sorted(root.iterdir()) if path.is_dir() and _has_library(path)
    ]
    return [str(path.relative_to(tree)) for path in [*roots, *nested] if not path.is_symlink()]


def _has_library(directory: Path) -> bool:
    return any(directory.glob("lib*.so.*")) or any(directory.glob("libpulse*.so"))
