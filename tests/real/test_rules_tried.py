"""What rules say that QEMU does, a real QEMU does; and what their fixes make of it starts.

The machine property is really given, under TCG: devices are made with all its defaults, and QEMU ends only
behind them, for want of the hardware.
"""

import shlex

import pytest
from vhost_user_backend import backend

from sequester.findings import Case
from sequester.formats.argv_read import read_argv_text
from sequester.host.emulator import QemuFacts
from sequester.platforms.registry import resolve
from sequester.rules.engine import apply, check
from sequester.rules.lifecycle import RULES as LIFECYCLE
from sequester.rules.virtio import RULES as VIRTIO
from sequester.rules.virtio_setting import globals_of, setting

PROTECTED = (
    "-nodefaults -display none -S -machine {},confidential-guest-support=s0 -accel tcg "
    "-object sev-guest,id=s0,cbitpos=51,reduced-phys-bits=1"
)
WANTS_HARDWARE = ("accelerator does not support confidential guest", "machine->cgs->ready' failed")

NEITHER = "VIRTIO_F_IOMMU_PLATFORM was supported by neither legacy nor transitional device"
NO_MODE = "device cannot work as neither modern nor legacy mode is enabled"

REFUSED = [
    ("q35", "-device virtio-net-pci,disable-legacy=off", "SQ302", NEITHER),
    ("q35", "-device virtio-net-pci,disable-legacy=auto", "SQ302", NEITHER),
    ("pc", "-device virtio-rng-pci-transitional", "SQ302", NEITHER),
    ("q35", "-device virtio-rng-pci,disable-modern=on", "SQ303", NO_MODE),
]
SILENT = [
    ("q35", "-device virtio-rng-pci,iommu_platform=off", "SQ301"),
    ("q35", "-device virtio-rng-pci,disable-legacy=off,iommu_platform=off", "SQ301"),
    ("q35", "-global virtio-device.iommu_platform=off -device virtio-rng-pci", "SQ301"),
    ("q35", "-drive if=virtio,driver=null-co -global virtio-blk-pci.iommu_platform=off", "SQ301"),
    ("microvm", "-device virtio-rng-device", "SQ304"),
]


def case_of(qemu, line):
    document = read_argv_text(f"qemu-system-{qemu.arch} {line}".encode(), "tried")
    guest = document.guest
    return document, Case(guest, resolve(guest), QemuFacts(str(qemu.path), qemu.release, arch=qemu.arch))


def mended(qemu, line):
    document, case = case_of(qemu, line)
    _, applied = apply(case, VIRTIO)
    return shlex.split(document.edited([change for done in applied for change in done.changes]).text)[1:]


def end_of(qemu, words):
    return qemu.run(words).stderr


def wants_hardware(text):
    return any(end in text for end in WANTS_HARDWARE)


@pytest.mark.real_qemu(arch="x86_64")
@pytest.mark.parametrize(("machine", "devices", "code", "message"), REFUSED)
def test_qemu_refuses_what_the_rule_says_and_takes_what_its_fix_makes(qemu, machine, devices, code, message):
    line = f"{PROTECTED.format(machine)} {devices}"
    assert [f.code for f in check(case_of(qemu, line)[1], VIRTIO)] == [code]
    assert message in end_of(qemu, shlex.split(line))
    assert wants_hardware(end_of(qemu, mended(qemu, line)))


@pytest.mark.real_qemu(arch="x86_64")
@pytest.mark.parametrize(("machine", "devices", "code"), SILENT)
def test_qemu_takes_what_is_silently_wrong_and_what_the_fix_makes(qemu, machine, devices, code):
    line = f"{PROTECTED.format(machine)} {devices}"
    assert code in [f.code for f in check(case_of(qemu, line)[1], VIRTIO)]
    assert wants_hardware(end_of(qemu, shlex.split(line)))
    assert wants_hardware(end_of(qemu, mended(qemu, line)))


@pytest.mark.real_qemu(arch="x86_64")
def test_machines_up_to_2_6_refuse_virtio_pci_unless_virtio_1_is_asked_for(qemu):
    if qemu.release > (10, 0):
        pytest.skip("this QEMU no longer has such machines")
    line = f"{PROTECTED.format('pc-i440fx-2.6')} -device virtio-rng-pci"
    assert NO_MODE in end_of(qemu, shlex.split(line))
    assert wants_hardware(end_of(qemu, mended(qemu, line)))


@pytest.mark.real_qemu(arch="x86_64")
def test_a_global_for_all_of_virtio_pci_is_refused_by_the_releases_that_the_rule_names(qemu):
    line = f"{PROTECTED.format('q35')} -global virtio-pci.disable-legacy=on"
    refused = "can't apply global virtio-pci.disable-legacy=on" in end_of(qemu, shlex.split(line))
    assert refused == ("SQ307" in [f.code for f in check(case_of(qemu, line)[1], VIRTIO)])


@pytest.mark.real_qemu(arch="x86_64")
@pytest.mark.parametrize(("options", "version"), [([], 1), (["-global", "virtio-mmio.force-legacy=off"], 2)])
def test_virtio_mmio_is_legacy_unless_told_otherwise(qemu, options, version):
    command = {
        "command-line": "xp /1wx 0xfeb00004"
    }  # MMIO base of microvm's first transport, register Version
    (said,) = qemu.ask(
        ["-S", "-machine", "microvm", "-accel", "tcg", *options, "-device", "virtio-rng-device"],
        {"execute": "human-monitor-command", "arguments": command},
    )
    assert int(said.split(":")[1], 16) == version


@pytest.mark.real_qemu(arch="s390x")
@pytest.mark.parametrize(("revision", "right"), [("0", False), ("2", True)])
def test_a_channel_device_at_revision_0_offers_no_virtio_1(qemu, revision, right):
    if qemu.release >= (11, 0):
        pytest.skip("x-query-virtio-status ends QEMU 11.1 with an assertion")
    (status,) = qemu.ask(
        shlex.split(
            "-S -M s390-ccw-virtio -accel tcg "
            f"-device virtio-rng-ccw,id=r,iommu_platform=on,max_revision={revision}"
        ),
        {"execute": "x-query-virtio-status", "arguments": {"path": "/machine/peripheral/r/virtio-backend"}},
    )
    offered = {feature.split(":")[0] for feature in status["host-features"]["transports"]}
    assert "VIRTIO_F_IOMMU_PLATFORM" in offered
    assert ("VIRTIO_F_VERSION_1" in offered) == right


@pytest.mark.real_qemu(arch="s390x")
def test_only_migratable_refuses_the_cpu_feature_that_protection_needs(qemu):
    line = "-nodefaults -display none -S -machine s390-ccw-virtio,accel=tcg -cpu gen15a-base,unpack=on -only-migratable"
    assert "The unpack facility is not compatible with the --only-migratable option" in end_of(
        qemu, shlex.split(line)
    )
    protected = line.replace("accel=tcg", "accel=tcg,confidential-guest-support=s0")
    case = case_of(qemu, f"{protected} -object s390-pv-guest,id=s0")[1]
    assert [f.code for f in check(case, LIFECYCLE)] == ["SQ701"]


@pytest.mark.real_qemu(arch="x86_64")
def test_counting_instructions_and_kvm_exclude_each_other(qemu):
    if "kvm" not in qemu.accels:
        pytest.skip("no KVM here")
    line = "-nodefaults -display none -S -machine q35 -accel kvm -icount shift=auto"
    assert "-icount is not allowed with hardware virtualization" in end_of(qemu, shlex.split(line))


@pytest.mark.real_qemu(arch="x86_64")
@pytest.mark.parametrize(
    "device",
    [
        "vhost-user-fs-pci,chardev=c,tag=t",
        "vhost-user-blk-pci,chardev=c",
        "vhost-user-rng-pci,chardev=c",
        "vhost-user-scsi-pci,chardev=c",
        "virtio-net-pci,netdev=n",
    ],
)
def test_qemu_refuses_the_backends_that_the_rule_names(qemu, device, tmp_path):
    path = tmp_path / "s"
    line = f"{PROTECTED.format('q35')} -chardev socket,id=c,path={path} -device {device}"
    if "netdev" in device:
        line += " -netdev vhost-user,id=n,chardev=c"
    with backend(path):
        refused = "iommu_platform=true is not supported by the device" in end_of(qemu, shlex.split(line))
    assert refused == ("SQ306" in [f.code for f in check(case_of(qemu, line)[1], VIRTIO)])


@pytest.mark.real_qemu(arch="x86_64")
@pytest.mark.parametrize(
    "globals_",
    [
        "virtio-device=on",
        "virtio-device=on virtio-net-device=off",
        "virtio-net-device=off virtio-device=on",
        "virtio-pci=on virtio-device=off",
        "virtio-pci=off virtio-net-pci=on",
        "virtio-net-pci=on virtio-pci=off",
        "virtio-net-pci-base=on",
        "virtio-blk-pci=on",
    ],
)
def test_which_of_several_globals_wins_is_known(qemu, globals_):
    said = [f"-global {word.replace('=', '.iommu_platform=')}" for word in globals_.split()]
    line = " ".join(("-S -M q35 -accel tcg", *said, "-device virtio-net-pci,id=n,disable-legacy=on"))
    get = {"path": "/machine/peripheral/n", "property": "iommu_platform"}
    (real,) = qemu.ask(shlex.split(line), {"execute": "qom-get", "arguments": get})
    guest = read_argv_text(f"qemu-system-x86_64 {line}".encode(), "tried").guest
    value, _ = setting(
        guest.by_id["n"], "pci", "iommu_platform", globals_of(guest, "iommu_platform"), guest.arch
    )
    assert (value == "on") == real
