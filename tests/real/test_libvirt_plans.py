"""A plan of a libvirt domain says what libvirt itself would, and its XML is one that libvirt defines."""

import pytest
from real_libvirt import LibvirtRefusedError

import sequester
from sequester.formats.argv_read import read_argv
from sequester.guest.guest import LIMITATION_PROPERTIES
from sequester.guest.part import truth
from sequester.guest.virtio import is_virtio

SEV_KEYS = "<dhCert>AQAAAAAOAAAAAOAAAA</dhCert><session>IHAVENOIDEABUTJUSTPROVIDINGASTRING</session>"
DOMAINS = {
    "sev": (
        "x86_64",
        "pc",
        f"<launchSecurity type='sev'><cbitpos>47</cbitpos><policy>0x0001</policy>{SEV_KEYS}",
    ),
    "sev-es": ("x86_64", "q35", "<launchSecurity type='sev'><policy>0x0007</policy>"),
    "snp": (
        "x86_64",
        "q35",
        "<launchSecurity type='sev-snp' kernelHashes='no' authorKey='yes' vcek='no'><cbitpos>51</cbitpos>"
        "<reducedPhysBits>1</reducedPhysBits><policy>0x00030000</policy>",
    ),
    "tdx": (
        "x86_64",
        "q35",
        "<launchSecurity type='tdx'><policy>0x10000000</policy><quoteGenerationService path='/run/qgs.socket'/>",
    ),
    "s390-pv": ("s390x", "s390-ccw-virtio", "<launchSecurity type='s390-pv'>"),
}
OURS_ALONE = {"mem-merge", *LIMITATION_PROPERTIES}
FLAGS = ("iommu_platform", "disable-legacy", "disable-modern")


def domain(arch, machine, security):
    accelerator = "kvm" if arch == "x86_64" else "qemu"
    return f"""<domain type='{accelerator}'>
  <name>t</name>
  <uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid>
  <memory unit='KiB'>219100</memory>
  <vcpu>1</vcpu>
  <os><type arch='{arch}' machine='{machine}'>hvm</type></os>
  <devices>
    <emulator>/usr/bin/qemu-system-{arch}</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw' iommu='on'/>
      <source file='/a.img'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <controller type='scsi' index='0' model='virtio-scsi'/>
    <interface type='user'><model type='virtio'/></interface>
    <memballoon model='virtio'/>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    <console type='pty'/>
  </devices>
  {security}</launchSecurity>
</domain>
"""


def machine_of(guest):
    return {name: value for name, value in guest.machine.properties.items() if name not in OURS_ALONE}


def virtio_of(guest):
    return sorted(
        (part.type, *((flag, part.flag(flag)) for flag in FLAGS)) for part in guest.devices if is_virtio(part)
    )


@pytest.mark.real_libvirt
@pytest.mark.parametrize("name", DOMAINS)
def test_the_command_line_has_libvirts_object_machine_and_virtio_flags(libvirt, name):
    xml = domain(*DOMAINS[name])
    theirs = read_argv(libvirt.argv(xml)).guest
    ours = read_argv(sequester.plan(sequester.read(xml.encode(), "t.xml")).argv()[0]).guest
    assert machine_of(ours) == machine_of(theirs)
    assert ours.machine.type in theirs.machine.type or theirs.machine.type.startswith("pc-i440fx")
    assert virtio_of(ours) == virtio_of(theirs)
    assert ours.limitation.type == theirs.limitation.type
    wanted = dict(theirs.limitation.properties)
    given = dict(ours.limitation.properties)
    assert given.keys() == wanted.keys()
    for key, value in wanted.items():
        assert truth(given[key]) is value if isinstance(value, bool) else str(given[key]) == str(value)


@pytest.mark.real_libvirt
@pytest.mark.parametrize("name", DOMAINS)
def test_the_planned_domain_is_valid_and_defined(libvirt, libvirt_schema, name):
    written = sequester.plan(sequester.read(domain(*DOMAINS[name]).encode(), "t.xml")).to("xml")
    assert not written.lost
    assert libvirt_schema.error(written.text) is None
    try:
        libvirt.define(written.text)
    except LibvirtRefusedError as refusal:
        assert name == "s390-pv"
        assert "does not support virt type 'kvm'" in str(refusal)  # noqa: PT017


@pytest.mark.real_libvirt
@pytest.mark.parametrize("limit", ["sev", "sev-es", "sev-snp", "tdx"])
def test_a_domain_that_gets_its_limitation_from_us_is_defined(libvirt, libvirt_schema, limit):
    plain = domain("x86_64", "q35", "<launchSecurity type='sev'>")
    plain = plain[: plain.index("  <launchSecurity")] + "</domain>\n"
    written = sequester.plan(sequester.read(plain.encode(), "t.xml"), limit=limit).to("xml")
    assert "<launchSecurity" in written.text
    assert libvirt_schema.error(written.text) is None
    libvirt.define(written.text)


@pytest.mark.real_libvirt
@pytest.mark.parametrize("limit", ["sev", "sev-es", "sev-snp", "tdx"])
def test_a_command_line_that_gets_its_limitation_from_us_is_defined(libvirt, libvirt_schema, limit):
    image = "/usr/share/ovmf/OVMF.fd"
    flash = limit in ("sev", "sev-es")
    firmware = ["-drive", f"if=pflash,readonly=on,file={image}"] if flash else ["-bios", image]
    argv = [
        "qemu-system-x86_64",
        "-M",
        "q35",
        "-m",
        "512",
        "-nodefaults",
        *firmware,
        "-nic",
        "user,model=virtio",
    ]
    written = sequester.plan(sequester.from_argv(argv), limit=limit).to("xml")
    assert libvirt_schema.error(written.text) is None
    assert f"type='{limit.removesuffix('-es')}'" in libvirt.define(written.text)
