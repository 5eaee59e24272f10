"""The human monitor: what a command line of it says, and which of its commands are harmless."""

from __future__ import annotations

from itertools import takewhile

HARMLESS = frozenset(
    """
    ? help announce_self balloon block_job_cancel block_job_complete block_job_pause block_job_resume
    block_job_set_speed block_resize block_set_io_throttle block_stream boot_set c cancel_vcpu_dirty_limit change
    chardev-add chardev-change chardev-remove chardev-send-break clear client_migrate_info closefd commit cont cpu
    delvm device_del drive_add drive_backup drive_del drive_mirror dumpdtb eject exit_preconfig expire_password
    getfd hostfwd_add hostfwd_remove info migrate_cancel migrate_set_capability migrate_set_parameter mouse_button
    mouse_move mouse_set nbd_server_add nbd_server_remove nbd_server_start nbd_server_stop netdev_add netdev_del
    nmi pcie_aer_inject_error q qom-get qom-list quit ringbuf_read ringbuf_write s sendkey set_link set_password
    snapshot_blkdev snapshot_blkdev_internal snapshot_delete_blkdev_internal stop stopcapture sync-profile
    system_powerdown system_wakeup trace-event watchdog_action xen-event-list
    """.split()  # noqa: SIM905
)
"""Commands of QEMU 7.2, 10.0 and 11.1 that tell of QEMU or act on disks, networks, chardevs and consoles."""

HARMLESS_INFO = frozenset(
    """
    accel accelerators balloon block block-jobs blockstats capture chardev cpus cryptodev dirty_rate dump history
    hotpluggable-cpus iothreads irq jit kvm memdev memory-devices memory_size_summary mice migrate
    migrate_capabilities migrate_parameters mtree name network numa opcount pci profile qdm qom-tree qtree rdma
    replay rocker rocker-of-dpa-flows rocker-of-dpa-groups rocker-ports roms sev sgx snapshots spice stats status
    sync-profile tpm trace-events usb usbhost usernet uuid vcpu_dirty_limit version virtio vm-generation-id vnc
    """.split()  # noqa: SIM905
)
"""What follows `info` and tells nothing of the guest's memory or registers."""

_SPACES = " \t\n\v\f\r"


def name_of(line: str) -> str:
    """Return what a command line asks for: ``xp``, ``info registers``, '' for an empty line.

    As QEMU reads it (monitor/hmp.c, `get_command_name`): spaces are skipped, and a name ends at a space or a slash.
    A slash with nothing before it is no name in QEMU either.
    """
    name, rest = _word(line)
    if name != "info":
        return name
    topic, _ = _word(rest)
    return f"info {topic}" if topic else name


def is_harmless(name: str) -> bool:
    """Tell whether a command, by its `name_of`, is known to be harmless."""
    if name.startswith("info "):
        return name[5:] in HARMLESS_INFO
    return not name or name in HARMLESS


def _word(text: str) -> tuple[str, str]:
    text = text.lstrip(_SPACES)
    word = "".join(takewhile(lambda char: char != "/" and char not in _SPACES, text))
    return (word, text[len(word) :]) if word or not text else (text[0], text[1:])
