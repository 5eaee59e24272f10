"""Guests of any format become libvirt domains; what libvirt has no words for is named."""

from __future__ import annotations

from dataclasses import replace

import pytest
from guest_kinds import guests
from hypothesis import given
from libvirt_domains import document, guest_of, names, view

from sequester.formats.argv_read import read_argv_text
from sequester.formats.document import Written
from sequester.formats.libvirt_write import write_xml
from sequester.guest import Guest, Part
from sequester.guest.guest import LIMITATION_PROPERTIES
from sequester.guest.virtio import transport


def written(argv: str, limitation: Part | None = None) -> Written:
    """What an argv is as XML, with a limitation in libvirt's dialect."""
    guest = read_argv_text(argv.encode(), "g.args").guest
    parts = [part for part in guest.parts if part.group != "limitation"]
    if limitation is not None:
        parts.append(limitation)
    return write_xml(replace(guest, parts=tuple(parts), dialect="libvirt"))


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines()]


def test_a_short_command_line_is_a_whole_domain() -> None:
    xml = written(
        "/usr/bin/qemu-system-x86_64 -name web -machine q35,accel=kvm,kernel_irqchip=split,mem-merge=off "
        "-cpu EPYC-v4,+svm -m 4G -smp 4 -bios /usr/share/OVMF.fd -nodefaults -no-reboot "
        "-drive file=/img/a.qcow2,format=qcow2,if=none,id=d,cache=none "
        "-device virtio-blk-pci,drive=d,iommu_platform=on "
        "-netdev user,id=n -device virtio-net-pci,netdev=n,mac=52:54:00:00:00:01,disable-legacy=on,romfile="
    )
    assert xml.lost == ()
    assert xml.text == (
        """<domain type='kvm'>
  <name>web</name>
  <memory unit='KiB'>4194304</memory>
  <memoryBacking>
    <nosharepages/>
  </memoryBacking>
  <vcpu placement='static'>4</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <loader type='rom' stateless='yes'>/usr/share/OVMF.fd</loader>
  </os>
  <features>
    <acpi/>
    <apic/>
    <ioapic driver='qemu'/>
  </features>
  <cpu mode='custom' match='exact' check='none'>
    <model fallback='forbid'>EPYC-v4</model>
    <feature policy='require' name='svm'/>
  </cpu>
  <on_reboot>destroy</on_reboot>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='none' iommu='on'/>
      <source file='/img/a.qcow2'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <interface type='user'>
      <mac address='52:54:00:00:00:01'/>
      <model type='virtio-non-transitional'/>
      <rom enabled='no'/>
    </interface>
    <memballoon model='none'/>
  </devices>
</domain>
"""
    )


def test_the_limitation_is_launch_security() -> None:
    properties = {"@vcek": "no", "policy": "0x30000", "quoteGenerationService": "/q", "dhCert": "/cert.b64"}
    xml = written("qemu-system-x86_64 -nodefaults", Part("limitation", "sev-snp", properties, 99))
    assert lines(xml.text)[-5:] == [
        "<launchSecurity type='sev-snp' vcek='no'>",
        "<policy>0x30000</policy>",
        "<quoteGenerationService path='/q'/>",
        "</launchSecurity>",
        "</domain>",
    ]
    assert xml.lost == ("dhCert: libvirt wants what is in /cert.b64, not the path",)


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        ("-device virtio-scsi-pci,id=s,iommu_platform=on", "<driver iommu='on'/>"),
        (
            "-device virtio-balloon-pci,free-page-reporting=off",
            "<memballoon model='virtio' freePageReporting='off'/>",
        ),
        ("-device virtio-rng-pci-transitional", "<rng model='virtio-transitional'>"),
        ("-device vhost-vsock-pci,guest-cid=7", "<cid auto='no' address='7'/>"),
        ("-device vfio-pci,host=03:00.1", "<address domain='0x0000' bus='0x03' slot='0x00' function='0x1'/>"),
        ("-device virtio-gpu-pci", "<model type='virtio'/>"),
        ("-device usb-tablet", "<input type='tablet' bus='usb'/>"),
        ("-device tpm-crb,tpmdev=t -tpmdev passthrough,id=t,path=/dev/tpm0", "<device path='/dev/tpm0'/>"),
        ("-vnc :3", "<listen type='address' address='0.0.0.0'/>"),
        ("-vnc 127.0.0.1:3", "<graphics type='vnc' port='5903' autoport='no'>"),
        ("-spice port=5910,addr=::1,disable-ticketing=on", "<listen type='address' address='::1'/>"),
        ("-serial file:/log", "<source path='/log'/>"),
        ("-drive file=/dev/vg/a,if=virtio,format=raw", "<source dev='/dev/vg/a'/>"),
        ("-cdrom /a.iso", "<disk type='file' device='cdrom'>"),
        ("-nic tap,ifname=t0,script=no,model=virtio-net-pci,vhost=on", "<driver name='vhost'/>"),
        ("-nic user,model=e1000e,mac=52:54:00:00:00:02", "<mac address='52:54:00:00:00:02'/>"),
        ("-rtc base=localtime", "<clock offset='localtime'/>"),
        ("-overcommit mem-lock=on", "<locked/>"),
        ("-global kvm-pit.lost_tick_policy=delay", "<timer name='pit' tickpolicy='delay'/>"),
        ("-boot order=dn,menu=on", "<boot dev='cdrom'/>"),
        ("-smp 2,maxcpus=4,cores=4", "<topology sockets='1' cores='4' threads='1'/>"),
        ("-cpu host,kvm=off,pmu=off,migratable=off", "<cpu mode='host-passthrough' migratable='off'/>"),
    ],
)
def test_an_option_is_the_element_that_means_it(argv: str, line: str) -> None:
    xml = written(f"qemu-system-x86_64 -machine q35 -nodefaults {argv}")
    assert line in lines(xml.text)
    guest_of(xml.text)


@pytest.mark.parametrize(
    ("argv", "lost"),
    [
        ("-device edu", "device edu"),
        ("-device virtio-rng-pci,x-odd=1", "x-odd=1 of device virtio-rng-pci"),
        ("-machine q35,x-odd=1", "x-odd=1 of the machine"),
        ("-machine pc+pve0", "machine pc+pve0: it is written as pc"),
        ("-global virtio-pci.disable-modern=on", "-global virtio-pci.disable-modern=on"),
        ("-monitor tcp:0.0.0.0:4444", "-monitor tcp:0.0.0.0:4444: libvirt has a monitor of its own"),
        (
            "-m 1G,slots=4,maxmem=8G",
            "maxmem=8G: libvirt wants NUMA cells for memory that is plugged in later",
        ),
        ("-netdev user,id=n,hostfwd=tcp::1-:2", "netdev 'n' (user)"),
        ("-nic user,hostfwd=tcp::1-:2", "hostfwd=tcp::1-:2 of nic user: libvirt's user network has none"),
        (
            "-object memory-backend-ram,id=m,size=1M",
            "object 'm' (memory-backend-ram): nothing in this XML uses it",
        ),
        (
            "-drive file=a.raw,format=raw,if=virtio",
            "the medium a.raw: libvirt wants an absolute path, /a.raw stands in its place",
        ),
        ("-smp 3,sockets=2,cores=2,threads=1", "the layout of 3 vCPUs: its product is 4"),
        ("-accel kvm -accel tcg", "accelerator tcg as a fallback"),
        ("-incoming defer", "-incoming defer"),
    ],
)
def test_what_libvirt_has_no_words_for_is_named(argv: str, lost: str) -> None:
    assert lost in written(f"qemu-system-x86_64 -nodefaults {argv}").lost


def test_what_qemu_adds_without_nodefaults_is_said_or_named() -> None:
    xml = written("qemu-system-x86_64 -machine q35")
    assert "<console type='pty'/>" in lines(xml.text)
    assert "<model type='e1000e'/>" in lines(xml.text)
    assert "the display and the empty drives that QEMU adds where -nodefaults is missing" in xml.lost


def test_disks_on_a_second_controller_say_where_they_sit() -> None:
    drives = " ".join(f"-drive file=/{i},format=raw,if=none,id=d{i}" for i in range(2))
    xml = written(
        f"qemu-system-x86_64 -nodefaults {drives} -device virtio-scsi-pci,id=a -device virtio-scsi-pci,id=b "
        "-device scsi-hd,drive=d0,bus=a.0 -device scsi-hd,drive=d1,bus=b.0,scsi-id=3,lun=2"
    )
    assert "<address type='drive' controller='1' bus='0' target='3' unit='2'/>" in lines(xml.text)
    guest = guest_of(xml.text)
    disks = [part for part in guest.devices if part.type == "scsi-hd"]
    assert [(part.get("bus"), part.get("scsi-id"), part.get("lun")) for part in disks] == [
        ("scsi0.0", 0, 0),
        ("scsi1.0", 3, 2),
    ]


def test_block_nodes_are_followed_to_where_the_bytes_are() -> None:
    xml = written(
        "qemu-system-x86_64 -nodefaults -blockdev driver=file,filename=/a.qcow2,node-name=f,cache.direct=on "
        "-blockdev driver=qcow2,file=f,node-name=q,read-only=on -device virtio-blk-pci,drive=q"
    )
    assert lines(xml.text)[lines(xml.text).index("<disk type='file' device='disk'>") + 1 :][:4] == [
        "<driver name='qemu' type='qcow2' cache='none'/>",
        "<readonly/>",
        "<source file='/a.qcow2'/>",
        "<target dev='vda' bus='virtio'/>",
    ]


def test_boot_indices_become_a_boot_order_from_one() -> None:
    xml = written(
        "qemu-system-x86_64 -nodefaults -boot c -drive file=/a,if=none,id=a -device virtio-blk-pci,drive=a,bootindex=5 "
        "-netdev user,id=n -device virtio-net-pci,netdev=n,bootindex=0"
    )
    assert "<boot dev='hd'/>" not in lines(xml.text)
    assert guest_of(xml.text).by_id["net0"].get("bootindex") == 1


def test_characters_that_xml_cannot_hold_are_named() -> None:
    guest = read_argv_text(b"qemu-system-x86_64 -nodefaults -append x", "g").guest
    parts = tuple(replace(part, type="a\x01b") if part.group == "append" else part for part in guest.parts)
    xml = write_xml(replace(guest, parts=parts))
    assert "the text of <cmdline>: XML cannot hold its characters" in xml.lost
    assert [part.type for part in guest_of(xml.text).of("append")] == ["a?b"]


def unlimited(guest: Guest) -> Guest:
    """A guest with its limitation taken out, which the writer wants in libvirt's dialect."""
    parts = []
    for part in guest.parts:
        if part.group == "machine":
            kept = {k: v for k, v in part.properties.items() if k not in LIMITATION_PROPERTIES}
            part = replace(part, properties=kept)
        if part.group != "limitation":
            parts.append(part)
    return replace(guest, parts=tuple(parts), dialect="libvirt")


@given(guests())
def test_any_guest_is_written_as_a_domain_that_is_read(guest: Guest) -> None:
    xml = write_xml(unlimited(guest))
    assert all("\n" not in lost for lost in xml.lost)
    again = guest_of(xml.text)
    assert again.arch == guest.arch
    assert [item.what for item in again.not_carried if "CID" not in item.what] == []


@given(guests())
def test_no_virtio_device_is_dropped_in_silence(guest: Guest) -> None:
    xml = write_xml(unlimited(guest))
    again = guest_of(xml.text)
    had = [part for part in guest.devices if transport(part, guest.arch)]
    has = [part for part in again.devices if transport(part, again.arch) and part.line]
    assert len(has) >= len(had) - sum(any(part.label() in lost for lost in xml.lost) for part in had)


@pytest.mark.parametrize("name", names())
def test_a_domain_written_anew_has_the_same_virtio_devices(name: str) -> None:
    guest = unlimited(document(name).guest)
    xml = write_xml(guest)
    again = guest_of(xml.text)
    had = sorted((p.type, str(p.flag("iommu_platform"))) for p in guest.devices if transport(p, guest.arch))
    has = sorted((p.type, str(p.flag("iommu_platform"))) for p in again.devices if transport(p, again.arch))
    named = [p.type for p in guest.devices if any(p.label() in lost for lost in xml.lost)]
    assert [entry for entry in had if entry[0] not in named] == [
        entry for entry in has if entry[0] not in named
    ]


@pytest.mark.parametrize("name", names())
def test_a_domain_written_anew_keeps_machine_memory_and_processor(name: str) -> None:
    guest = unlimited(document(name).guest)
    again = guest_of(write_xml(guest).text)
    if not guest.has("numa"):
        assert again.memory.type == guest.memory.type
    assert view(again.machine) == view(guest.machine) or guest.has("numa")
    assert again.cpu.type == guest.cpu.type
    assert (again.smp.type, again.smp.get("maxcpus")) == (guest.smp.type, guest.smp.get("maxcpus"))
    assert again.accelerators == guest.accelerators
