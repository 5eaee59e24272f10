"""QEMU's errors about devices: virtio's flags, vhost, VFIO, hot-plug."""

from __future__ import annotations

from sequester.faults.fault import Fault, Origin, Weight

FAULTS: tuple[Fault, ...] = (
    Fault(
        "virtio.legacy-platform",
        "A virtio device that old drivers may use cannot do protected I/O",
        r"VIRTIO_F_IOMMU_PLATFORM was supported by neither legacy nor transitional device",
        Origin.QEMU,
        "The device named before has iommu_platform=on (QEMU's default in a protected guest) and also a legacy "
        "side: it is a -transitional model, or has disable-legacy=off.",
        (
            "write disable-legacy=on, or nothing, in its place: it is the default in a protected guest",
            "virtio-…-pci-transitional: use virtio-…-pci (libvirt: model='virtio' or 'virtio-non-transitional')",
        ),
        ("live: QEMU 7.2, 10.0, 11.1 (rng, blk; -device and device_add)", "QEMU hw/virtio/virtio-pci.c"),
    ),
    Fault(
        "virtio.neither-mode",
        "A virtio device with both its modes switched off",
        r"device cannot work as neither modern nor legacy mode is enabled",
        Origin.QEMU,
        "disable-modern=on and disable-legacy=on. In a protected guest the second is QEMU's default.",
        ("remove disable-modern=on: protected I/O needs the modern mode",),
        ("live: QEMU 7.2, 10.0, 11.1", "QEMU hw/virtio/virtio-pci.c"),
    ),
    Fault(
        "virtio.modern-only",
        "A device type that exists only in the modern mode",
        r"device is modern-only, use disable-legacy=on",
        Origin.QEMU,
        "This virtio device has no legacy mode, and disable-legacy=off asks for it.",
        ("write disable-legacy=on, or nothing",),
        ("QEMU 11.1 binary; hw/virtio/virtio-pci.c",),
    ),
    Fault(
        "virtio.platform-unsupported",
        "The backend of this device cannot do protected I/O",
        r"iommu_platform=true is not supported by the device",
        Origin.QEMU,
        "The backend (vhost-user process, vhost or vDPA device) does not offer VIRTIO_F_ACCESS_PLATFORM. Without "
        "it the guest would hand it addresses that it cannot read.",
        (
            "use QEMU's own device: virtio-blk-pci with -blockdev instead of vhost-user-blk, virtio-net without "
            "vhost-user",
            "or a backend that negotiates ACCESS_PLATFORM (and share=on for the memory)",
            "iommu_platform=off only silences it: a protected guest's I/O then fails",
        ),
        (
            "live: QEMU 7.2 and 11.1, vhost-user-blk-pci with qemu-storage-daemon",
            "QEMU hw/virtio/virtio-bus.c",
        ),
    ),
    Fault(
        "virtio.not-hot",
        "The bus takes no hot-plugged devices",
        r"Bus '(?P<bus>[^']{1,80})' does not support hotplugging",
        Origin.QEMU,
        "On q35 a device is hot-plugged only below a root port.",
        (
            "add -device pcie-root-port,id=rp0 before the start, and bus=rp0 to device_add",
            "in a protected guest a device behind a port that was empty at boot may stay dead: plug it before",
        ),
        ("live: QEMU 7.2 and 11.1", "kata-containers#6687"),
    ),
    Fault(
        "vhost.device",
        "The kernel's vhost device cannot be opened",
        r"(?:Could not open '|failed to open vhost device)(?P<device>/dev/vhost-[\w-]{1,20})?'?: "
        r"(?P<why>[A-Z][\w/ -]{1,60})",
        Origin.QEMU,
        "vhost: {why}.",
        ("modprobe vhost_net, vhost_vsock or vhost_vdpa; pass the device node into the container",),
        ("live: QEMU 7.2 (vsock) and 11.1 (vsock, net, vdpa)",),
    ),
    Fault(
        "vhost.user-connect",
        "The vhost-user process is not there",
        r"Failed to connect to '(?P<path>[^']{1,300})': (?P<why>[A-Z][\w/ -]{1,60})",
        Origin.QEMU,
        "{path}: {why}. The process behind the socket is not running, or not reachable for QEMU.",
        ("start the backend before QEMU", "for a TDX quote socket see the quote generation service: qgsd"),
        ("live: QEMU 7.2 and 11.1",),
    ),
    Fault(
        "vhost.user-protocol",
        "A vhost-user device without its process",
        r"vhost_backend_init failed: (?P<why>[A-Z][\w/ -]{1,60})",
        Origin.QEMU,
        "The vhost-user backend did not answer as it should: {why}.",
        ("start it, and give its socket with chardev=", "see the backend's own log"),
        ("live: QEMU 11.1, vhost-user-gpu-pci without a backend",),
    ),
    Fault(
        "vfio.no-device",
        "The device to pass through is not there",
        r"vfio (?P<path>/sys/[^ :]{1,120}(?::[^ :]{1,40}){0,4}): no such host device",
        Origin.QEMU,
        "{path} does not exist on this host.",
        ("lspci -D  for the address", "bind it to vfio-pci: driverctl set-override ADDRESS vfio-pci"),
        ("live: QEMU 7.2 and 11.1",),
    ),
    Fault(
        "vfio.iommufd",
        "The kernel has no iommufd",
        r"/dev/iommu does not exist",
        Origin.QEMU,
        "An iommufd object is given; devices of SNP and TDX guests are passed through with it on newer kernels.",
        ("modprobe iommufd; CONFIG_IOMMUFD", "or drop the iommufd object and property"),
        ("live: QEMU 11.1",),
    ),
    Fault(
        "vfio.dma-entries",
        "The pass-through driver ran out of DMA mappings",
        r"VFIO_MAP_DMA failed: No space left on device",
        Origin.QEMU,
        "In SNP and TDX guests memory changes between private and shared page by page, and each shared piece is one "
        "mapping; the default limit is 65535.",
        ("echo 524288 > /sys/module/vfio_iommu_type1/parameters/dma_entry_limit  (or modprobe option)",),
        ("QEMU 11.1 binary; hw/vfio/container.c", "Linux drivers/vfio/vfio_iommu_type1.c dma_entry_limit"),
    ),
    Fault(
        "vfio.dma-memory",
        "Memory for the passed-through device could not be pinned",
        r"VFIO_MAP_DMA failed: Cannot allocate memory",
        Origin.QEMU,
        "VFIO pins guest memory, under the limit on locked memory.",
        ("raise it: LimitMEMLOCK=infinity, ulimit -l unlimited, libvirt's <memtune><hard_limit>",),
        ("QEMU 11.1 binary; hw/vfio/container.c",),
    ),
    Fault(
        "vfio.dma",
        "Guest memory could not be mapped for the passed-through device",
        r"vfio: DMA mapping failed, unable to continue|VFIO_MAP_DMA failed: (?P<why>[A-Z][\w/ -]{1,60})",
        Origin.QEMU,
        "The IOMMU did not take a mapping. In a protected guest a device can reach only shared memory; QEMU knows "
        "how to follow that for SNP and TDX since 10.1.",
        ("update QEMU to 10.1 or newer", "dmesg | grep -iE 'iommu|vfio|dmar|rmp'"),
        ("QEMU 11.1 binary; hw/vfio/listener.c",),
        weight=Weight.GENERAL,
    ),
    Fault(
        "device.romfile",
        "The option ROM of a device is not there",
        r"failed to find romfile \"(?P<file>[^\"]{1,200})\"",
        Origin.QEMU,
        "{file} is not installed. A protected guest needs no option ROM, and it would be unmeasured code.",
        ("add romfile= (empty) to the device; libvirt: <rom enabled='no'/>",),
        ("live: QEMU 11.1",),
    ),
    Fault(
        "device.unknown-model",
        "This QEMU has no such device",
        r"'(?P<model>[^']{1,80})' is not a valid device model name",
        Origin.QEMU,
        "{model}: misspelt, of another architecture (…-pci and …-ccw), or in a module package that is not installed.",
        ("QEMU -device help  lists them",),
        ("live: QEMU 7.2 and 11.1",),
    ),
    Fault(
        "device.flash-not-here",
        "This machine type has no flash",
        r"machine type does not support if=pflash,bus=(?P<bus>\d{1,3}),unit=(?P<unit>\d{1,3})",
        Origin.QEMU,
        "isapc, microvm and s390 machines have no flash memory for firmware.",
        ("use q35 with flash, or -bios",),
        ("live: QEMU 11.1, isapc",),
    ),
)
