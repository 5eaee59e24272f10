"""What the collector learns from real QEMUs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from real_qemu import RealQemu

from sequester.host.collect import collect
from sequester.host.facts import HostFacts, QemuFacts

SNP_PROPERTIES = {
    "policy",
    "id-block",
    "id-auth",
    "host-data",
    "author-key-enabled",
    "vcek-disabled",
    "cbitpos",
}


def asked(qemu: RealQemu, cache: str = "") -> QemuFacts:
    record = collect(qemus=[str(qemu.path)], seconds=30, cache=cache)
    found = HostFacts.parse(json.dumps(record).encode(), "real").qemus
    assert found is not None
    return found[0]


def expected(qemu: RealQemu) -> set[str]:
    """The types by release and target, as Debian builds them for amd64: s390-pv-guest is in none of them."""
    if qemu.arch == "ppc64":
        return {"pef-guest"}
    if qemu.arch != "x86_64":
        return set()
    return (
        {"sev-guest"}
        | ({"sev-snp-guest"} if qemu.release >= (9, 1) else set())
        | ({"tdx-guest"} if qemu.release >= (10, 1) else set())
    )


@pytest.mark.real_qemu
def test_a_real_qemu_tells_version_target_and_types(qemu: RealQemu) -> None:
    found = asked(qemu)
    assert found.error == ""
    assert found.arch == qemu.arch
    assert ".".join(map(str, found.version)) == qemu.version
    assert found.types == expected(qemu)
    assert "tcg" in found.accelerators
    assert found.rebuilds_on_reset == (qemu.release >= (11, 0))


@pytest.mark.real_qemu(arch="x86_64")
def test_a_real_qemu_tells_the_properties_of_its_types(qemu: RealQemu) -> None:
    found = asked(qemu)
    assert {"policy", "session-file", "dh-cert-file", "kernel-hashes"} <= set(found.properties["sev-guest"])
    if "sev-snp-guest" in found.types:
        assert set(found.properties["sev-snp-guest"]) >= SNP_PROPERTIES
        assert found.properties["sev-snp-guest"]["policy"].type == "uint64"
    if "tdx-guest" in found.types:
        assert {"attributes", "mrconfigid", "quote-generation-socket"} <= set(found.properties["tdx-guest"])
    machine = found.machine("q35")
    assert machine is not None
    assert machine.name == f"pc-q35-{qemu.release[0]}.{qemu.release[1]}"


@pytest.mark.real_qemu(arch="x86_64")
def test_the_cache_gives_back_what_a_real_qemu_said(qemu: RealQemu, tmp_path: Path) -> None:
    assert asked(qemu, str(tmp_path)) == asked(qemu, str(tmp_path))
    assert len(list(tmp_path.iterdir())) == 1
