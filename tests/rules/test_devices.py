"""SQ6xx: devices that touch memory behind the guest's back are named; what bounces its data is left in peace."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_cases import ALL, CCA, PEF, PLAIN, PV, SEV, SEV_ES, SNP, TDX, codes, fixed, found

from sequester.findings import Severity
from sequester.rules.devices import RULES

GPU = "-device vfio-pci,host=44:00.0,id=gpu"
SHARED = "-object memory-backend-memfd,id=m,size=1G,share=on"
FS = "-device vhost-user-fs-pci,chardev=c,id=fs"


def what(text, **more):
    return codes(RULES, text, **more)


ORDINARY = (
    "virtio-net-pci",
    "e1000e",
    "rtl8139",
    "ich9-ahci",
    "qemu-xhci",
    "usb-tablet",
    "usb-redir,chardev=c",
    "ich9-intel-hda",
    "qxl-vga",
    "cirrus-vga",
    "VGA",
    "pvpanic",
    "vmgenid,guid=auto",
    "virtio-iommu-pci",
    "pcie-root-port,id=p",
    "nvme,drive=d",
    "lsi53c895a",
    "i6300esb",
)


@pytest.mark.parametrize("guest", ALL)
def test_emulated_devices_whose_drivers_bounce_their_data_get_no_finding(guest):
    assert what(" ".join((guest, *(f"-device {device}" for device in ORDINARY)))) == []


@pytest.mark.parametrize(
    "device",
    [
        GPU,
        "-device nvdimm,memdev=m",
        "-device intel-iommu",
        "-device loader,file=f,addr=0x1000",
        "-fda f",
        "-device ivshmem-plain,memdev=m",
        "-device tpm-tis,tpmdev=t",
        FS,
    ],
)
def test_nothing_is_said_of_a_guest_without_limitation(device):
    assert what(f"{PLAIN} {device}", version=(9, 1)) == []


# SQ601, SQ607


def test_qemu_9_1_could_not_assign_devices_to_snp_guests():
    (finding,) = found(RULES, f"{SNP} {GPU}", "SQ601", version=(9, 1))
    assert (finding.severity, finding.part.id) == (Severity.ERROR, "gpu")
    assert "QEMU 9.1 cannot assign a device to a guest with AMD SEV-SNP" in finding.found
    assert finding.remedy == "use QEMU 9.2 or later"
    assert found(RULES, f"{SNP} {GPU}", "SQ601", version=(9, 2)) == []


def test_a_qemu_that_nobody_asked_is_not_accused():
    assert found(RULES, f"{SNP} {GPU}", "SQ601") == []
    assert found(RULES, f"{SNP.replace('q35', 'pc-q35-9.1')} {GPU}", "SQ601") == []


@pytest.mark.parametrize("guest", [SEV, SEV_ES])
def test_devices_are_assigned_to_sev_guests_on_every_qemu(guest):
    assert what(f"{guest} {GPU}", version=(7, 2)) == []


@pytest.mark.parametrize("guest", [PEF, CCA])
def test_where_no_one_is_known_to_have_assigned_a_device_that_is_a_warning(guest):
    (finding,) = found(RULES, f"{guest} {GPU}")
    assert (finding.code, finding.severity) == ("SQ601", Severity.WARNING)


@pytest.mark.parametrize("guest", [SNP, TDX])
def test_the_limit_on_mappings_is_a_note_unless_iommufd_is_used(guest):
    (finding,) = found(RULES, f"{guest} {GPU}", version=(11, 1))
    assert (finding.code, finding.severity) == ("SQ607", Severity.NOTE)
    assert what(f"{guest} -object iommufd,id=i {GPU},iommufd=i", version=(11, 1)) == []


@pytest.mark.parametrize("device", ["vfio-pci,host=0:1:0.0", "vfio-ap,sysfsdev=/s", "vfio-ccw,sysfsdev=/s"])
def test_what_a_platform_says_of_assigned_devices_is_passed_on(device):
    (finding,) = found(RULES, f"{PV} -device {device}")
    assert (finding.code, finding.severity) == ("SQ607", Severity.NOTE)
    assert "unsupported" in finding.found


# SQ602


@pytest.mark.parametrize("device", ["nvdimm", "virtio-pmem-pci"])
@pytest.mark.parametrize("guest", [SEV, TDX, PV])
def test_persistent_memory_is_an_error(guest, device):
    (finding,) = found(RULES, f"{guest} -device {device},memdev=m,id=p")
    assert (finding.code, finding.severity, finding.part.id) == ("SQ602", Severity.ERROR, "p")


# SQ603


@pytest.mark.parametrize(
    "memory",
    [f"{SHARED} -machine memory-backend=m", f"{SHARED} -numa node,memdev=m"],
)
def test_a_backend_process_that_can_map_the_guests_memory_is_right(memory):
    assert what(f"{SNP} {memory} {FS}") == []


@pytest.mark.parametrize(
    ("memory", "named"),
    [
        ("-m 1G", "fs"),
        (SHARED, "fs"),
        ("-object memory-backend-ram,id=m,size=1G -machine memory-backend=m", "m"),
        (
            f"{SHARED} -object memory-backend-ram,id=n,size=1G -numa node,memdev=m -numa node,memdev=n",
            "n",
        ),
    ],
)
def test_a_backend_process_needs_all_of_the_guests_memory_shared(memory, named):
    (finding,) = found(RULES, f"{SNP} {memory} {FS}")
    assert (finding.code, finding.severity, finding.part.id) == ("SQ603", Severity.WARNING, named)


def test_a_network_backend_counts_and_a_display_does_not():
    assert what(f"{SEV} -netdev vhost-user,id=n,chardev=c -device virtio-net-pci,netdev=n") == ["SQ603"]
    assert what(f"{SEV} -device vhost-user-gpu-pci,chardev=c") == []


# SQ604


@pytest.mark.parametrize("device", ["intel-iommu,intremap=on", "amd-iommu"])
def test_an_emulated_iommu_cannot_read_its_tables(device):
    assert what(f"{SEV} -device {device}") == ["SQ604"]


def test_the_iommu_of_a_machine_counts():
    assert what(CCA.replace("-M virt", "-M virt,iommu=smmuv3")) == ["SQ604"]


# SQ605, SQ606


@pytest.mark.parametrize(
    ("device", "code"),
    [
        ("-device loader,file=f,addr=0x1000", "SQ605"),
        ("-device guest-loader,addr=0x1000", "SQ605"),
        ("-fda disk.img", "SQ606"),
        ("-drive if=floppy,file=f", "SQ606"),
        ("-device floppy,drive=d", "SQ606"),
    ],
)
def test_what_only_works_on_open_memory_is_a_warning_where_memory_is_closed_from_the_start(device, code):
    (finding,) = found(RULES, f"{SEV} {device}")
    assert (finding.code, finding.severity) == (code, Severity.WARNING)
    assert what(f"{PV} {device}") == []


# SQ608, SQ609


@pytest.mark.parametrize(
    ("device", "code"),
    [
        ("ivshmem-plain,memdev=m", "SQ608"),
        ("ivshmem-doorbell,chardev=c", "SQ608"),
        ("tpm-crb,tpmdev=t", "SQ609"),
        ("tpm-tis,tpmdev=t", "SQ609"),
    ],
)
def test_what_works_and_is_the_hosts_is_a_note(device, code):
    (finding,) = found(RULES, f"{SNP} -device {device}")
    assert (finding.code, finding.severity) == (code, Severity.NOTE)


EVERY = st.sampled_from(
    [*ORDINARY, "vfio-pci,host=1:0.0", "nvdimm", "amd-iommu", "loader", "floppy", "ivshmem-plain", "tpm-crb"]
)


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(ALL), st.lists(EVERY, max_size=6), st.sampled_from([None, (9, 1), (11, 1)]))
def test_these_rules_report_and_change_nothing(guest, devices, version):
    text = " ".join((guest, *(f"-device {device}" for device in devices)))
    assert fixed(RULES, text, version=version) == text
