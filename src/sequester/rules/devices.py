"""SQ6xx: other devices: what reads or writes guest memory behind the guest's back, or brings in the host's."""

from __future__ import annotations

from collections.abc import Iterator

from sequester.findings.case import Case, dotted
from sequester.findings.rule import Breach, Rule, Severity
from sequester.guest.guest import Guest
from sequester.guest.part import Part
from sequester.guest.virtio import is_vhost_user, kind
from sequester.platforms.limitation import Engagement, Limits

_READ = int(Limits.READ_MEMORY)
_PMEM = ("nvdimm", "virtio-pmem")
_TABLES_IN_MEMORY = frozenset({"intel-iommu", "amd-iommu", "arm-smmuv3"})
_LOADERS = frozenset({"loader", "guest-loader"})
_SHARED_WINDOWS = frozenset({"ivshmem-plain", "ivshmem-doorbell"})
_KATA = "Kata Containers, configuration-qemu.toml, confidential_guest: NVDIMM devices do not work by design"
_CGS_DOC = "https://www.qemu.org/docs/master/system/confidential-guest-support.html"


def _vfio_refused(case: Case) -> Iterator[Breach]:
    limitation = case.limitation
    if limitation is None:
        return
    since = limitation.demands.vfio_since
    if since == ():
        return
    for part in _assigned(case.guest):
        if since is None:
            yield Breach(
                f"{part.label()} assigns a device of the host, which {limitation.title} is not known to do",
                part,
                severity=Severity.WARNING,
                remedy="use a virtio device",
            )
        elif case.qemu_known and limitation.qemu_since <= case.qemu_version < since:
            yield Breach(
                f"{part.label()}: QEMU {dotted(case.qemu_version)} cannot assign a device to a guest with "
                f"{limitation.title}",
                part,
                remedy=f"use QEMU {dotted(since)} or later",
            )


def _vfio_mappings(case: Case) -> Iterator[Breach]:
    limitation = case.limitation
    if limitation is None or limitation.demands.vfio_since is None:
        return
    demands = limitation.demands
    for part in _assigned(case.guest):
        if demands.vfio_note:
            yield Breach(f"{part.label()}: {demands.vfio_note}", part)
        elif demands.guest_memfd and part.type == "vfio-pci" and "iommufd" not in part.properties:
            yield Breach(
                f"{part.label()}: each range of memory that the guest shares takes one of VFIO's mappings, 65535 "
                "unless the host says otherwise",
                part,
                remedy="raise vfio_iommu_type1.dma_entry_limit, or use iommufd, which has no such limit",
            )


def _assigned(guest: Guest) -> Iterator[Part]:
    return (part for part in guest.devices if part.type.startswith("vfio-"))


def _persistent_memory(case: Case) -> Iterator[Breach]:
    for part in case.guest.devices:
        if part.type.startswith(_PMEM):
            yield Breach(f"{part.label()}: the guest would see its own cipher over the file's contents", part)


def _unshared_memory(case: Case) -> Iterator[Breach]:
    guest = case.guest
    if guest.dialect != "qemu":
        return
    served = [part for part in guest.devices if is_vhost_user(part) and kind(part) != "gpu"]
    served += [part for part in guest.of("netdev") if part.type == "vhost-user"]
    if not served:
        return
    named = {guest.machine.text("memory-backend"), *(node.text("memdev") for node in guest.of("numa"))}
    backends = [part for part in guest.memory_backends if part.id in named]
    private = next((part for part in backends if part.flag("share") is not True), None)
    if not backends:
        yield Breach(
            f"{served[0].label()} is served by another process, which cannot map -m's memory", served[0]
        )
    elif private is not None:
        yield Breach(
            f"{served[0].label()} is served by another process, which cannot map {private.label()}", private
        )


def _emulated_iommu(case: Case) -> Iterator[Breach]:
    limitation, guest = case.limitation, case.guest
    if limitation is None or limitation.engages is not Engagement.AT_START:
        return
    for part in guest.devices:
        if part.type in _TABLES_IN_MEMORY:
            yield Breach(f"{part.label()} walks tables in the guest's memory, which QEMU cannot read", part)
    if guest.machine.text("iommu") == "smmuv3":
        yield Breach(
            "machine iommu=smmuv3 walks tables in the guest's memory, which QEMU cannot read", guest.machine
        )


def _loader(case: Case) -> Iterator[Breach]:
    limitation = case.limitation
    if limitation is None or limitation.engages is not Engagement.AT_START:
        return
    for part in case.guest.devices:
        if part.type in _LOADERS:
            yield Breach(
                f"{part.label()} writes to the guest's memory, and the guest would not see what it wrote",
                part,
            )


def _floppy(case: Case) -> Iterator[Breach]:
    limitation = case.limitation
    if limitation is None or limitation.engages is not Engagement.AT_START:
        return
    for part in (*case.guest.of("drive"), *case.guest.devices):
        if part.type == "floppy" or (part.group == "drive" and part.text("if") == "floppy"):
            yield Breach(f"{part.label()} is a floppy disk, whose Linux driver knows no bounce buffers", part)


def _shared_window(case: Case) -> Iterator[Breach]:
    for part in case.guest.devices:
        if part.type in _SHARED_WINDOWS:
            yield Breach(
                f"{part.label()} is memory in common with the host: nothing in it is protected", part
            )


def _host_tpm(case: Case) -> Iterator[Breach]:
    for part in case.guest.devices:
        if part.type.startswith("tpm-"):
            yield Breach(f"{part.label()} is played by the host, which can make it say anything", part)


RULES = (
    Rule(
        "SQ601",
        "A device of the host that this guest cannot have",
        Severity.ERROR,
        _vfio_refused,
        why="VFIO maps guest memory for the device, and must agree with the platform about which of it is shared.",
        broken='SEV-SNP with QEMU 9.1: "Cannot set discarding of RAM broken: Device or resource busy", a regression '
        "that QEMU 9.2's change log calls fixed. PEF and CCA: no one is known to have made it work. From reports "
        "and change logs; not tried, as it takes the hardware.",
        remedy="use a QEMU that can, or a virtio device",
        references=(
            "https://github.com/kubevirt/kubevirt/issues/16407",
            "https://wiki.qemu.org/ChangeLog/9.2",
        ),
        limits=_READ,
    ),
    Rule(
        "SQ602",
        "Persistent memory over a file of the host",
        Severity.ERROR,
        _persistent_memory,
        why="The guest maps such memory as its own, private and encrypted, while the file holds plain text: what it "
        "reads is not what the file says, and what it writes no later start can read.",
        broken="QEMU 7.2, 10.0 and 11.1 take nvdimm and virtio-pmem-pci beside the machine property without a word. "
        "The rest follows from how the platforms work; not tried with hardware.",
        remedy="use a virtio-blk disk",
        references=(_KATA,),
        limits=_READ,
    ),
    Rule(
        "SQ603",
        "A vhost-user backend without shared guest memory",
        Severity.WARNING,
        _unshared_memory,
        why="The backend reaches the guest's bounce buffers by mapping guest memory, so that has to be shared with it. "
        "What is private stays private: shared backing does not open it.",
        broken="QEMU 7.2, 10.0 and 11.1 start (tried with vhost-user-blk and -fs over memory-backend-ram and -memfd "
        'share=off); the device fails once its driver starts it, with "Failed initializing vhost-user memory map, '
        'consider using -object memory-backend-file share=on" (the message is in all three).',
        remedy="give the guest memory-backend-memfd,share=on and name it in -machine memory-backend=ID",
        references=("https://www.qemu.org/docs/master/interop/vhost-user.html",),
        limits=_READ,
    ),
    Rule(
        "SQ604",
        "An emulated IOMMU whose tables the host cannot read",
        Severity.WARNING,
        _emulated_iommu,
        why="The guest's driver keeps translation and interrupt tables in its private memory. virtio-iommu has none: "
        "it is told of each mapping through its ring.",
        broken="QEMU 7.2, 10.0 and 11.1 take intel-iommu and amd-iommu beside the machine property without a word. "
        "From reading QEMU hw/i386/intel_iommu.c and amd_iommu.c and Linux drivers/iommu: neither driver shares its "
        "tables with the host; not tried with hardware.",
        remedy="remove it, or use virtio-iommu",
        limits=_READ,
    ),
    Rule(
        "SQ605",
        "Memory contents that only the host sees",
        Severity.WARNING,
        _loader,
        why="What the loader puts into guest memory is neither encrypted for the guest nor in the measured launch.",
        broken="QEMU 7.2, 10.0 and 11.1 take -device loader beside the machine property without a word. The guest "
        "reads ciphertext of nothing there, or its own empty page; not tried with hardware.",
        remedy="put the data into the firmware image, the kernel's initrd or a disk",
        limits=_READ,
    ),
    Rule(
        "SQ606",
        "A floppy disk",
        Severity.WARNING,
        _floppy,
        why="Linux's floppy driver hands the controller addresses of ordinary pages and does not use the DMA interface "
        "that bounces data through shared memory, as drivers of emulated IDE, SATA, USB and network cards do.",
        broken="From reading Linux arch/x86/include/asm/floppy.h (dma_mem_alloc, hard_dma_setup); not tried with "
        "hardware.",
        remedy="use a disk of another kind",
        limits=_READ,
    ),
    Rule(
        "SQ607",
        "A device of the host, on conditions",
        Severity.NOTE,
        _vfio_mappings,
        why="A device reads and writes only what the guest shares. Where memory is private until then, QEMU maps each "
        "shared range for the device on its own.",
        broken='A guest that shares memory in many small pieces fails while it boots: "VFIO_MAP_DMA failed: No space '
        "left on device\". From vendors' guides; not tried, as it takes the hardware.",
        remedy="try it on the host at hand",
        limits=_READ,
    ),
    Rule(
        "SQ608",
        "Memory in common with the host",
        Severity.NOTE,
        _shared_window,
        why="The device's memory is a file or socket's that other processes of the host map.",
        broken="It works as ever (QEMU 7.2, 10.0 and 11.1 take it beside the machine property), and the host reads and "
        "changes what is in it.",
        remedy="encrypt and check what goes through it",
        limits=_READ,
    ),
    Rule(
        "SQ609",
        "A TPM that the host plays",
        Severity.NOTE,
        _host_tpm,
        why="QEMU's TPM is a process or device of the host: its measurements and keys are as trustworthy as the host.",
        broken="It works as ever; what it attests proves nothing to a guest's owner who does not trust the host.",
        remedy="rest proof on the platform's own evidence",
        references=(_CGS_DOC,),
        limits=_READ,
    ),
)
