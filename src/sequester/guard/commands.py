"""The QMP commands that do nothing to a guest's protection: those of QEMU 7.2, 10.0 and 11.1 (x86_64, aarch64, ppc64,
s390x) that no rule of the monitor is about.

Left to a client are: the guest's run state, its disks, networks, chardevs and displays (all outside the protected
memory, and open to the host anyhow), the launch secret (which the firmware opens, not QEMU), and questions about QEMU.
`inject-nmi` and the error injections of CXL and GHES are here because a protected guest takes such interrupts as it
takes any other; `balloon` because nothing follows from it (SQ205); `migrate-set-*` and `migrate_cancel` because they
move nothing, and libvirt sets capabilities when it connects.
"""

from __future__ import annotations

HARMLESS = frozenset(
    """
    add-fd add_client announce-self balloon block-commit block-dirty-bitmap-add block-dirty-bitmap-clear
    block-dirty-bitmap-disable block-dirty-bitmap-enable block-dirty-bitmap-merge block-dirty-bitmap-remove
    block-export-add block-export-del block-job-cancel block-job-change block-job-complete block-job-dismiss
    block-job-finalize block-job-pause block-job-resume block-job-set-speed block-latency-histogram-set
    block-set-write-threshold block-stream block_resize block_set_io_throttle blockdev-add blockdev-backup
    blockdev-change-medium blockdev-close-tray blockdev-create blockdev-del blockdev-insert-medium blockdev-mirror
    blockdev-open-tray blockdev-remove-medium blockdev-reopen blockdev-set-active blockdev-snapshot
    blockdev-snapshot-delete-internal-sync blockdev-snapshot-internal-sync blockdev-snapshot-sync
    cancel-vcpu-dirty-limit change-backing-file change-vnc-password chardev-add chardev-change chardev-remove
    chardev-send-break client_migrate_info closefd cont cxl-add-dynamic-capacity cxl-inject-correctable-error
    cxl-inject-dram-event cxl-inject-general-media-event cxl-inject-memory-module-event cxl-inject-poison
    cxl-inject-uncorrectable-errors cxl-release-dynamic-capacity device-list-properties device-sync-config
    device_add device_del display-reload display-update drive-backup drive-mirror dumpdtb eject expire_password
    getfd inject-ghes-v2-error inject-nmi input-send-event job-cancel job-complete job-dismiss job-finalize
    job-pause job-resume migrate-set-capabilities migrate-set-parameters migrate_cancel nbd-server-add
    nbd-server-remove nbd-server-start nbd-server-stop netdev_add netdev_del object-add object-del qmp_capabilities
    qom-get qom-list qom-list-get qom-list-properties qom-list-types qom-set quit remove-fd request-ebpf
    ringbuf-read ringbuf-write rtc-reset-reinjection send-key set-action set-cpu-topology set-numa-node set_link
    set_password sev-inject-launch-secret snapshot-delete stop system_powerdown system_reset system_wakeup
    trace-event-get-state trace-event-set-state transaction watchdog-set-action x-accel-stats x-blockdev-amend
    x-blockdev-change x-blockdev-set-iothread x-debug-block-dirty-bitmap-sha256 x-debug-query-block-graph
    x-exit-preconfig x-query-irq x-query-jit x-query-numa x-query-opcount x-query-profile x-query-rdma x-query-roms
    x-query-usb x-query-virtio xen-event-inject xen-event-list yank
    """.split()  # noqa: SIM905
)

QUESTION = "query-"
"""How the commands begin that only ask; those pass even when nobody knows them."""

HARMLESS_OBJECTS = frozenset(
    """
    acpi-generic-initiator acpi-generic-port authz-list authz-list-file authz-simple can-bus can-host-socketcan
    colo-compare cryptodev-backend cryptodev-backend-builtin cryptodev-vhost-user filter-buffer filter-dump
    filter-mirror filter-redirector filter-replay filter-rewriter input-barrier input-linux iommufd iothread
    main-loop memory-backend-file memory-backend-memfd memory-backend-memfd-private memory-backend-ram
    memory-backend-shm pr-manager-helper rng-builtin rng-egd rng-random secret secret_keyring thread-context
    throttle-group tls-cipher-suites tls-creds-anon tls-creds-psk tls-creds-x509
    """.split()  # noqa: SIM905
)
"""Types that `object-add` may make, as far as no other rule is about them (memory backends). Not among them are
the objects that show the screen or take the guest's state away (dbus-display, dbus-vmstate)."""
