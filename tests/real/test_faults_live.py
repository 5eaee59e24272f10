"""Errors that a real QEMU or libvirt is made to print are explained by the fault that is meant for them.

Each command line is wrong in one way. What is then said is the tool's own, so a version that says it in new words
fails here.
"""

import base64
import shlex
from pathlib import Path

import pytest
from real_libvirt import LibvirtRefusedError
from realtools.qmp import QmpError

from sequester.faults import catalog, explain
from sequester.platforms.registry import platforms

BARE = ("-nodefaults", "-no-user-config", "-display", "none")
CGS = "-machine q35,confidential-guest-support=s0"
SEV = "-object sev-guest,id=s0,reduced-phys-bits=1,cbitpos"
SNP = "-object sev-snp-guest,id=s0,reduced-phys-bits=1,cbitpos=51"
TDX = "-object tdx-guest,id=s0"
RAM = "-object memory-backend-memfd,id=m0,size"
CHAR = "-chardev socket,id=c,path=/nonexistent"
OTHERS_FLAGS = frozenset({"sev", "tdx_host_platform"})

ALL = "7.2 10.0 11.1"
NEW = "10.0 11.1"

# versions, command line, the fault's code
X86 = [
    ("7.2", f"-accel tcg {CGS} {SEV}=47", "qemu.tcg-assertion"),
    (NEW, f"-accel tcg {CGS} {SEV}=47", "qemu.accelerator"),
    (NEW, f"-accel tcg {CGS} {SNP}", "qemu.private-memory-needs-kvm"),
    ("7.2", f"-accel tcg {CGS} {SNP}", "snp.object-unknown"),
    ("11.1", f"-accel tcg {CGS} {TDX}", "qemu.private-memory-needs-kvm"),
    ("7.2 10.0", f"-accel tcg {CGS} {TDX}", "tdx.object-unknown"),
    ("11.1", f"-machine q35 {TDX},quote-generation-socket=/run/x", "tdx.quote-socket"),
    (ALL, "-machine q35 -object sev-guest,id=s0,cbitpos=47", "sev.reduced-phys-bits-missing"),
    (NEW, f"-machine q35 {SNP},id-block=AAAA", "snp.value-length"),
    (NEW, f"-machine q35 {SNP},host-data=AAAA", "snp.value-length"),
    (NEW, f"-machine q35 {SNP},guest-visible-workarounds=AAAA", "snp.value-length"),
    (NEW, f"-machine q35 {SNP},host-data=@@", "snp.base64"),
    (NEW, f"-machine q35 {SNP},policy=abc", "sev.policy-value"),
    (ALL, f"-machine q35 {SEV}=51,host-data=AAAA", "qemu.object-property"),
    ("7.2", f"-machine q35 {SEV}=51,legacy-vm-type=on", "qemu.object-property"),
    (ALL, f"-machine q35 {SEV}=51 {SEV}=51", "qemu.duplicate-object"),
    (ALL, CGS, "qemu.no-such-object"),
    (ALL, f"{CGS} -object secret,id=s0,data=x", "qemu.not-a-limitation"),
    (ALL, "-machine q35,memory-encryption=s0", "qemu.no-such-limitation"),
    (ALL, f"-machine q35,host-trust-limitation=s0 {SEV}=47", "qemu.unknown-spelling"),
    (ALL, "-machine q35 -object pef-guest,id=p0", "pef.object-not-built"),
    (ALL, "-machine q35 -object s390-pv-guest,id=p0", "s390-pv.object-not-built"),
    (ALL, "-machine q35 -object rme-guest,id=p0", "cca.object-unknown"),
    (ALL, "-machine q35 -object igvm-cfg,id=i0,file=/x", "qemu.object-type"),
    ("7.2 10.0", "-machine q35,x-change-vmfd-on-reset=on", "qemu.machine-property"),
    (ALL, "-machine q35,smm=maybe", "option.choice"),
    (ALL, "-machine q35,mem-merge=maybe", "memory.merge-value"),
    (ALL, "-machine pc-q35-99.9", "qemu.machine-type"),
    (ALL, "-machine q35 -cpu EPYC-Nowhere", "qemu.cpu-model"),
    ("7.2 10.0", "-machine q35 -cpu EPYC-Turin", "qemu.cpu-model"),
    (ALL, "-machine q35 -cpu EPYC,nothing=on", "qemu.cpu-property"),
    (ALL, "-accel tcg -machine q35 -cpu host", "qemu.cpu-host"),
    (ALL, "-accel hvf -machine q35", "qemu.no-such-accelerator"),
    (ALL, "-machine q35 -bios /nonexistent.fd", "qemu.firmware-missing"),
    (ALL, "-machine q35 -append foo", "qemu.needs-kernel"),
    (ALL, "-machine q35 -m 4G,slots=2,maxmem=4096T", "qemu.address-space"),
    (ALL, "-machine q35 -kernel /nonexistent", "option.kernel-file"),
    (ALL, "-machine q35 -drive file=/nonexistent,if=none,id=d", "option.file"),
    (ALL, "-machine q35 -object sev-guest,cbitpos=1", "option.identifier"),
    (ALL, "-machine q35 -object sev-guest,id=s0,cbitpos=foo", "option.number"),
    (ALL, "-machine q35 -device virtio-rng-pci,foo=on", "option.device-property"),
    (ALL, "-machine q35 -isolate", "option.unknown"),
    (ALL, """-machine q35 -object '{"qom-type":"sev-guest"'""", "qemu.json-object"),
    (
        ALL,
        "-machine q35 -global virtio-device.iommu_platform=on -device virtio-rng-pci-transitional",
        "virtio.legacy-platform",
    ),
    (
        ALL,
        "-machine q35 -device virtio-rng-pci,iommu_platform=on,disable-legacy=off",
        "virtio.legacy-platform",
    ),
    (
        ALL,
        "-machine q35 -device virtio-rng-pci,disable-modern=on,disable-legacy=on",
        "virtio.neither-mode",
    ),
    (ALL, "-machine q35 -device virtio-foo-pci", "device.unknown-model"),
    (ALL, f"-machine q35 -m 64M {CHAR} -device vhost-user-fs-pci,chardev=c,tag=t", "vhost.user-connect"),
    (ALL, f"-machine q35,memory-backend=m0 -m 64M {RAM}=32M", "memory.backend-size"),
    (ALL, "-machine q35,memory-backend=m0 -m 64M", "memory.backend-missing"),
    (
        ALL,
        f"-machine q35,memory-backend=m0 -m 64M {RAM}=64M -numa node,memdev=m0",
        "memory.backend-twice",
    ),
    (
        ALL,
        "-machine q35 -m 64M,maxmem=1G,slots=2 -object memory-backend-ram,id=n,size=64M -device nvdimm,memdev=n",
        "memory.nvdimm",
    ),
    (
        ALL,
        "-machine q35 -object memory-backend-memfd-private,id=m0,size=64M",
        "qemu.private-memfd-gone",
    ),
    (
        ALL,
        "-machine q35 -only-migratable -object memory-backend-ram,id=m,size=1M -device ivshmem-plain,memdev=m",
        "migration.only-migratable",
    ),
]
WITH_KVM = [
    (ALL, "-accel kvm -machine q35,kernel-irqchip=foo", "qemu.kernel-irqchip-value"),
    (ALL, f"-accel kvm {CGS} {SEV}=47", "sev.no-sev-host"),
    (ALL, f"-accel kvm {CGS} {SEV}=0", "sev.no-device"),
    (ALL, f"-accel kvm {CGS} {SEV}=0,policy=5", "sev.no-device"),
    (NEW, f"-accel kvm {CGS} {SEV}=0,reduced-phys-bits=99", "sev.reduced-phys-bits"),
    (NEW, f"-accel kvm {CGS} {SEV}=0,legacy-vm-type=off", "sev.vm-type"),
    ("7.2 10.0", f"-accel kvm {CGS} {SEV}=0,sev-device=/nonexistent", "sev.no-device"),
    ("11.1", f"-accel kvm {CGS} {SEV}=0,sev-device=/nonexistent", "option.file"),
    (ALL, f"-machine microvm,confidential-guest-support=s0 -accel kvm {SEV}=47", "sev.no-sev-host"),
    (NEW, f"-accel kvm {CGS} {SNP}", "snp.vm-type"),
    ("11.1", f"-accel kvm {CGS} {TDX}", "tdx.vm-type"),
    ("11.1", f"-accel kvm {CGS},kernel-irqchip=on {TDX}", "tdx.vm-type"),
    (ALL, "-accel kvm -machine q35 -cpu host,invtsc=on -only-migratable", "migration.invtsc"),
]
OTHERS = [
    (
        "s390x",
        "-accel tcg -machine s390-ccw-virtio,confidential-guest-support=p -object s390-pv-guest,id=p",
        "s390-pv.object-not-built",
    ),
    ("s390x", "-machine s390-ccw-virtio,confidential-guest-support=p0", "qemu.no-such-object"),
    ("s390x", "-machine s390-ccw-virtio -cpu max,unpack=on", "s390-pv.unpack-unavailable"),
    ("s390x", "-machine s390-ccw-virtio -cpu z14,unpack=on", "s390-pv.unpack-too-new"),
    ("s390x", "-machine s390-ccw-virtio -cpu gen16a,unpack=on", "s390-pv.generation"),
    (
        "s390x",
        "-machine s390-ccw-virtio -cpu gen15a-base,unpack=on -only-migratable",
        "migration.unpack-only-migratable",
    ),
    ("s390x", "-machine s390-ccw-virtio,aes-key-wrap=foo", "option.on-off"),
    ("ppc64", "-machine pseries,confidential-guest-support=p -object pef-guest,id=p", "pef.needs-kvm"),
    ("ppc64", "-machine pseries -object pef-guest,id=p,policy=1", "qemu.object-property"),
    (
        "ppc64",
        "-machine pseries -object sev-guest,id=p,cbitpos=1,reduced-phys-bits=1",
        "sev.object-not-built",
    ),
    ("aarch64", "-machine virt -object rme-guest,id=p", "cca.object-unknown"),
    ("aarch64", "-machine virt,confidential-guest-type=realm", "qemu.unknown-spelling"),
]
ONE_OF_ITS_OWN = {"s390x", "ppc64", "aarch64"}


def by_version(cases):
    return [
        pytest.param(version, line, code, id=f"{version}-{code}-{number}")
        for number, (versions, line, code) in enumerate(cases)
        for version in versions.split()
    ]


def by_case(cases):
    return [
        pytest.param(arch, line, code, id=f"{arch}-{code}-{number}")
        for number, (arch, line, code) in enumerate(cases)
    ]


@pytest.fixture(scope="module")
def tables():
    return catalog(dict.fromkeys(platform.fault_table for platform in platforms() if platform.fault_table))


def said(qemu, line):
    """What QEMU says of a command line on which it cannot start."""
    done = qemu.run([*BARE, *shlex.split(line)], timeout=30)
    assert done.returncode != 0
    return done.stderr


def codes(text, tables):
    return [found.code for found in explain(text, tables)]


def need_kvm_without_hardware(qemu):
    """Skip unless KVM is here and this machine can run no protected guest itself."""
    if "kvm" not in qemu.accels:
        pytest.skip("no KVM that can be used here")
    flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    if Path("/dev/sev").exists() or flags & OTHERS_FLAGS:
        pytest.skip("this machine has the hardware whose absence is tried")


@pytest.mark.real_qemu
@pytest.mark.parametrize(("version", "line", "code"), by_version(X86))
def test_what_an_x86_qemu_says_is_explained(qemus, tables, version, line, code):
    text = said(qemus.get("x86_64", version), line)

    assert codes(text, tables)[0] == code, text


@pytest.mark.real_qemu
@pytest.mark.parametrize(("version", "line", "code"), by_version(WITH_KVM))
def test_what_qemu_says_under_kvm_without_the_hardware_is_explained(qemus, tables, version, line, code):
    qemu = qemus.get("x86_64", version)
    need_kvm_without_hardware(qemu)
    text = said(qemu, line)

    assert codes(text, tables)[0] == code, text


@pytest.mark.real_qemu
@pytest.mark.parametrize("version", ["7.2", "10.0", "11.1"])
@pytest.mark.parametrize(("arch", "line", "code"), by_case(OTHERS))
def test_what_qemus_of_other_architectures_say_is_explained(qemus, tables, version, arch, line, code):
    text = said(qemus.get(arch, version), line)

    assert codes(text, tables)[0] == code, text


@pytest.mark.real_qemu(arch="ppc64")
def test_pef_on_a_machine_type_without_it_is_the_accelerators_fault(qemu, tables):
    text = said(qemu, "-machine powernv,confidential-guest-support=p -object pef-guest,id=p")

    assert codes(text, tables)[0] == ("qemu.tcg-assertion" if qemu.release < (8, 0) else "qemu.accelerator")


@pytest.mark.real_qemu
def test_a_kvm_of_another_architecture_is_an_accelerator_that_is_not_there(qemus, tables):
    tried = [qemu for qemu in qemus if qemu.arch in ONE_OF_ITS_OWN and "kvm" not in qemu.accels]
    if not tried:
        pytest.skip("no QEMU without KVM here")

    for qemu in tried:
        assert codes(said(qemu, "-accel kvm -machine none"), tables) == ["qemu.no-such-accelerator"]


@pytest.mark.real_qemu(arch="x86_64")
def test_the_cause_comes_before_the_fall_back_to_tcg(qemu, tables):
    need_kvm_without_hardware(qemu)

    found = codes(said(qemu, f"{CGS},accel=kvm:tcg {SEV}=47"), tables)

    assert found[0] == "sev.no-sev-host"
    assert "qemu.fell-back" in found[1:]


@pytest.mark.real_qemu(arch="x86_64", version="11.1")
def test_a_deprecation_comes_after_the_cause(qemu, tables):
    found = codes(said(qemu, f"-accel tcg -machine q35,memory-encryption=s0 {SEV}=47"), tables)

    assert found == ["qemu.accelerator", "qemu.memory-encryption-deprecated"]


def encoded(size):
    return base64.b64encode(b"x" * size).decode()


SECRET = {"packet-header": encoded(52), "secret": encoded(16), "gpa": 0}
COMMANDS = [
    ("x86_64", "-accel tcg -machine q35", "query-sev-capabilities", {}, "sev.capabilities-no-kvm"),
    ("x86_64", "-accel kvm -machine q35", "query-sev-capabilities", {}, "sev.kvm-disabled"),
    ("x86_64", "-accel tcg -machine q35", "query-sev-launch-measure", {}, "sev.no-measurement"),
    ("x86_64", "-accel tcg -machine q35", "sev-inject-launch-secret", SECRET, "sev.query-not-enabled"),
    ("s390x", "-machine s390-ccw-virtio", "query-sev", {}, "qemu.command-not-here"),
    (
        "x86_64",
        "-accel tcg -machine q35",
        "object-add",
        {"qom-type": "s390-pv-guest", "id": "p"},
        "s390-pv.object-not-built",
    ),
]


@pytest.mark.real_qemu
@pytest.mark.parametrize("version", ["7.2", "10.0", "11.1"])
@pytest.mark.parametrize(
    ("arch", "line", "command", "arguments", "code"),
    [pytest.param(*case, id=f"{case[2]}-{case[4]}") for case in COMMANDS],
)
def test_what_the_monitor_answers_is_explained(qemus, tables, version, arch, line, command, arguments, code):
    qemu = qemus.get(arch, version)
    if "kvm" in line:
        need_kvm_without_hardware(qemu)

    with pytest.raises(QmpError) as caught:
        qemu.ask(["-S", *line.split()], {"execute": command, "arguments": arguments})

    assert codes(str(caught.value), tables)[0] == code, caught.value


DOMAIN = """
<domain type='{type}'><name>tried</name><memory unit='MiB'>256</memory><vcpu>1</vcpu>
<os><type arch='{arch}' machine='{machine}'>hvm</type>{os}</os><features>{features}</features>
<devices><emulator>/usr/bin/qemu-system-{arch}</emulator>{devices}</devices>{limitation}</domain>
"""
Q35 = {"type": "kvm", "arch": "x86_64", "machine": "q35", "os": "", "features": "<acpi/>", "devices": ""}
PSERIES = {"type": "qemu", "arch": "ppc64", "machine": "pseries", "features": ""}
TD = "<launchSecurity type='tdx'/>"
VIRTIOFS = (
    "<filesystem type='mount'><driver type='virtiofs'/><source dir='/tmp'/><target dir='t'/></filesystem>"
)
FLASH = "<loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>"

REFUSED = [
    ({"limitation": "<launchSecurity type='foo'/>"}, "libvirt.launch-security-type"),
    ({"limitation": "<launchSecurity type='sev'/>"}, "libvirt.sev-policy"),
    (
        {"limitation": "<launchSecurity type='sev'><cbitpos>x</cbitpos><policy>1</policy></launchSecurity>"},
        "libvirt.sev-number",
    ),
    ({"limitation": "<launchSecurity type='s390-pv'/>"}, "libvirt.launch-security"),
    (
        {"limitation": "<launchSecurity type='sev'><policy>1</policy></launchSecurity>", **PSERIES},
        "libvirt.launch-security",
    ),
    ({"limitation": TD, "features": "<acpi/><ioapic driver='kvm'/>"}, "tdx.libvirt-irqchip"),
    ({"limitation": TD, "features": "<acpi/><pmu state='on'/>"}, "tdx.libvirt-pmu"),
    ({"limitation": TD, "features": "<acpi/><smm state='on'/>"}, "tdx.libvirt-smm"),
    ({"limitation": TD, "os": FLASH}, "tdx.libvirt-pflash"),
    ({"limitation": "<launchSecurity type='tdx'><policy>2</policy></launchSecurity>"}, "tdx.libvirt-policy"),
    ({"limitation": "", "devices": VIRTIOFS}, "libvirt.shared-memory"),
]
NOT_VALID = ["<launchSecurity type='foo'/>", "<launchSecurity type='sev'/>"]


@pytest.mark.real_libvirt
@pytest.mark.parametrize(("changes", "code"), [pytest.param(*case, id=case[1]) for case in REFUSED])
def test_what_libvirt_refuses_is_explained(libvirt, tables, changes, code):
    wanted = {**Q35, **changes}
    if wanted["type"] == "kvm" and not libvirt.has_kvm:
        wanted["type"] = "qemu"

    with pytest.raises(LibvirtRefusedError) as caught:
        libvirt.argv(DOMAIN.format(**wanted))

    assert codes(str(caught.value), tables)[0] == code, caught.value


@pytest.mark.real_libvirt
@pytest.mark.parametrize("limitation", NOT_VALID)
def test_what_libvirts_schema_refuses_is_explained(libvirt, tables, limitation):
    with pytest.raises(LibvirtRefusedError) as caught:
        libvirt.define(DOMAIN.format(**Q35 | {"limitation": limitation, "type": "qemu"}))

    assert codes(str(caught.value), tables)[0] == "libvirt.launch-security-schema", caught.value
