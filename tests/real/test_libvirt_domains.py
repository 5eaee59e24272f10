"""Our guests of libvirt's domains beside the command lines that a real libvirt makes of the same domains.

`domxml-to-native` puts a tap in the place of every interface's backend and forgets its driver's options, so the
cards' options are compared with the command lines that libvirt wrote to its log when it started them, by hand.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from real_libvirt import LibvirtRefusedError, RealLibvirt, Schema

sys.path.insert(0, str(Path(__file__).parents[1] / "formats"))

from libvirt_domains import DOMAINS, document, names, views

from sequester.formats.argv_read import read_argv
from sequester.formats.libvirt_read import read_xml
from sequester.formats.libvirt_write import write_xml
from sequester.guest import Add, Change, Guest, Part, Retype, Set
from sequester.guest.guest import LIMITATION_PROPERTIES
from sequester.guest.virtio import transport

pytestmark = pytest.mark.real_libvirt

LACKING = (
    "not supported by the host",
    "TPM version",
    "virtiofsd",
    "passt",
    "hugetlbfs",
    "/dev/net/tun",
    "/dev/dri",
    "does not support virt type 'kvm'",
    "could not find capabilities",
    "vhost-vsock",
    "vhost-scsi",
    "launch security is not supported",
    "incompatible with host CPU",
    "not provide required features",
    "host-passthrough",
    "Unable to find 'efi' firmware",
    "cannot open directory",
    "Unable to open",
    "Could not open TPM device",
)
"""What a machine may lack; libvirt's own words."""

CRASHES = {"nics", "beside", "vdpa-passt"}
"""Domains on which `domxml-to-native` of libvirt 12.8 breaks off or starts helpers of its own."""

PLACES = {"bus", "addr", "multifunction", "port", "chassis", "nr", "devno", "reg"}
MADE_BY_LIBVIRT = {"secret", "monitor-qmp", "tls-creds-x509"}
SILENT = {"S", "mon", "no-shutdown", "sandbox", "msg", "action", "name", "uuid"}
"""libvirt's own affairs; `action` says what libvirt does by events."""

BACKENDS = {"netdev": None, "tpmdev": None, "smbios": None, "display": None, "rtc": None}
"""Groups in which libvirt says something that depends on this machine or on what it opened."""


def xml_of(name: str) -> str:
    return (DOMAINS / f"{name}.xml").read_text()


def asked(libvirt: RealLibvirt, xml: str) -> list[str]:
    try:
        return libvirt.argv(xml)
    except LibvirtRefusedError as refused:
        if any(lack in str(refused) for lack in LACKING):
            pytest.skip(f"this machine lacks something: {refused}"[:200])
        raise


def defined(libvirt: RealLibvirt, xml: str) -> str:
    try:
        return libvirt.define(xml)
    except LibvirtRefusedError as refused:
        if any(lack in str(refused) for lack in LACKING):
            pytest.skip(f"this machine lacks something: {refused}"[:200])
        raise


def comparable(guest: Guest) -> dict[tuple[str, str], tuple[str, dict[str, Any]]]:
    found = {}
    for (group, name), (kind, properties) in views(guest).items():
        if group in SILENT or group in BACKENDS or kind in MADE_BY_LIBVIRT or name == "charmonitor":
            continue
        if group in ("limitation", "cpu") or (group == "chardev" and kind in ("null", "pty")):
            continue
        hidden = {
            "vhostfd",
            "fd",
            "mem-path",
            "path",
            "rendernode",
            "max_outputs",
            "vgamem_mb",
            "vram64_size_mb",
            "host",
            "mac",
        }
        kept = {k: v for k, v in properties.items() if k not in hidden}
        found[group, name] = (kind, kept)
    return found


def differences(ours: Guest, theirs: Guest, *, places: bool) -> list[str]:
    left, right = comparable(ours), comparable(theirs)
    wrong = []
    for key in left.keys() | right.keys():
        if key not in left or key not in right:
            wrong.append(
                f"{'we' if key in left else 'libvirt'} alone: {key} {left.get(key) or right.get(key)}"
            )
            continue
        (our_kind, our), (their_kind, their) = left[key], right[key]
        if our_kind != their_kind:
            wrong.append(f"{key}: we {our_kind}, libvirt {their_kind}")
        wrong += [
            f"{key} {name}: we {our.get(name)}, libvirt {their.get(name)}"
            for name in our.keys() | their.keys()
            if (places or name not in PLACES) and our.get(name) != their.get(name)
        ]
    return sorted(wrong)


@pytest.mark.parametrize("name", [name for name in names() if name not in CRASHES])
def test_a_defined_domain_is_libvirts_own_command_line(libvirt: RealLibvirt, name: str) -> None:
    xml = defined(libvirt, xml_of(name))
    theirs = read_argv(asked(libvirt, xml)).guest
    ours = read_xml(xml.encode(), name).guest
    wrong = differences(ours, theirs, places=True)
    assert [line for line in wrong if not known(line)] == []


def known(line: str) -> bool:
    """Tell whether a difference is one that we make on purpose, and name in `Guest.not_carried`."""
    return any(
        piece in line
        for piece in (
            "pr-manager",
            "pr-helper",
            "hostdev2",
            "-backend",
            "('vnc'",
            "('spice'",
            "guest-cid",
            "chrtpm",
            "iommu_platform: we on, libvirt None" if "net" in line else "\0",
        )
    )


@pytest.mark.parametrize("name", [name for name in names() if name not in CRASHES])
def test_a_domain_as_a_person_wrote_it_has_libvirts_devices(libvirt: RealLibvirt, name: str) -> None:
    theirs = read_argv(asked(libvirt, xml_of(name))).guest
    ours = document(name).guest
    for part in theirs.devices:
        kind = transport(part, theirs.arch)
        if not kind or part.id.startswith("net") or (name, part.id) == ("hostdevs", "scsi1"):
            continue
        mine = ours.by_id[part.id] if part.id else next(p for p in ours.devices if p.type == part.type)
        assert (mine.type, mine.flag("iommu_platform"), mine.flag("packed")) == (
            part.type,
            part.flag("iommu_platform"),
            part.flag("packed"),
        )
    kept = {name: value for name, value in ours.machine.properties.items() if name != "type"}
    assert {k: str(v) for k, v in kept.items()} == {k: str(v) for k, v in theirs.machine.properties.items()}
    assert ours.memory.type == theirs.memory.type


@pytest.mark.parametrize("name", [name for name in names() if name.startswith("launch-")])
def test_launch_security_makes_libvirts_object(libvirt: RealLibvirt, name: str) -> None:
    theirs = read_argv(asked(libvirt, xml_of(name))).guest
    ours = document(name).guest
    assert ours.limitation is not None
    assert theirs.limitation is not None
    assert (theirs.limitation.type, theirs.limitation.id) == (
        f"{ours.limitation.type}-guest",
        ours.limitation.id,
    )


def protected(guest: Guest) -> list[Change]:
    """What a plan may change, all of it at once."""
    machine = guest.machine.key
    overcommit = guest.one("overcommit")
    changes: list[Change] = [Set(machine, "mem-merge", "off"), Set(machine, "dump-guest-core", "off")]
    if overcommit is not None:
        changes.append(Set(overcommit.key, "mem-lock", "on"))
    if guest.arch == "x86_64" and "q35" in guest.machine.type:
        changes += [Set(machine, "kernel-irqchip", "split"), Set(machine, "vmport", "off")]
        changes += [Set(guest.cpu.key, "pmu", "off")]
        if guest.limitation is None:
            changes.append(Add(Part("limitation", "sev-snp", {"policy": "0x30000"}, guest.next_key)))
    for device in guest.devices:
        if transport(device, guest.arch):
            changes.append(Set(device.key, "iommu_platform", "on"))
            if device.type.endswith("pci-transitional"):
                changes.append(Retype(device.key, device.type.replace("-transitional", "-non-transitional")))
        if "balloon" in device.type:
            changes.append(Set(device.key, "free-page-reporting", False))
    return changes


@pytest.mark.parametrize("name", names())
def test_an_edited_domain_is_valid_and_defined(
    libvirt: RealLibvirt, libvirt_schema: Schema, name: str
) -> None:
    read = document(name)
    written = read.edited(protected(read.guest))
    assert libvirt_schema.error(written.text) is None
    defined(libvirt, written.text)


@pytest.mark.parametrize("name", [name for name in names() if name not in CRASHES])
def test_the_edits_reach_libvirts_command_line(libvirt: RealLibvirt, name: str) -> None:
    read = document(name)
    written = read.edited(protected(read.guest))
    theirs = read_argv(asked(libvirt, written.text)).guest
    assert theirs.machine.text("mem-merge") == "off"
    overcommit = theirs.one("overcommit")
    assert overcommit is not None
    assert overcommit.text("mem-lock") == "on"
    unsaid = {lost.partition("device '")[2].partition("'")[0] for lost in written.lost}
    for part in theirs.devices:
        if (
            transport(part, theirs.arch)
            and not part.id.startswith("net")
            and part.id not in unsaid | {"scsi0"}
        ):
            assert part.flag("iommu_platform") is True, part


@pytest.mark.parametrize("name", names())
def test_a_domain_written_anew_is_valid_and_defined(
    libvirt: RealLibvirt, libvirt_schema: Schema, name: str
) -> None:
    guest = document(name).guest
    parts = []
    for part in guest.parts:
        if part.group == "machine":
            kept = {k: v for k, v in part.properties.items() if k not in LIMITATION_PROPERTIES}
            part = replace(part, properties=kept)
        parts.append(part)
    written = write_xml(replace(guest, parts=tuple(parts)))
    assert libvirt_schema.error(written.text) is None
    defined(libvirt, written.text)
