"""Real QEMUs and a real libvirt for the tests of this directory.

`tools/real-tools` puts them under `.cache/real` (or $SEQUESTER_REAL_TOOLS) without root; `make test` runs it.
Whatever is missing, the tests that need it are skipped and say what is missing.

- A test that takes `qemu` runs once for each emulator there is. The marker narrows it:
  `@pytest.mark.real_qemu(arch="x86_64", version="11.1")`.
- `qemus` is all of them; `qemus.get("s390x", "7.2")` is one, or the test is skipped.
- `libvirt_schema` validates domain XML against libvirt's own schema: `libvirt_schema.error(xml) is None`.
- `libvirt` is a running libvirtd, for which this machine seems to have SEV, SEV-SNP, TDX and s390 PV:
  `libvirt.define(xml)`, `libvirt.argv(xml)`. It needs root.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT / "tools"))

import real_libvirt  # noqa: E402
import real_qemu  # noqa: E402

ROOT = Path(os.environ.get("SEQUESTER_REAL_TOOLS") or CHECKOUT / ".cache" / "real")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes `qemu` once for each emulator that its marker allows."""
    if "qemu" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("real_qemu")
    wanted: dict[str, Any] = dict(marker.kwargs) if marker else {}
    found = real_qemu.select(real_qemu.qemus(ROOT), wanted.get("arch"), wanted.get("version"))
    if found:
        metafunc.parametrize("qemu", found, ids=str, scope="session")
        return
    what = "".join(f"{value} " for value in wanted.values())
    skip = pytest.mark.skip(reason=real_qemu.MISSING.format(wanted=what))
    metafunc.parametrize("qemu", [pytest.param(None, marks=skip)], ids=["none"])


@pytest.fixture(scope="session")
def qemus() -> real_qemu.Qemus:
    return real_qemu.Qemus(real_qemu.qemus(ROOT))


@pytest.fixture(scope="session")
def libvirt_entry() -> dict[str, Any]:
    """What the manifest says of libvirt."""
    entry: dict[str, Any] | None = real_qemu.manifest(ROOT).get("libvirt")
    if entry is None:
        pytest.skip("no real libvirt here; tools/real-tools fetches it from Debian")
    return entry


@pytest.fixture(scope="session")
def libvirt_schema(libvirt_entry: dict[str, Any]) -> real_libvirt.Schema:
    return real_libvirt.schema(ROOT, libvirt_entry)


@pytest.fixture(scope="session")
def libvirt(
    libvirt_entry: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[real_libvirt.RealLibvirt]:
    if os.geteuid() != 0:
        pytest.skip("a private libvirtd needs root, for its mount namespace")
    share = tmp_path_factory.mktemp("libvirt")
    launcher = CHECKOUT / "tools" / "real-libvirtd"
    try:
        running, daemon = real_libvirt.start(ROOT, libvirt_entry, launcher, share)
    except real_libvirt.NoLibvirtError as error:
        pytest.skip(f"libvirtd does not run here: {error}")
    yield running
    daemon.stop()
