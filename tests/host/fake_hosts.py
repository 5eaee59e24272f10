"""Hosts that never were: records as a collector would have written them, and trees for it to read.

The values are those of real machines as their users report them: Milan, Genoa and Naples EPYC, a Ryzen, Xeons of
several generations, a z15, a POWER9.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sequester.host.facts import HostFacts

Record = dict[str, Any]
ROOT_OWNED = {"kind": "character device", "mode": "0660", "uid": 0, "gid": 108, "group": "kvm"}


def text(value: str) -> Record:
    return {"text": value}


def error(name: str) -> Record:
    return {"error": name}


def device(read: bool = True, write: bool = True, **changes: Any) -> Record:
    return {**ROOT_OWNED, "read": read, "write": write, **changes}


def folder() -> Record:
    return {
        "kind": "directory",
        "mode": "0755",
        "uid": 0,
        "gid": 0,
        "group": "root",
        "read": True,
        "write": True,
    }


def qemu(path: str, version: list[int], arch: str, *types: str) -> Record:
    return {
        "path": path,
        "version": version,
        "package": "Debian",
        "arch": arch,
        "types": [
            {"name": "confidential-guest-support", "parent": "object", "abstract": True},
            *({"name": name, "parent": "confidential-guest-support", "abstract": False} for name in types),
        ],
        "properties": {name: [{"name": "policy", "type": "uint64", "default": None}] for name in types},
        "machines": [{"name": "pseries-11.1", "alias": "pseries", "default": True, "deprecated": False}],
        "accelerators": ["kvm", "tcg"],
        "kvm": {"present": True, "enabled": True},
        "rebuilds_on_reset": version >= [11],
    }


def image(feature: str, arch: str = "x86_64", **changes: Any) -> Record:
    name = f"/usr/share/ovmf/{feature}.fd"
    return {
        "path": f"/usr/share/qemu/firmware/60-{feature}.json",
        "features": [feature],
        "device": "memory",
        "mode": "",
        "filename": name,
        "architectures": [arch],
        "machines": ["pc-q35-*"],
        "present": True,
        "masked_by": "",
        **changes,
    }


def bare(arch: str, release: str) -> Record:
    """A host with KVM and nothing else."""
    return {
        "schema": "sequester-host/1",
        "collected": "2026-11-23T12:00:00Z",
        "root": "/",
        "arch": arch,
        "user": {"uid": 0, "groups": []},
        "files": {"/proc/sys/kernel/osrelease": text(release)},
        "cmdline": {"arguments": [], "dropped": 4},
        "cpuinfo": {},
        "cpuid": error("no CPUID on " + arch),
        "msrs": {},
        "nodes": {"/dev/kvm": device()},
        "directories": {"/sys/kernel/iommu_groups": {"count": 120}},
        "kvm": {"api": 12, "caps": {}},
        "sev": {"platform": error("ENOENT"), "snp": error("ENOENT")},
        "log": {"source": "/dev/kmsg", "complete": True, "lines": []},
        "config": {"source": "/boot/config", "options": {"CONFIG_KVM": "m"}},
        "memlock": [8388608, None],
        "firmware": [],
        "qemu": [],
        "libvirt": {"binaries": {}, "asked": False},
    }


def leaf_8000001f(eax: int, cbit: int, reduction: int, asids: int, least: int) -> list[int]:
    return [eax, cbit | reduction << 6 | 4 << 12, asids, least]


def milan() -> Record:
    """EPYC 7003 ready for SEV-SNP, seen by root: Linux 6.12, QEMU 11.1."""
    host = bare("x86_64", "6.12.48+deb13-amd64")
    flags = "fpu svm sme sev sev_es sev_snp debug_swap"
    host["cpuinfo"] = {
        "vendor_id": "AuthenticAMD",
        "cpu family": "25",
        "model": "1",
        "model name": "AMD EPYC 7713 64-Core Processor",
        "flags": flags,
    }
    host["cpuid"] = {
        "source": "/dev/cpu/0/cpuid",
        "leaves": {
            "0x0": [0x10, 0x68747541, 0x444D4163, 0x69746E65],
            "0x80000000": [0x80000023, 0x68747541, 0x444D4163, 0x69746E65],
            "0x8000001f": leaf_8000001f(0x0101FD3F, 51, 5, 509, 100),
        },
    }
    host["msrs"] = {"0xc0010010": 0x1F40000, "0xc0010015": 0x9000011, "0xc0010131": 0}
    host["msrs"].update(
        {"0xc0010010": 0x3F40000 | 1 << 23, "0xc0010132": 0x3FF9B00000, "0xc0010133": 0x407FBFFFFF}
    )
    for name in ("sev", "sev_es", "sev_snp"):
        host["files"][f"/sys/module/kvm_amd/parameters/{name}"] = text("Y")
    host["files"]["/sys/fs/cgroup/misc.capacity"] = text("sev 410\nsev_es 99")
    host["files"]["/sys/fs/cgroup/misc.current"] = text("sev 0\nsev_es 3")
    host["files"]["/sys/class/dmi/id/sys_vendor"] = text("Dell Inc.")
    host["files"]["/sys/class/dmi/id/product_name"] = text("PowerEdge R6525")
    host["files"]["/sys/class/dmi/id/bios_version"] = text("2.15.2")
    host["nodes"].update(
        {
            "/dev/sev": device(mode="0600", group="root"),
            "/sys/module/kvm_amd": folder(),
            "/sys/module/ccp": folder(),
            "/sys/firmware/acpi/tables/IVRS": {**folder(), "kind": "file"},
        }
    )
    host["kvm"]["caps"] = {"235": 0x1D, "234": 1, "233": 8}
    host["sev"] = {
        "platform": {"major": 1, "minor": 55, "state": 1, "flags": 256, "build": 21, "guests": 0},
        "snp": {"major": 1, "minor": 55, "state": 1, "rmp": 1, "build": 21, "flags": 0, "guests": 3},
    }
    host["log"]["lines"] = [
        "SEV-SNP: RMP table physical range [0x0000003ff9b00000 - 0x000000407fbfffff]",
        "AMD-Vi: IOMMU SNP support enabled.",
        "ccp 0000:22:00.1: SEV API:1.55 build:21",
        "ccp 0000:22:00.1: SEV-SNP API:1.55 build:21",
        "kvm_amd: SEV enabled (ASIDs 100 - 509)",
        "kvm_amd: SEV-SNP enabled (ASIDs 1 - 99)",
    ]
    host["config"]["options"]["CONFIG_KVM_AMD_SEV"] = "y"
    host["qemu"] = [
        qemu("/usr/bin/qemu-system-x86_64", [11, 1, 2], "x86_64", "sev-guest", "sev-snp-guest", "tdx-guest")
    ]
    host["firmware"] = [image("amd-sev-snp"), image("amd-sev-es"), image("amd-sev")]
    return host


def milan_without_rmp() -> Record:
    """The same machine with 'SNP Memory Coverage' off: no table, and Linux takes SNP away."""
    host = milan()
    host["cpuinfo"]["flags"] = "fpu svm sme sev sev_es"
    host["msrs"].update({"0xc0010132": 0, "0xc0010133": 0})
    host["files"]["/sys/module/kvm_amd/parameters/sev_snp"] = text("N")
    host["kvm"]["caps"]["235"] = 0xD
    host["sev"]["snp"] = error("not asked: kvm_amd.sev_snp is not on")
    host["log"]["lines"] = [
        "SEV-SNP: Memory for the RMP table has not been reserved by BIOS",
        "ccp 0000:22:00.1: SEV API:1.55 build:21",
        "kvm_amd: SEV-SNP disabled (ASIDs 1 - 99)",
    ]
    return host


def naples() -> Record:
    """EPYC 7001: SEV only, 15 ASIDs."""
    host = milan()
    host["cpuinfo"].update(
        {"cpu family": "23", "flags": "fpu svm sme sev", "model name": "AMD EPYC 7601 32-Core Processor"}
    )
    host["cpuid"]["leaves"]["0x8000001f"] = leaf_8000001f(0x7, 47, 5, 15, 1)
    for name in ("sev_es", "sev_snp"):
        host["files"][f"/sys/module/kvm_amd/parameters/{name}"] = text("N")
    host["files"]["/sys/fs/cgroup/misc.capacity"] = text("sev 15")
    host["files"]["/sys/fs/cgroup/misc.current"] = text("sev 1")
    host["kvm"]["caps"]["235"] = 0x5
    host["sev"] = {
        "platform": {"major": 0, "minor": 17, "state": 1, "flags": 0, "build": 48, "guests": 1},
        "snp": error("not asked: kvm_amd.sev_snp is not on"),
    }
    host["log"]["lines"] = ["ccp 0000:03:00.2: SEV API:0.17 build:48"]
    return host


def ryzen() -> Record:
    """A desktop whose processor shows the flag sev, and whose security processor has no SEV."""
    host = milan()
    host["cpuinfo"].update(
        {"flags": "fpu svm sme sev sev_es", "model name": "AMD Ryzen 9 5950X 16-Core Processor"}
    )
    host["cpuid"]["leaves"]["0x8000001f"] = leaf_8000001f(0xF, 51, 5, 15, 5)
    for name in ("sev", "sev_es", "sev_snp"):
        host["files"][f"/sys/module/kvm_amd/parameters/{name}"] = text("N")
    del host["files"]["/sys/fs/cgroup/misc.capacity"], host["files"]["/sys/fs/cgroup/misc.current"]
    host["nodes"]["/dev/sev"] = error("ENOENT")
    host["sev"] = {"platform": error("ENOENT"), "snp": error("ENOENT")}
    host["kvm"]["caps"]["235"] = 1
    host["log"]["lines"] = ["ccp 0000:0c:00.1: ccp enabled", "ccp 0000:0c:00.1: psp enabled"]
    return host


def emerald_rapids() -> Record:
    """Xeon of the 5th generation running TDX, seen by root: Linux 6.16."""
    host = bare("x86_64", "6.16.0")
    host["cpuinfo"] = {
        "vendor_id": "GenuineIntel",
        "cpu family": "6",
        "model": "207",
        "model name": "INTEL(R) XEON(R) PLATINUM 8592+",
        "flags": "fpu vmx tme tdx_host_platform",
    }
    host["cpuid"] = {
        "source": "/dev/cpu/0/cpuid",
        "leaves": {"0x0": [32, 0, 0, 0], "0x7": [2, 0, 1 << 13, 0]},
    }
    host["msrs"] = {"0x87": 0x40_0000_003F}
    host["files"]["/sys/module/kvm_intel/parameters/tdx"] = text("Y")
    host["files"]["/sys/fs/cgroup/misc.capacity"] = text("tdx 63")
    host["files"]["/sys/fs/cgroup/misc.current"] = text("tdx 2")
    host["nodes"]["/sys/module/kvm_intel"] = folder()
    host["nodes"]["/var/run/tdx-qgs/qgs.socket"] = {**folder(), "kind": "socket"}
    host["kvm"]["caps"] = {"235": 0x21}
    host["log"]["lines"] = [
        "virt/tdx: BIOS enabled: private KeyID range [64, 128)",
        "virt/tdx: 1050644 KB allocated for PAMT",
        "virt/tdx: module initialized",
    ]
    host["config"]["options"].update({"CONFIG_INTEL_TDX_HOST": "y", "CONFIG_KVM_INTEL_TDX": "y"})
    host["qemu"] = [qemu("/usr/bin/qemu-system-x86_64", [10, 1, 0], "x86_64", "sev-guest", "tdx-guest")]
    host["firmware"] = [image("intel-tdx")]
    return host


def tdx_off_in_firmware() -> Record:
    """The same machine with TDX off in its setup."""
    host = emerald_rapids()
    host["cpuinfo"]["flags"] = "fpu vmx tme"
    host["msrs"] = {"0x87": 0x3F}
    host["files"]["/sys/module/kvm_intel/parameters/tdx"] = text("N")
    del host["files"]["/sys/fs/cgroup/misc.capacity"], host["files"]["/sys/fs/cgroup/misc.current"]
    host["kvm"]["caps"] = {"235": 1}
    host["log"]["lines"] = ["kvm_intel: tdx: no TDX private KeyIDs available"]
    return host


def tdx_module_too_old() -> Record:
    """The same machine with a TDX module that Linux cannot start."""
    host = emerald_rapids()
    host["files"]["/sys/module/kvm_intel/parameters/tdx"] = text("N")
    del host["files"]["/sys/fs/cgroup/misc.capacity"], host["files"]["/sys/fs/cgroup/misc.current"]
    host["kvm"]["caps"] = {"235": 1}
    host["log"]["lines"] = [
        "virt/tdx: BIOS enabled: private KeyID range [64, 128)",
        "virt/tdx: SEAMCALL (0x0000000000000023) failed: 0xc000050500000000",
        "virt/tdx: module initialization failed (-5)",
    ]
    return host


def z15() -> Record:
    """z15 with prot_virt=1."""
    host = bare("s390x", "6.8.0-60-generic")
    host["cpuinfo"] = {
        "vendor_id": "IBM/S390",
        "features": "esan3 zarch",
        "facilities": "0 1 2 129 155 156 158 161",
    }
    host["cmdline"]["arguments"] = ["prot_virt=1"]
    host["files"].update(
        {
            "/sys/firmware/uv/prot_virt_host": text("1"),
            "/sys/firmware/uv/prot_virt_guest": text("0"),
            "/sys/module/kvm/parameters/hpage": text("0"),
        }
    )
    host["nodes"]["/sys/firmware/uv"] = folder()
    host["kvm"]["caps"] = {"180": 1, "217": 1, "224": 1}
    host["log"]["lines"] = ["prot_virt: Reserving 98MB as ultravisor base storage"]
    host["qemu"] = [qemu("/usr/bin/qemu-system-s390x", [8, 2, 2], "s390x", "s390-pv-guest")]
    return host


def power9() -> Record:
    """POWER9 with ultravisor firmware."""
    host = bare("ppc64le", "5.14.0")
    host["cpuinfo"] = {"cpu": "POWER9, altivec supported", "machine": "PowerNV 9006-22P"}
    host["nodes"].update({"/proc/device-tree/ibm,ultravisor": folder(), "/sys/module/kvm_hv": folder()})
    host["kvm"]["caps"] = {"181": 1}
    host["config"]["options"]["CONFIG_PPC_UV"] = "y"
    host["qemu"] = [qemu("/usr/bin/qemu-system-ppc64", [6, 2, 0], "ppc64", "pef-guest")]
    return host


def by_nobody(record: Record) -> Record:
    """The same host as an ordinary user sees it: no registers, no log, no /dev/sev, KVM through its group."""
    host = copy.deepcopy(record)
    host["user"] = {"uid": 1000, "groups": ["kvm"]}
    host["msrs"] = {number: error("EACCES") for number in host["msrs"]}
    host["log"] = error("EPERM; journalctl: no access")
    host["sev"] = {"platform": error("EACCES"), "snp": error("EACCES")}
    if "kind" in host["nodes"].get("/dev/sev", {}):
        host["nodes"]["/dev/sev"].update({"read": False, "write": False})
    return host


def facts(record: Record) -> HostFacts:
    """The facts in a record that went through JSON, as records do."""
    return HostFacts.parse(json.dumps(record).encode(), "fake")


def tree(root: Path, files: dict[str, str | bytes]) -> Path:
    """Write files under a root and return it."""
    for path, content in files.items():
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def as_nobody(function: Callable[[], Any]) -> Any:
    """Run a function as an ordinary user and return its result, which must be JSON; one of those just runs it."""
    if os.geteuid() != 0:
        return function()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reader)
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            with os.fdopen(writer, "w") as stream:
                json.dump(function(), stream)
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as stream:
        said = stream.read()
    assert os.waitpid(child, 0)[1] == 0, "the ordinary user's side failed"
    return json.loads(said)
