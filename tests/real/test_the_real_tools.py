"""The real tools are what the tests take them for."""

from __future__ import annotations

import pytest
from real_libvirt import LibvirtRefusedError, RealLibvirt, Schema
from real_qemu import RealQemu
from realtools.qmp import QmpError

# The concrete types below `confidential-guest-support`, by target and first release that has them.
# Asked of the Debian builds; the s390x type needs a binary with KVM, which one for a foreign host has not.
TYPES: dict[str, dict[tuple[int, int], set[str]]] = {
    "x86_64": {
        (7, 2): {"sev-guest"},
        (10, 0): {"sev-guest", "sev-snp-guest"},
        (11, 1): {"sev-guest", "sev-snp-guest", "tdx-guest"},
    },
    "ppc64": {(7, 2): {"pef-guest"}},
    "s390x": {(7, 2): set()},
    "aarch64": {(7, 2): set()},
}

DOMAIN = """
<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>256</memory>
  <os><type arch='{arch}' machine='{machine}'>hvm</type></os>
  <features>{features}</features>
  <launchSecurity type='{type}'>{security}</launchSecurity>
</domain>
"""
SEV_POLICY = "<policy>0x7</policy>"
SNP_POLICY = "<policy>0x30000</policy>"
SPLIT_IRQCHIP = "<acpi/><apic/><ioapic driver='qemu'/><pmu state='off'/>"


def domain(
    kind: str, security: str = "", arch: str = "x86_64", machine: str = "q35", features: str = ""
) -> str:
    return DOMAIN.format(
        name=f"guest-{kind}", arch=arch, machine=machine, features=features, type=kind, security=security
    )


@pytest.mark.real_qemu
def test_a_qemu_has_the_confidential_guest_types_of_its_release(qemu: RealQemu) -> None:
    question = {
        "execute": "qom-list-types",
        "arguments": {"implements": "confidential-guest-support", "abstract": False},
    }
    (answer,) = qemu.ask(["-machine", "none"], question)
    newest = max(release for release in TYPES[qemu.arch] if release <= qemu.release)
    assert {item["name"] for item in answer} == TYPES[qemu.arch][newest]


@pytest.mark.real_qemu(arch="x86_64")
def test_a_q35_with_virtio_devices_starts_under_tcg(qemu: RealQemu) -> None:
    devices = ["-device", "virtio-rng-pci,id=rng0", "-device", "virtio-gpu-pci,id=gpu0"]
    (found,) = qemu.ask(
        ["-machine", "q35", "-accel", "tcg", *devices],
        {"execute": "qom-list", "arguments": {"path": "/machine/peripheral"}},
    )
    assert {"rng0", "gpu0"} <= {item["name"] for item in found}


@pytest.mark.real_qemu(arch="x86_64")
def test_devices_that_live_in_modules_of_their_own_are_there(qemu: RealQemu) -> None:
    qemu.ask(["-machine", "q35", "-device", "qxl-vga"])
    (types,) = qemu.ask(
        ["-machine", "none"], {"execute": "qom-list-types", "arguments": {"implements": "device"}}
    )
    assert {"qxl-vga", "usb-host", "virtio-gpu-gl-pci"} <= {item["name"] for item in types}


@pytest.mark.real_qemu(arch="x86_64")
def test_a_refusal_of_qemu_reaches_the_test_as_its_own_words(qemu: RealQemu) -> None:
    with pytest.raises(QmpError, match=r"host-trust-limitation.* not found"):
        qemu.ask(["-machine", "q35,host-trust-limitation=x"])


@pytest.mark.real_libvirt
def test_the_schema_takes_a_domain_and_names_what_is_wrong_in_another(libvirt_schema: Schema) -> None:
    assert libvirt_schema.error(domain("sev-snp", SNP_POLICY)) is None
    assert "launchSecurity" in str(libvirt_schema.error(domain("pef")))


@pytest.mark.real_libvirt
@pytest.mark.parametrize(
    ("xml", "qom_type"),
    [
        (domain("sev", SEV_POLICY), "sev-guest"),
        (domain("sev-snp", SNP_POLICY), "sev-snp-guest"),
        (domain("tdx", features=SPLIT_IRQCHIP), "tdx-guest"),
        (domain("s390-pv", arch="s390x", machine="s390-ccw-virtio"), "s390-pv-guest"),
    ],
    ids=["sev", "sev-snp", "tdx", "s390-pv"],
)
def test_libvirt_defines_each_kind_of_launch_security_and_shows_its_command_line(
    libvirt: RealLibvirt, xml: str, qom_type: str
) -> None:
    assert "<launchSecurity" in libvirt.define(xml)
    argv = libvirt.argv(xml)
    assert argv[0].startswith("/usr/bin/qemu-system-")
    assert any(f'"qom-type":"{qom_type}"' in word for word in argv)


@pytest.mark.real_libvirt
def test_what_libvirt_refuses_is_reported_in_its_own_words(libvirt: RealLibvirt) -> None:
    with pytest.raises(LibvirtRefusedError, match="split kernel irqchip"):
        libvirt.define(domain("tdx", features="<acpi/><ioapic driver='kvm'/><pmu state='off'/>"))
