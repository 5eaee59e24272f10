"""Which Debian suite brings which QEMU, libvirt and firmware."""

from __future__ import annotations

import re
from dataclasses import dataclass

# The QEMU targets that have a confidential-guest-support story, and the binary of each.
ARCHES = ("x86_64", "ppc64", "s390x", "aarch64")


@dataclass(frozen=True, slots=True)
class Suite:
    """One tree: the packages, and the apt suites they are resolved from."""

    name: str
    apt_suites: tuple[str, ...]
    packages: tuple[str, ...]
    default_release: str | None = None


# What spice and its OpenGL parts depend on and no headless emulator loads: 50 MB of a graphics driver.
UNUSED_PACKAGES = re.compile(r"libllvm\d+|libz3-\d+|mesa-libgallium|iso-codes|pci\.ids|libicu\d+")

# Debian 12 has no package qemu-system-s390x: there the s390x emulator is in qemu-system-misc.
SUITES = (
    Suite(
        "bookworm",  # QEMU 7.2, for machines that do not have it installed
        ("bookworm",),
        ("qemu-system-x86", "qemu-system-ppc", "qemu-system-misc", "qemu-system-arm", "seabios"),
    ),
    Suite(
        "bookworm-backports",  # QEMU 10.0
        ("bookworm", "bookworm-backports"),
        (
            "qemu-system-x86",
            "qemu-system-ppc",
            "qemu-system-s390x",
            "qemu-system-arm",
            "qemu-system-modules-spice",
            "seabios",
        ),
        default_release="bookworm-backports",
    ),
    Suite(
        "forky",  # QEMU 11.1, libvirt 12.8, and the firmware images for SEV and TDX
        ("forky",),
        (
            "qemu-system-x86",
            "qemu-system-ppc",
            "qemu-system-s390x",
            "qemu-system-arm",
            "qemu-system-modules-spice",
            "seabios",
            "ovmf",
            "ovmf-amdsev",
            "ovmf-inteltdx",
            "libvirt-daemon",
            "libvirt-daemon-driver-qemu",
            "libvirt-clients",
            "libvirt-clients-qemu",  # virt-qemu-sev-validate
            "libxml2-utils",  # xmllint, which libvirt's own virt-xml-validate runs
        ),
    ),
)
