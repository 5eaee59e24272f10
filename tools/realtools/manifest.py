"""What real tools there are, as one JSON file that the tests read.

Version 1: {"version": 1, "qemu": [{"name", "version", "arch", "path", "suite", "package", "accels"}],
"libvirt": null or {"version", "suite", "tree", "virsh", "xmllint", "schemas"}, "firmware": [{"name", "path"}]}.
A path is relative to the manifest's directory, or absolute when it is the machine's own.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from realtools.qmp import BARE, QmpError, ask
from realtools.suites import ARCHES
from realtools.wrapper import write_wrapper

Progress = Callable[[str], None]

SYSTEM = Path("/usr/bin")
NAME = "manifest.json"
# A machine of the target on which KVM can be tried; TCG is tried on machine `none`.
KVM_MACHINES = {"x86_64": "q35", "aarch64": "virt", "s390x": "s390-ccw-virtio", "ppc64": "pseries"}


def write(root: Path, trees: Sequence[Path], progress: Progress) -> dict[str, Any]:
    """Try every emulator there is, write the manifest, and return it.

    An emulator that does not start is left out and reported as a progress line.
    """
    qemu = [
        *(_emulator(SYSTEM / f"qemu-system-{arch}", arch, "system", progress) for arch in ARCHES),
        *(_wrapped(root, tree, arch, progress) for tree in trees for arch in ARCHES),
    ]
    document = {
        "version": 1,
        "qemu": _distinct([_relative(root, entry) for entry in qemu if entry is not None]),
        "libvirt": next((entry for tree in trees if (entry := _libvirt(root, tree)) is not None), None),
        "firmware": [
            {"name": image.name, "path": str(image.relative_to(root))}
            for tree in trees
            for image in sorted(tree.glob("usr/share/[Oo][Vv][Mm][Ff]/*.fd"))
            if not image.is_symlink()
        ],
    }
    partial = root / f".{NAME}.{os.getpid()}"
    partial.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    partial.replace(root / NAME)
    _remove_stale(root / "bin", json.dumps(document))
    return document


def _remove_stale(scripts: Path, document: str) -> None:
    """Remove the scripts of versions that are no longer there."""
    for script in scripts.glob("*"):
        if f'"bin/{script.name}"' not in document:
            script.unlink()


def _wrapped(root: Path, tree: Path, arch: str, progress: Progress) -> dict[str, Any] | None:
    program = f"usr/bin/qemu-system-{arch}"
    if not (tree / program).exists():
        return None
    # The version is only known once it runs, so that the script is written twice.
    trial = write_wrapper(root, tree, program, f"qemu-system-{arch}-{tree.name}")
    entry = _emulator(trial, arch, tree.name, progress)
    trial.unlink()
    if entry is not None:
        name = f"qemu-system-{arch}-{entry['version']}"
        entry["path"] = str(write_wrapper(root, tree, program, name))
    return entry


def _emulator(binary: Path, arch: str, suite: str, progress: Progress) -> dict[str, Any] | None:
    """One emulator's entry, after it has said its version and started under each accelerator it can use."""
    if not binary.exists():
        return None
    try:
        (version,) = ask([str(binary), *BARE, "-machine", "none"], [{"execute": "query-version"}])
    except QmpError as error:
        progress(f"left out: {error}")
        return None
    accels = ["tcg"]
    try:
        ask([str(binary), *BARE, "-machine", KVM_MACHINES[arch], "-accel", "kvm"])
        accels.append("kvm")
    except QmpError:
        pass  # a foreign target, or no /dev/kvm
    number = version["qemu"]
    release = f"{number['major']}.{number['minor']}.{number['micro']}"
    progress(f"qemu-system-{arch} {release} ({suite}): starts under {', '.join(accels)}")
    return {
        "name": f"qemu-system-{arch}",
        "version": release,
        "arch": arch,
        "path": str(binary),
        "suite": suite,
        "package": version["package"],
        "accels": accels,
    }


def _libvirt(root: Path, tree: Path) -> dict[str, Any] | None:
    if not (tree / "usr/sbin/libvirtd").exists():
        return None
    virsh = write_wrapper(root, tree, "usr/bin/virsh", "virsh")
    xmllint = write_wrapper(root, tree, "usr/bin/xmllint", "xmllint")
    answer = subprocess.run([virsh, "--version"], capture_output=True, text=True, timeout=60, check=False)
    if not re.fullmatch(r"[\d.]+\n", answer.stdout):
        return None
    return {
        "version": answer.stdout.strip(),
        "suite": tree.name,
        "tree": tree.name,
        "virsh": str(virsh.relative_to(root)),
        "xmllint": str(xmllint.relative_to(root)),
        "schemas": f"{tree.name}/usr/share/libvirt/schemas",
    }


def _distinct(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry for each build of each target; the machine's own comes first and wins."""
    return list({(entry["arch"], entry["package"]): entry for entry in reversed(entries)}.values())[::-1]


def _relative(root: Path, entry: dict[str, Any]) -> dict[str, Any]:
    path = Path(entry["path"])
    return {**entry, "path": str(path.relative_to(root))} if path.is_relative_to(root) else entry
