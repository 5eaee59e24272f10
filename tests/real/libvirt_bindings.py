"""libvirt-python of this machine's own Python, where it fits ours: it is built against one interpreter's version."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import pytest

_PLACE = Path("/usr/lib/python3/dist-packages")
_MODULES = ("libvirt", "libvirt_qemu")


def bindings_beside(folder: Path) -> None:
    """Make libvirt-python importable, from `folder` where it is not installed; skips the test where it cannot be."""
    try:
        import libvirt
    except ImportError:
        suffix = sysconfig.get_config_var("EXT_SUFFIX")
        wanted = [f"{name}.py" for name in _MODULES] + [
            f"{name.replace('libvirt', 'libvirtmod')}{suffix}" for name in _MODULES
        ]
        if not all((_PLACE / name).exists() for name in wanted):
            pytest.skip("no libvirt-python for this Python (Debian's python3-libvirt, or sequester[libvirt])")
        for name in wanted:
            (folder / name).symlink_to(_PLACE / name)
        sys.path.insert(0, str(folder))
        import libvirt  # noqa: F401
