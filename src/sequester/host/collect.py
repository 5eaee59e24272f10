#!/usr/bin/env python3
"""Gather, once, what the protection of guests depends on, and write it as one JSON record.

The file travels alone: standard library only, Python 3.6 or later, `python3 collect.py > record.json` or
``ssh HOST python3 - < collect.py > record.json``. It judges nothing; `sequester probe --record` and `--host`
read what it writes. It needs no root: what it could not read is in the record with the reason.

Everything it reads is held to be hostile: only regular files are opened, without blocking; sizes, times and
counts are limited; a QEMU that hangs, floods or dies is an error text in the record. It changes nothing on
the host. The record leaves out what names a machine or person: host names, serial numbers, chip ids, and the
kernel's arguments that have nothing to do with virtualization.

The record, ``sequester-host/1``. A *reading* is ``{"text": ...}`` or ``{"error": errno name or reason}``.

    schema, collected (UTC, ISO 8601), root, arch (uname -m), user {uid, groups}
    files       path -> reading: kernel release, module parameters, sysfs, cgroups
    cmdline     the kernel's arguments that matter, in order; dropped: how many were left out
    cpuinfo     key -> text, of the first processor
    cpuid       {source, leaves: {"0x8000001f": [eax, ebx, ecx, edx]}} or {error}; leaf 0x0/0x80000000: the highest
    msrs        "0xc0010010" -> number or {error}
    nodes       path -> {kind, mode, uid, gid, group, read, write} or {error}: looked at, never opened
    directories path -> {count} or {error}
    kvm         {api, caps: {"235": number}} or {error}
    sev         {platform, snp}: the answers of the security processor, each {...} or {error}
    log         {source, complete, lines} or {error}: kernel log lines that matter
    config      {source, options: {"CONFIG_KVM_AMD_SEV": "y"}} or {error}
    memlock     [soft, hard] bytes, null for no limit
    firmware    [{path, features, device, filename, architectures, machines, present, masked_by} or {path, error}]
    qemu        [{path, version, package, arch, types, properties, machines, accelerators, ...} or {path, error}]
    libvirt     {binaries, asked, version, sectypes, features} or with error
"""

import array
import collections.abc
import contextlib
import errno
import fcntl
import json
import os
import re
import resource
import selectors
import signal
import stat
import struct
import subprocess
import sys
import time
import zlib

SCHEMA = "sequester-host/1"
CACHE_SCHEMA = "sequester-qemu/1"

MODULE_PARAMETERS = {
    "kvm": ("enable_virt_at_load", "hpage", "mmio_caching", "nx_huge_pages", "tdp_mmu"),
    "kvm_amd": ("ciphertext_hiding_asids", "debug_swap", "nested", "npt", "sev", "sev_es", "sev_snp"),
    "kvm_intel": ("enable_apicv", "ept", "eptad", "nested", "tdx"),
    "kvm_hv": ("nested",),
    "ccp": ("psp_init_on_probe", "init_ex_path"),
    "apparmor": ("enabled",),
}
# fmt: off
FILES = (
    "/proc/sys/kernel/arch", "/proc/sys/kernel/dmesg_restrict", "/proc/sys/kernel/osrelease",
    "/proc/sys/kernel/version", "/proc/sys/vm/nr_hugepages", "/proc/device-tree/ibm,ultravisor/compatible",
    "/run/systemd/container",
    "/sys/class/dmi/id/bios_date", "/sys/class/dmi/id/bios_vendor", "/sys/class/dmi/id/bios_version",
    "/sys/class/dmi/id/product_name", "/sys/class/dmi/id/sys_vendor",
    "/sys/devices/faux/tdx_host/num_remaining_updates", "/sys/devices/faux/tdx_host/seamldr_version",
    "/sys/devices/faux/tdx_host/version",
    "/sys/fs/cgroup/misc.capacity", "/sys/fs/cgroup/misc.current",
    "/sys/fs/cgroup/misc/misc.capacity", "/sys/fs/cgroup/misc/misc.current",
    "/sys/fs/cgroup/unified/misc.capacity", "/sys/fs/cgroup/unified/misc.current",
    "/sys/fs/selinux/enforce", "/sys/hypervisor/type",
    "/sys/kernel/mm/ksm/merge_across_nodes", "/sys/kernel/mm/ksm/pages_shared",
    "/sys/kernel/mm/ksm/pages_sharing", "/sys/kernel/mm/ksm/run",
    "/sys/kernel/mm/transparent_hugepage/enabled", "/sys/kernel/mm/transparent_hugepage/shmem_enabled",
    "/sys/kernel/security/lockdown", "/sys/kernel/security/lsm", "/sys/power/disk",
)
# Of these every file is read.
FOLDERS = ("/sys/firmware/uv", "/sys/firmware/uv/query", "/sys/firmware/uv/keys")
# Their groups' misc.current is read where they have none themselves, as the root before Linux 6.9.
CGROUPS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/misc")
NODES = (
    "/.dockerenv", "/dev/cpu/0/cpuid", "/dev/cpu/0/msr", "/dev/kvm", "/dev/sev", "/dev/sev-guest",
    "/dev/tdx_guest", "/dev/uv", "/dev/vhost-net", "/dev/vhost-vsock", "/proc/device-tree/ibm,ultravisor",
    "/run/.containerenv", "/sys/devices/faux/tdx_host", "/sys/firmware/acpi/tables/DMAR",
    "/sys/firmware/acpi/tables/IVRS", "/sys/firmware/uv", "/sys/module/ccp", "/sys/module/kvm",
    "/sys/module/kvm_amd", "/sys/module/kvm_amd/initstate", "/sys/module/kvm_hv", "/sys/module/kvm_intel",
    "/sys/module/kvm_intel/initstate", "/var/run/tdx-qgs/qgs.socket",
)
DIRECTORIES = ("/sys/kernel/iommu_groups", "/sys/class/iommu")
CPUINFO = frozenset((
    "vendor_id", "cpu family", "model", "model name", "stepping", "microcode", "flags", "address sizes",
    "features", "facilities", "processor 0", "# processors",  # s390
    "cpu", "revision", "machine", "firmware", "platform", "MMU",  # powerpc
    "Features", "CPU implementer", "CPU architecture", "CPU variant", "CPU part",  # Arm
))
CONFIG = frozenset((
    "CONFIG_KVM", "CONFIG_KVM_AMD", "CONFIG_KVM_AMD_SEV", "CONFIG_KVM_INTEL", "CONFIG_KVM_INTEL_TDX",
    "CONFIG_INTEL_TDX_HOST", "CONFIG_CRYPTO_DEV_CCP", "CONFIG_CRYPTO_DEV_CCP_DD", "CONFIG_CRYPTO_DEV_SP_PSP",
    "CONFIG_AMD_MEM_ENCRYPT", "CONFIG_AMD_IOMMU", "CONFIG_PPC_UV", "CONFIG_PPC_SVM",
    "CONFIG_KVM_BOOK3S_64_HV", "CONFIG_S390_UV_UAPI", "CONFIG_CGROUP_MISC", "CONFIG_KSM",
))
# fmt: on
CMDLINE = re.compile(
    r"(kvm|ccp\.|mem_encrypt|sev\b|iommu|amd_iommu|intel_iommu|prot_virt|nohibernate|hibernate|hugepages|"
    r"default_hugepagesz|swiotlb|tdx|nosmt|mitigations|clearcpuid|lockdown|security=|lsm=|apparmor|selinux|"
    r"nox2apic|transparent_hugepage|module_blacklist|modprobe\.blacklist|nomodule)"
)
LOG = re.compile(
    r"\bSEV|\bSNP|\bSME\b|\bRMP|\bccp\b|\bpsp\b|AMD-Vi|DMAR|[Mm]emory [Ee]ncryption|virt/tdx|\btdx\b|\bTDX\b|"
    r"SEAMCALL|prot_virt|[Uu]ltravisor|\bkvm|\bSVM\b|\bVMX\b|lockdown|\bx86/tme\b"
)

# Linux include/uapi/linux/kvm.h. 180 and 181 mean other things elsewhere: only the host's own are asked.
KVM_CAPS = {
    "x86_64": (197, 201, 206, 231, 233, 234, 235, 236, 237, 244),
    "s390x": (180, 217, 224),
    "ppc64": (181,),
    "ppc64le": (181,),
    "aarch64": (231, 233, 234, 235),
}
# AMD APM volume 2, appendix A, and Linux msr-index.h: SYSCFG, HWCR, SEV_STATUS, RMP_BASE, RMP_END, RMP_CFG;
# Intel: MKTME_KEYID_PARTITIONING, SEAMRR_PHYS_BASE and _MASK, TME_ACTIVATE.
MSRS = {
    "AuthenticAMD": (0xC0010010, 0xC0010015, 0xC0010131, 0xC0010132, 0xC0010133, 0xC0010136),
    "HygonGenuine": (0xC0010010, 0xC0010015),
    "GenuineIntel": (0x87, 0x1400, 0x1401, 0x982),
}
# In each range the first leaf names the last.
LEAVES = (
    (0x0, 0x1, 0x7, 0x21),
    (0x40000000,),
    (0x80000000, 0x80000001, 0x80000002, 0x80000003, 0x80000004, 0x80000008, 0x8000001F, 0x80000025),
)
# endbr64; push rbx; mov r8,rdx; mov eax,edi; mov ecx,esi; cpuid; store eax, ebx, ecx, edx at r8; pop rbx; ret
CPUID_CODE = "f30f1efa 53 4989d0 89f8 89f1 0fa2 418900 41895804 41894808 4189500c 5b c3"

# struct sev_user_data_status, packed, and struct sev_user_data_snp_status of Linux include/uapi/linux/psp-sev.h.
SEV_STATUS = ("<BBBIBI", ("major", "minor", "state", "flags", "build", "guests"))
SNP_STATUS = (
    "<BBBBIIIQQ",
    ("major", "minor", "state", "rmp", "build", "flags", "guests", "current_tcb", "reported_tcb"),
)

QEMU_NAMES = (
    "qemu-system-x86_64",
    "qemu-system-s390x",
    "qemu-system-ppc64",
    "qemu-system-aarch64",
    "qemu-kvm",
)
QEMU_PLACES = ("/usr/local/bin", "/usr/bin", "/usr/libexec", "/opt/kata/bin", "/opt/qemu/bin")
QEMU_AT_ONCE = 4
QEMU_OUTPUT = 4 << 20
FIRMWARE_FOLDERS = ("/etc/qemu/firmware", "/usr/local/share/qemu/firmware", "/usr/share/qemu/firmware")
LIBVIRT = ("virsh", "libvirtd", "virtqemud")
# What a QEMU's answers depend on besides itself.
SWITCHES = ("kvm_amd/sev", "kvm_amd/sev_es", "kvm_amd/sev_snp", "kvm_intel/tdx")
FILE_LIMIT = 64 << 10
ENTRIES_LIMIT = 256
NOT_LIVE = "not asked: the root is not this machine's"


def errno_name(error: BaseException) -> str:
    """Name an error as errno.h does; its text when it has no number."""
    return errno.errorcode.get(getattr(error, "errno", None) or 0, str(error)[:200])


def kind_of(mode: int) -> str:
    """Name what a file mode is of."""
    names = (
        (stat.S_ISREG, "file"),
        (stat.S_ISDIR, "directory"),
        (stat.S_ISCHR, "character device"),
        (stat.S_ISBLK, "block device"),
        (stat.S_ISFIFO, "fifo"),
        (stat.S_ISSOCK, "socket"),
    )
    return next((name for test, name in names if test(mode)), "something else")


class Tree:
    """The file system under a root, read without ever blocking and never beyond a limit."""

    def __init__(self, root: str = "/") -> None:
        self.root = os.path.abspath(root)
        self.live = self.root == "/"
        self._groups: dict[int, str] | None = None

    def path(self, path: str) -> str:
        """Return where a path of the host is."""
        return path if self.live else self.root + path

    def bytes(self, path: str, limit: int = FILE_LIMIT) -> "bytes | str":
        """Return at most `limit` bytes of a regular file, or the reason why not."""
        full = self.path(path)
        try:
            # Before opening: to open a device or a fifo can already do something, or wait.
            mode = os.stat(full).st_mode
            if not stat.S_ISREG(mode):
                return "not a file but a " + kind_of(mode)
            fd = os.open(full, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        except (OSError, ValueError) as error:
            return errno_name(error)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return "not a file any more"
            data = b""
            while len(data) < limit:
                chunk = os.read(fd, limit - len(data))
                if not chunk:
                    break
                data += chunk
            return data
        except OSError as error:
            return errno_name(error)
        finally:
            os.close(fd)

    def read(self, path: str, limit: int = FILE_LIMIT) -> "dict[str, str]":
        """Return a reading: the text of a file, NULs as line ends, or the reason why not."""
        data = self.bytes(path, limit)
        if isinstance(data, str):
            return {"error": data}
        return {"text": data.decode("utf-8", "replace").replace("\0", "\n").strip()}

    def names(self, path: str) -> "list[str]":
        """Return the entries of a directory in order; none where it cannot be read."""
        found = []
        with contextlib.suppress(OSError), os.scandir(self.path(path)) as entries:
            for entry in entries:
                found.append(entry.name)
                if len(found) == 4096:
                    break
        return sorted(name for name in found if name.isprintable())[:ENTRIES_LIMIT]

    def count(self, path: str) -> "dict[str, object]":
        """Count the entries of a directory, up to 4096."""
        number = 0
        try:
            with os.scandir(self.path(path)) as entries:
                for _ in entries:
                    number += 1
                    if number == 4096:
                        break
        except OSError as error:
            return {"error": errno_name(error)}
        return {"count": number}

    def node(self, path: str) -> "dict[str, object]":
        """Look at a file without opening it: kind, mode, owner, and what the running user may do."""
        full = self.path(path)
        try:
            found = os.stat(full)
        except (OSError, ValueError) as error:
            return {"error": errno_name(error)}
        effective = os.access in os.supports_effective_ids
        return {
            "kind": kind_of(found.st_mode),
            "mode": f"{stat.S_IMODE(found.st_mode):04o}",
            "uid": found.st_uid,
            "gid": found.st_gid,
            "group": self.group(found.st_gid),
            "read": os.access(full, os.R_OK, effective_ids=effective),
            "write": os.access(full, os.W_OK, effective_ids=effective),
        }

    def group(self, gid: int) -> str:
        """Name a group by /etc/group, '' if it has no name there."""
        if self._groups is None:
            # Not the grp module: it may ask a directory server.
            self._groups = {}
            for line in self.read("/etc/group", 1 << 20).get("text", "").splitlines():
                parts = line.split(":")
                if len(parts) > 2 and parts[2].isdecimal() and len(parts[2]) < 12:
                    self._groups[int(parts[2])] = parts[0][:64]
        return self._groups.get(gid, "")

    def open_device(self, path: str, flags: int) -> "int | str":
        """Open a character device, or return the reason why not."""
        full = self.path(path)
        try:
            mode = os.stat(full).st_mode
            if not stat.S_ISCHR(mode):
                return "not a device but a " + kind_of(mode)
            return os.open(full, flags | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError as error:
            return errno_name(error)


def is_on(readings: "dict[str, dict[str, str]]", parameter: str) -> bool:
    """Tell whether a module parameter (``kvm_amd/sev``) is on: kernels write Y, y or 1."""
    module, _, name = parameter.partition("/")
    return readings.get(f"/sys/module/{module}/parameters/{name}", {}).get("text") in ("Y", "y", "1")


def files(tree: Tree) -> "dict[str, dict[str, str]]":
    """Read all single files of interest."""
    paths = list(FILES)
    for module, parameters in MODULE_PARAMETERS.items():
        paths += [f"/sys/module/{module}/parameters/{name}" for name in parameters]
    for folder in FOLDERS:
        candidates = [folder + "/" + name for name in tree.names(folder)]
        paths += [path for path in candidates if tree.node(path).get("kind") != "directory"]
    for folder in CGROUPS:
        if "error" in tree.node(folder + "/misc.current"):
            candidates = [f"{folder}/{name}/misc.current" for name in tree.names(folder)]
            paths += [path for path in candidates if "error" not in tree.node(path)]
    return {path: tree.read(path) for path in paths}


def cmdline(tree: Tree) -> "dict[str, object]":
    """Keep the kernel's arguments that matter; the others may hold secrets and are only counted."""
    reading = tree.read("/proc/cmdline")
    if "error" in reading:
        return {"error": reading["error"]}
    words = reading["text"].split()
    kept = [word[:200] for word in words if CMDLINE.match(word)]
    return {"arguments": kept[:ENTRIES_LIMIT], "dropped": len(words) - len(kept)}


def cpuinfo(tree: Tree) -> "dict[str, str]":
    """Return what /proc/cpuinfo says of the first processor and of the machine."""
    data = tree.bytes("/proc/cpuinfo", 16 << 10)
    if not isinstance(data, str) and b"\nvendor_id\t" not in data[:64]:
        data = tree.bytes(
            "/proc/cpuinfo", 1 << 20
        )  # other than x86: the machine is named after all processors
    if isinstance(data, str):
        return {"error": data}
    found: dict[str, str] = {}
    for line in data.decode("utf-8", "replace").splitlines():
        key, colon, value = line.partition(":")
        key = key.strip()
        if colon and key in CPUINFO and key not in found:
            found[key] = value.strip()[: 8 << 10]
    return found


def executed_cpuid() -> "collections.abc.Callable[[int], tuple[int, ...]] | str":
    """Return a function from a leaf to four registers that executes CPUID, or the reason why there is none.

    The code sits on a page of its own; a system that forbids writable and executable memory refuses it.
    """
    if os.uname().machine != "x86_64" or struct.calcsize("P") != 8:
        return "not an x86-64 process"
    try:
        import ctypes
        import mmap

        page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except (ImportError, OSError, ValueError, MemoryError) as error:
        return "executable memory refused: " + errno_name(error)
    page.write(bytes.fromhex(CPUID_CODE.replace(" ", "")))
    registers = (ctypes.c_uint32 * 4)()
    start = ctypes.c_char.from_buffer(page)
    prototype = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p)
    code = prototype(ctypes.addressof(start))

    def ask(leaf: int, page: object = start) -> "tuple[int, ...]":  # holds the page while it can be called
        code(leaf, 0, ctypes.addressof(registers))
        return tuple(int(register) for register in registers)

    return ask


def cpuid(tree: Tree, arch: str) -> "dict[str, object]":
    """Ask CPUID: through /dev/cpu/0/cpuid where that may be read, else by executing it."""
    if not tree.live or arch != "x86_64":
        return {"error": NOT_LIVE if not tree.live else "no CPUID on " + arch[:32]}
    try:
        fd = os.open("/dev/cpu/0/cpuid", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        ask = executed_cpuid()
        return {"error": ask} if isinstance(ask, str) else {"source": "executed", "leaves": leaves(ask)}
    try:
        found = leaves(lambda leaf: struct.unpack("<4I", os.pread(fd, 16, leaf)))
        return {"source": "/dev/cpu/0/cpuid", "leaves": found}
    except (OSError, struct.error) as error:
        return {"error": errno_name(error)}
    finally:
        os.close(fd)


def leaves(ask: "collections.abc.Callable[[int], tuple[int, ...]]") -> "dict[str, list[int]]":
    """Ask for the leaves of interest that exist: past the last, Intel answers with another leaf's data."""
    found: dict[str, list[int]] = {}
    for wanted in LEAVES:
        if wanted[0] == 0x40000000 and not ask(1)[2] >> 31:
            continue
        last = ask(wanted[0])[0]
        found.update(
            (f"0x{leaf:x}", list(ask(leaf))) for leaf in wanted if leaf in (wanted[0],) or leaf <= last
        )
    return found


def msrs(tree: Tree, vendor: str) -> "dict[str, object]":
    """Read the model-specific registers of interest; needs root and the msr module."""
    wanted = MSRS.get(vendor, ()) if tree.live else ()
    found: dict[str, object] = {}
    try:
        fd = os.open("/dev/cpu/0/msr", os.O_RDONLY | os.O_CLOEXEC) if wanted else -1
    except OSError as error:
        return {f"0x{number:x}": {"error": errno_name(error)} for number in wanted}
    for number in wanted:
        try:
            found[f"0x{number:x}"] = struct.unpack("<Q", os.pread(fd, 8, number))[0]
        except (OSError, struct.error) as error:
            found[f"0x{number:x}"] = {"error": errno_name(error)}
    if fd >= 0:
        os.close(fd)
    return found


def kvm(tree: Tree, arch: str) -> "dict[str, object]":
    """Ask /dev/kvm for its API version and the capabilities that bear on protection."""
    fd = tree.open_device("/dev/kvm", os.O_RDWR)
    if isinstance(fd, str):
        return {"error": fd}
    # _IO(0xAE, n); powerpc writes "no data" as 1 << 29 (arch/powerpc/include/uapi/asm/ioctl.h).
    base = (0x20000000 if arch.startswith("ppc") else 0) | 0xAE00
    try:
        api = fcntl.ioctl(fd, base, 0)
        return {
            "api": api,
            "caps": {str(cap): fcntl.ioctl(fd, base | 3, cap) for cap in KVM_CAPS.get(arch, ())},
        }
    except OSError as error:
        return {"error": "KVM_CHECK_EXTENSION: " + errno_name(error)}
    finally:
        os.close(fd)


def issue_sev(fd: int, command: int, layout: str, names: "tuple[str, ...]") -> "dict[str, object]":
    """Issue one status command to /dev/sev and return the named fields of its answer.

    struct sev_issue_cmd, packed: u32 cmd, u64 data, u32 error. SEV_ISSUE_CMD = _IOWR('S', 0, 16 bytes).
    Linux include/uapi/linux/psp-sev.h.
    """
    answer = array.array("B", bytes(256))
    argument = bytearray(struct.pack("<IQI", command, answer.buffer_info()[0], 0))
    try:
        fcntl.ioctl(fd, 0xC0105300, argument, True)
    except OSError as error:
        return {"error": f"{errno_name(error)}, fw_error={struct.unpack('<IQI', argument)[2]:#x}"}
    values = struct.unpack_from(layout, answer)
    return dict(zip(names, values))  # noqa: B905 (strict= is newer than the oldest Python this runs on)


def sev(tree: Tree, readings: "dict[str, dict[str, str]]") -> "dict[str, object]":
    """Ask the AMD security processor for its state, where /dev/sev may be opened."""
    fd = tree.open_device("/dev/sev", os.O_RDWR)
    if fd in ("EACCES", "EPERM"):
        fd = tree.open_device("/dev/sev", os.O_RDONLY)
    if isinstance(fd, str):
        return {"platform": {"error": fd}, "snp": {"error": fd}}
    # Linux of 2025 would initialize SNP for the question and shut it down again: ask only where it runs.
    snp: dict[str, object] = {"error": "not asked: kvm_amd.sev_snp is not on"}
    try:
        platform = issue_sev(fd, 1, *SEV_STATUS)
        if is_on(readings, "kvm_amd/sev_snp"):
            snp = issue_sev(fd, 9, *SNP_STATUS)
        return {"platform": platform, "snp": snp}
    finally:
        os.close(fd)


def start(command: "list[str]", stdin: int, stderr: int) -> "subprocess.Popen[bytes]":
    """Start a program in a session of its own, which `end` ends as a whole."""
    return subprocess.Popen(
        command,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=stderr,
        start_new_session=True,
        cwd="/",
        env=dict(os.environ, LC_ALL="C"),
    )


def end(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process with all of its session, and collect it."""
    with contextlib.suppress(OSError):  # it is gone already, which is what is wanted
        os.killpg(process.pid, signal.SIGKILL)
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):  # unwritten input of a dead process
                stream.close()
    with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in the kernel: nobody can end it
        process.wait(2)


def run(command: "list[str]", seconds: float, limit: int, stderr: int = subprocess.DEVNULL) -> "bytes | str":
    """Run a command without input or terminal and return its output, or the reason why there is none."""
    try:
        process = start(command, subprocess.DEVNULL, stderr)
    except OSError as error:
        return errno_name(error)
    assert process.stdout is not None
    data = b""
    last = time.monotonic() + seconds
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while len(data) <= limit:
                left = last - time.monotonic()
                if left <= 0 or not selector.select(left):
                    return f"no answer within {seconds:g} s"
                chunk = os.read(process.stdout.fileno(), 1 << 16)
                if not chunk:
                    return data
                data += chunk
        return f"more than {limit} bytes of output"
    finally:
        end(process)


def which(name: str) -> str:
    """Return the path of a program in PATH or the administrator's directories, '' if there is none."""
    folders = [*os.environ.get("PATH", "").split(os.pathsep), "/usr/sbin", "/sbin", "/usr/local/sbin"]
    paths = (os.path.join(folder, name) for folder in folders if os.path.isabs(folder))
    return next((path for path in paths if os.path.isfile(path) and os.access(path, os.X_OK)), "")


def from_log(source: str, text: str, complete: bool) -> "dict[str, object]":
    """Keep the lines of a kernel log that matter, without time stamps, the last 400 of them."""
    stamp = re.compile(r"^\[\s*\d+\.\d+\]\s*(\[[^\]]*\]\s*)?")
    lines = [stamp.sub("", line)[:400] for line in text.splitlines() if LOG.search(line)]
    return {"source": source, "complete": complete, "lines": lines[-400:]}


def ring_buffer() -> "dict[str, object]":
    """Return what matters of the kernel's ring buffer; it is complete while its first message is there."""
    try:
        fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return {"error": errno_name(error)}
    lines: list[str] = []
    first = b""
    try:
        for _ in range(100000):
            try:
                # "priority,sequence,microseconds,flags;text\n key=value..." (Documentation/ABI/testing/dev-kmsg)
                head, _, text = os.read(fd, 8192).partition(b";")
            except BrokenPipeError:
                continue  # overwritten while it was read
            first = first or head
            lines.append(text.split(b"\n")[0].decode("utf-8", "replace"))
    except BlockingIOError:
        pass  # the end
    except OSError as error:
        return {"error": errno_name(error)}
    finally:
        os.close(fd)
    return from_log("/dev/kmsg", "\n".join(lines), first.split(b",")[1:2] == [b"0"])


def log(tree: Tree, patience: float) -> "dict[str, object]":
    """Return the kernel log lines that matter: of the ring buffer, else /var/log/dmesg, else the journal."""
    found: dict[str, object] = ring_buffer() if tree.live else {"error": NOT_LIVE}
    if found.get("complete"):
        return found
    reading = tree.read("/var/log/dmesg", 4 << 20)
    if "Linux version" in reading.get("text", "")[:4096] and not (
        tree.live and older_than_boot("/var/log/dmesg")
    ):
        return from_log("/var/log/dmesg", reading["text"], True)
    journal = which("journalctl") if tree.live else ""
    if journal:
        data = run([journal, "-k", "-b", "-q", "--no-pager", "-o", "cat"], patience, 8 << 20)
        text = data if isinstance(data, str) else data.decode("utf-8", "replace")
        if isinstance(data, bytes) and "Linux version" in text[:4096]:
            return from_log("journalctl -k -b", text, True)
        if "error" in found:
            found["error"] = f"{found['error']}; journalctl: {text if isinstance(data, str) else 'no access'}"
    return found


def older_than_boot(path: str) -> bool:
    """Tell whether a file was last written before this boot."""
    try:
        with open("/proc/uptime") as stream:
            booted = time.time() - float(stream.read(64).split()[0])
        return os.stat(path).st_mtime < booted - 60
    except (OSError, ValueError, IndexError):
        return True


def config(tree: Tree, release: str) -> "dict[str, object]":
    """Return the options of interest that this kernel was built with."""
    text = ""
    source = ""
    for source in (f"/boot/config-{release}", f"/lib/modules/{release}/config"):
        if re.match(r"^[\w.+~-]{1,120}$", release):
            text = text or tree.read(source, 1 << 20).get("text", "")
    if not text:
        source = "/proc/config.gz"
        packed = tree.bytes(source, 1 << 20)
        if isinstance(packed, str):
            return {"error": packed}
        try:
            text = zlib.decompressobj(31).decompress(packed, 4 << 20).decode("utf-8", "replace")
        except zlib.error as error:
            return {"error": f"{source}: {error}"}
    pairs = (line.split("=", 1) for line in text.splitlines() if line.startswith("CONFIG_") and "=" in line)
    return {"source": source, "options": {name: value[:16] for name, value in pairs if name in CONFIG}}


def memlock() -> "list[int | None]":
    """Return the soft and hard limit on locked memory in bytes, None for no limit."""
    limits = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return [None if limit == resource.RLIM_INFINITY else limit for limit in limits]


def texts(value: object) -> "list[str]":
    """Return the texts in what should be a list of them, short ones only."""
    items = value[:ENTRIES_LIMIT] if isinstance(value, list) else []
    return [item[:200] for item in items if isinstance(item, str)]


def mappings(value: object, limit: int = ENTRIES_LIMIT) -> "list[dict[str, object]]":
    """Return the objects in what should be a list of them."""
    items = value[:limit] if isinstance(value, list) else []
    return [item for item in items if isinstance(item, dict)]


def word(value: object, limit: int = 100) -> str:
    """Return a text, cut to a length, and '' for anything else."""
    return value[:limit] if isinstance(value, str) else ""


def firmware(tree: Tree, binaries: "list[str]") -> "list[dict[str, object]]":
    """Read the firmware descriptors; of equal names the first one found counts (docs/interop/firmware.json)."""
    folders = list(FIRMWARE_FOLDERS)
    if tree.live:
        home = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.environ.get("HOME", ""), ".config")
        folders[:0] = [home + "/qemu/firmware"] if os.path.isabs(home) else []
        real = [os.path.realpath(binary) for binary in binaries]
        folders += [os.path.dirname(os.path.dirname(path)) + "/share/qemu/firmware" for path in real]
    seen: dict[str, str] = {}
    found: list[dict[str, object]] = []
    for folder in sorted(set(folders), key=folders.index):
        for name in tree.names(folder):
            if name.endswith(".json"):
                entry = descriptor(tree, folder + "/" + name)
                entry["masked_by"] = seen.get(name, "")
                seen.setdefault(name, folder + "/" + name)
                found.append(entry)
    return found[:ENTRIES_LIMIT]


def descriptor(tree: Tree, path: str) -> "dict[str, object]":
    """Read one firmware descriptor; anything odd in it is an error text."""
    reading = tree.read(path)
    if not reading.get("text"):
        return {"path": path, "error": reading.get("error", "empty, which masks others of this name")}
    try:
        value = json.loads(reading["text"])
    except (ValueError, RecursionError):
        return {"path": path, "error": "not JSON"}
    mapping = value.get("mapping") if isinstance(value, dict) else None
    if not isinstance(mapping, dict):
        return {"path": path, "error": "no mapping in it"}
    executable = mapping.get("executable")
    image = executable if isinstance(executable, dict) else mapping
    filename = word(image.get("filename"), 500)
    targets = mappings(value.get("targets"), 32)
    return {
        "path": path,
        "features": texts(value.get("features")),
        "device": word(mapping.get("device")),
        "mode": word(mapping.get("mode")),
        "filename": filename,
        "architectures": [word(target.get("architecture")) for target in targets],
        "machines": [name for target in targets for name in texts(target.get("machines"))],
        "present": bool(filename) and "error" not in tree.node(filename),
    }


class Question:
    """One QEMU, asked over QMP on its standard input and output what it is and which protections it knows.

    The first questions are written at once; those about types follow when the types are known. Whatever the
    QEMU does, `answer` ends up with what it said or with an error text.
    """

    def __init__(self, path: str, seconds: float, accelerators: str, ask_sev: bool) -> None:
        self.answer: dict[str, object] = {"path": path}
        self.seconds = seconds
        self.last = time.monotonic() + seconds
        self.done = False
        self.process: subprocess.Popen[bytes] | None = None
        self.stdin = self.stdout = self.stderr = -1
        self.pending: dict[int, str] = {}
        self.numbered = 0
        self.received = 0
        self.line = b""
        self.errors = b""
        command = [path, "-machine", "none,accel=" + accelerators, "-nodefaults", "-no-user-config"]
        command += ["-display", "none", "-S", "-qmp", "stdio"]
        try:
            self.process = start(command, subprocess.PIPE, subprocess.PIPE)
        except (OSError, ValueError) as error:
            self.fail("cannot be run: " + errno_name(error))
            return
        streams = (self.process.stdin, self.process.stdout, self.process.stderr)
        self.stdin, self.stdout, self.stderr = (stream.fileno() for stream in streams if stream is not None)
        os.set_blocking(self.stdin, False)
        for name in ("qmp_capabilities", "query-version", "query-target", "query-kvm", "query-machines"):
            self.ask(name)
        self.ask("qom-list-types", "types", {"implements": "confidential-guest-support", "abstract": True})
        self.ask("qom-list-types", "accelerators", {"implements": "accel"})
        if ask_sev:
            self.ask("query-sev-capabilities")
        self.ask("query-qmp-schema")

    def fail(self, text: str) -> None:
        """End with an error text, and the last thing that the QEMU said itself."""
        said = [line.strip() for line in self.errors.decode("utf-8", "replace").splitlines() if line.strip()]
        self.answer["error"] = f"{text}: {said[-1][:300]}" if said else text
        self.done = True

    def ask(self, command: str, name: str = "", arguments: "dict[str, object] | None" = None) -> None:
        """Write one command; `name` is what `take` knows its answer by."""
        self.numbered += 1
        self.pending[self.numbered] = name or command
        message: dict[str, object] = {"execute": command, "id": self.numbered}
        if arguments:
            message["arguments"] = arguments
        # All of them fit into the pipe's own buffer, and how a QEMU ends that does not read its output tells.
        with contextlib.suppress(OSError):
            os.write(self.stdin, json.dumps(message).encode() + b"\n")

    def readable(self, fd: int) -> bool:
        """Take what can be read from standard output or error, and return whether there can be more."""
        try:
            data = os.read(fd, 1 << 16)
        except OSError as error:
            self.fail(errno_name(error))
            return False
        if fd == self.stderr:
            self.errors = (self.errors + data)[-4096:]
        elif not data:
            self.fail(self.ending())
        else:
            self.take_output(data)
        return bool(data)

    def take_output(self, data: bytes) -> None:
        """Take a piece of standard output, which is lines of JSON."""
        self.received += len(data)
        if self.received > QEMU_OUTPUT:
            self.fail(f"more than {QEMU_OUTPUT >> 20} MiB of output")
            return
        *lines, rest = data.split(b"\n")
        for line in lines:
            whole, self.line = self.line + line, b""
            if whole.strip() and not self.done:
                self.take_line(whole)
        self.line += rest

    def ending(self) -> str:
        """Say how the process ended before it had answered."""
        assert self.process is not None
        try:
            status = self.process.wait(0.2)
        except subprocess.TimeoutExpired:
            return "closed its output before it had answered"
        os.set_blocking(self.stderr, False)
        with contextlib.suppress(OSError):
            self.errors = (self.errors + os.read(self.stderr, 1 << 16))[-4096:]
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        return f"ended {how} before it had answered"

    def take_line(self, line: bytes) -> None:
        """Take one message of QMP."""
        try:
            value = json.loads(line.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict) or not {"QMP", "return", "error", "event"} & set(value):
            shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in line[:60])
            self.fail(f"its output is not QMP: '{shown}'")
            return
        number = value.get("id")
        if not isinstance(number, int) or number not in self.pending:
            return
        name = self.pending.pop(number)
        if "return" in value:
            self.take(name, value["return"], line)
        elif name == "query-sev-capabilities":
            error = value.get("error")
            self.answer["sev_capabilities"] = {
                "error": word(error.get("desc"), 300) if isinstance(error, dict) else ""
            }
        self.done = not self.pending

    def take(self, name: str, value: object, line: bytes) -> None:
        """Take the answer to one command; what has not the shape it should have is left out."""
        answer = self.answer
        fields: dict[str, object] = value if isinstance(value, dict) else {}
        if name == "query-version":
            numbers = fields.get("qemu")
            parts = (
                [numbers.get(part) for part in ("major", "minor", "micro")]
                if isinstance(numbers, dict)
                else []
            )
            answer["version"] = [part for part in parts if isinstance(part, int) and 0 <= part < 1000]
            answer["package"] = word(fields.get("package"))
        elif name == "query-target":
            answer["arch"] = word(fields.get("arch"), 32)
        elif name == "query-kvm":
            answer["kvm"] = {key: fields.get(key) is True for key in ("present", "enabled")}
        elif name == "accelerators":
            names = [word(item.get("name")) for item in mappings(value)]
            answer["accelerators"] = sorted(
                name[: -len("-accel")] for name in names if name.endswith("-accel")
            )
        elif name == "types":
            self.take_types(mappings(value, 64))
        elif name.startswith("of "):
            properties = answer.get("properties")
            assert isinstance(properties, dict)
            properties[name[3:]] = [
                {
                    "name": word(item.get("name")),
                    "type": word(item.get("type")),
                    "default": scalar(item.get("default-value")),
                }
                for item in mappings(value)
                if item.get("name") != "type"
            ]
        elif name == "query-sev-capabilities":
            # Not the certificates and the chip's id, which it gives as well: they name the machine.
            kept = {key: fields.get(key) for key in ("cbitpos", "reduced-phys-bits")}
            answer["sev_capabilities"] = {key: one for key, one in kept.items() if isinstance(one, int)}
        elif name == "query-machines":
            answer["machines"] = [
                {
                    "name": word(item.get("name")),
                    "alias": word(item.get("alias")),
                    "default": item.get("is-default") is True,
                    "deprecated": item.get("deprecated") is True,
                }
                for item in mappings(value, 1000)
            ]
        elif name == "query-qmp-schema":
            answer["rebuilds_on_reset"] = b'"confidential-guest-reset"' in line

    def take_types(self, items: "list[dict[str, object]]") -> None:
        """Take the types that implement confidential-guest-support, and ask for the concrete ones' properties."""
        self.answer["types"] = [
            {
                "name": word(item.get("name")),
                "parent": word(item.get("parent")),
                "abstract": item.get("abstract") is True,
            }
            for item in items
        ]
        self.answer["properties"] = {}
        concrete = [word(item.get("name")) for item in items if item.get("abstract") is not True]
        for name in concrete[:16]:
            self.ask("qom-list-properties", "of " + name, {"typename": name})


def scalar(value: object) -> object:
    """Return a short JSON scalar as it is, and None for anything else."""
    return value if isinstance(value, (str, int, float)) and len(str(value)) < 200 else None


class Asking:
    """Several QEMUs asked at the same time, a few at once, each with its own time limit."""

    def __init__(self, paths: "list[str]", seconds: float, accelerators: str, ask_sev: bool) -> None:
        self.waiting = list(paths)
        self.how = (seconds, accelerators, ask_sev)
        self.running: list[Question] = []
        self.answers: dict[str, dict[str, object]] = {}
        self.selector = selectors.DefaultSelector()

    def fill(self) -> None:
        """Start as many as may run at once."""
        while self.waiting and len(self.running) < QEMU_AT_ONCE:
            question = Question(self.waiting.pop(0), *self.how)
            self.running.append(question)
            if question.process is not None:
                self.selector.register(question.stdout, selectors.EVENT_READ, question)
                self.selector.register(question.stderr, selectors.EVENT_READ, question)

    def finish(self) -> "dict[str, dict[str, object]]":
        """Wait for all answers."""
        self.fill()
        while self.running:
            nearest = min(question.last for question in self.running)
            if not any(question.done for question in self.running):
                for key, _ in self.selector.select(max(0.0, nearest - time.monotonic())):
                    if not key.data.done and not key.data.readable(key.fd):
                        self.selector.unregister(key.fd)
            for question in self.running:
                if not question.done and time.monotonic() >= question.last:
                    question.fail(f"no answer within {question.seconds:g} s")
            for question in [one for one in self.running if one.done]:
                self.close(question)
            self.fill()
        return self.answers

    def close(self, question: Question) -> None:
        """End a QEMU and keep its answer."""
        self.running.remove(question)
        if question.process is not None:
            for fd in (question.stdout, question.stderr):
                if fd in self.selector.get_map():
                    self.selector.unregister(fd)
            end(question.process)
        self.answers[str(question.answer["path"])] = question.answer

    def stop(self) -> None:
        """End all that still run; nothing is left afterwards."""
        self.waiting = []
        for question in list(self.running):
            self.close(question)
        self.selector.close()


def found_qemus() -> "list[str]":
    """Return the QEMU binaries in PATH and the usual places, each binary once."""
    folders = [folder for folder in os.environ.get("PATH", "").split(os.pathsep) if os.path.isabs(folder)]
    seen: set[tuple[int, int]] = set()
    found: list[str] = []
    for name in QEMU_NAMES:
        for folder in folders + list(QEMU_PLACES):
            path = os.path.join(folder, name)
            with contextlib.suppress(OSError, ValueError):
                status = os.stat(path)
                one = (status.st_dev, status.st_ino)
                if stat.S_ISREG(status.st_mode) and one not in seen and os.access(path, os.X_OK):
                    seen.add(one)
                    found.append(path)
    return found[:16]


def default_cache() -> str:
    """Return the directory for answers that stay true while a binary is the same, '' where there can be none."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.environ.get("HOME", ""), ".cache")
    return os.path.join(base, "sequester") if os.path.isabs(base) else ""


def checksum(answer: "dict[str, object]") -> int:
    """Return a checksum of a QEMU's answer."""
    return zlib.crc32(json.dumps(answer, sort_keys=True).encode())


class Cache:
    """Answers of QEMUs by what they depend on: the binary, and the state of the host that shows through it.

    One file a binary, readable by its owner only and never half written. A file that is anything else than
    what was written here is a miss, and a cache that cannot be written is none.
    """

    def __init__(self, folder: str, state: "dict[str, object]") -> None:
        self.folder = folder
        self.state = state

    def key(self, path: str) -> "dict[str, object] | None":
        """Return what a binary's answer depends on, None where it is not there."""
        real = os.path.realpath(path)
        try:
            status = os.stat(real)
        except (OSError, ValueError):
            return None
        binary = [real, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns]
        return {"binary": binary, "state": self.state}

    def file(self, path: str) -> str:
        """Return the cache file of a binary."""
        number = zlib.crc32(os.path.realpath(path).encode("utf-8", "replace"))
        return os.path.join(self.folder, f"qemu-{number:08x}.json")

    def find(self, path: str) -> "dict[str, object] | None":
        """Return the answer kept for this very binary and state."""
        if not self.folder:
            return None
        try:
            fd = os.open(self.file(path), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(fd, "rb") as stream:
                status = os.fstat(fd)
                if (
                    not stat.S_ISREG(status.st_mode)
                    or status.st_uid != os.geteuid()
                    or status.st_size > 1 << 20
                ):
                    return None
                kept = json.loads(stream.read(1 << 20).decode("utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        if (
            not isinstance(kept, dict)
            or kept.get("schema") != CACHE_SCHEMA
            or kept.get("key") != self.key(path)
        ):
            return None
        answer = kept.get("answer")
        return (
            dict(answer, path=path)
            if isinstance(answer, dict) and kept.get("sum") == checksum(answer)
            else None
        )

    def keep(self, path: str, answer: "dict[str, object]") -> None:
        """Keep an answer, unless it is an error."""
        key = self.key(path)
        if not self.folder or key is None or "error" in answer:
            return
        draft = f"{self.file(path)}.{os.getpid()}"
        try:
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            if os.stat(self.folder).st_uid != os.geteuid():
                return  # under sudo this may be somebody else's
            fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "w") as stream:
                whole = {"schema": CACHE_SCHEMA, "key": key, "sum": checksum(answer), "answer": answer}
                json.dump(whole, stream)
            os.replace(draft, self.file(path))
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(draft)


def libvirt(asked: bool, seconds: float) -> "dict[str, object]":
    """Say which libvirt there is and, when asked to, which kinds of launch security it offers."""
    binaries = {name: path for name, path in ((name, which(name)) for name in LIBVIRT) if path}
    found: dict[str, object] = {"binaries": binaries, "asked": asked}
    if not asked or "virsh" not in binaries:
        return dict(found, error="no virsh") if asked else found
    version = run([binaries["virsh"], "--version"], seconds, 4096)
    if isinstance(version, bytes):
        found["version"] = version.decode("utf-8", "replace").strip()[:32]
    # Not read-only: libvirt forbids the question there.
    command = [binaries["virsh"], "-c", "qemu:///system", "domcapabilities"]
    data = run(command, seconds, 1 << 20, subprocess.STDOUT)
    if isinstance(data, str):
        return dict(found, error=data)
    text = data.decode("utf-8", "replace")
    if "<domainCapabilities" not in text:
        said = [line.strip() for line in text.splitlines() if line.strip()]
        return dict(
            found, error=said[-1].replace("error: ", "")[:300] if said else "its daemon does not answer"
        )
    return dict(found, **launch_security(text))


def launch_security(text: str) -> "dict[str, object]":
    """Return the launch security types and features that a domcapabilities document offers."""
    features = dict(re.findall(r"<(sev|tdx|s390-pv|sgx) supported=['\"](yes|no)['\"]", text))
    part = re.search(r"<launchSecurity supported=['\"]yes['\"]>(.{0,4000}?)</launchSecurity>", text, re.S)
    sectypes = re.findall(r"<value>([\w-]{1,40})</value>", part.group(1)) if part else []
    return {"sectypes": sectypes, "features": {name: said == "yes" for name, said in features.items()}}


def architecture(tree: Tree, info: "dict[str, str]") -> str:
    """Return the machine's architecture: uname's, or what another root's files tell."""
    if tree.live:
        return os.uname().machine
    marks = (("flags", "x86_64"), ("facilities", "s390x"), ("CPU implementer", "aarch64"), ("cpu", "ppc64le"))
    said = tree.read("/proc/sys/kernel/arch", 64).get("text", "")
    return said or next((arch for key, arch in marks if key in info), "")


def collect(
    root: str = "/",
    qemus: "list[str] | None" = None,
    ask_libvirt: bool = False,
    cache: str = "",
    seconds: float = 3.0,
    patience: float = 0.15,
    now: "float | None" = None,
) -> "dict[str, object]":
    """Gather the record of this host, or of the one whose files are under `root`.

    `qemus`: the QEMU binaries to ask (names are looked up in PATH); None for those that are found, [] for
    none. `cache`: directory for their answers, '' for none (see `default_cache`). `seconds`: the time that
    each QEMU and libvirt has. `patience`: the time that the journal has, which is asked only where the
    kernel's ring buffer does not tell. For another root than / the processor, /dev/kvm, the journal and
    libvirt are not asked. Raises nothing for what the host does.
    """
    tree = Tree(root)
    readings = files(tree)
    nodes = {path: tree.node(path) for path in NODES}
    if qemus is None:
        paths = found_qemus() if tree.live else []
    else:
        paths = [
            os.path.abspath(path) if "/" in path else which(path) or path for path in dict.fromkeys(qemus)
        ]
    use_kvm = bool(nodes["/dev/kvm"].get("read") and nodes["/dev/kvm"].get("write"))
    state: dict[str, object] = {name: is_on(readings, name) for name in SWITCHES}
    state["kvm"] = use_kvm
    state["sev"] = nodes["/dev/sev"].get("write", False)
    state["release"] = readings["/proc/sys/kernel/osrelease"].get("text", "")
    store = Cache(cache, state)
    kept = {path: store.find(path) for path in paths}
    unknown = [path for path in paths if kept[path] is None]
    asking = Asking(
        unknown, seconds, "kvm:tcg" if use_kvm else "tcg", use_kvm and is_on(readings, "kvm_amd/sev")
    )
    try:
        asking.fill()  # they start up while everything else is read
        info = cpuinfo(tree)
        arch = architecture(tree, info)
        record: dict[str, object] = {
            "schema": SCHEMA,
            "collected": time.strftime(
                "%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() if now is None else now)
            ),
            "root": "/" if tree.live else "another",
            "arch": arch,
            "user": {
                "uid": os.geteuid(),
                "groups": sorted({tree.group(gid) for gid in os.getgroups()} - {""}),
            },
            "files": readings,
            "cmdline": cmdline(tree),
            "cpuinfo": info,
            "cpuid": cpuid(tree, arch),
            "msrs": msrs(tree, info.get("vendor_id", "")),
            "nodes": nodes,
            "directories": {path: tree.count(path) for path in DIRECTORIES},
            "kvm": kvm(tree, arch),
            "sev": sev(tree, readings),
            "log": log(tree, patience),
            "config": config(tree, str(state["release"])),
            "memlock": memlock(),
            "firmware": firmware(tree, paths),
            "libvirt": libvirt(ask_libvirt and tree.live, seconds),
        }
        answers = asking.finish()
    finally:
        asking.stop()
    for path, answer in answers.items():
        store.keep(path, answer)
    record["qemu"] = [kept[path] or answers[path] for path in paths]
    return record


def main() -> int:
    """Write the record of this host to standard output."""
    import argparse

    parser = argparse.ArgumentParser(description="Gather what the protection of guests depends on, as JSON.")
    parser.add_argument("--qemu", action="append", metavar="BIN", help="a QEMU to ask (default: those found)")
    parser.add_argument("--no-qemu", action="store_true", help="ask no QEMU")
    parser.add_argument("--libvirt", action="store_true", help="ask libvirt too (slower)")
    parser.add_argument(
        "--seconds", type=float, default=3.0, help="time for each QEMU and libvirt (default: 3)"
    )
    options = parser.parse_args()
    qemus = [] if options.no_qemu else options.qemu
    record = collect(
        qemus=qemus, ask_libvirt=options.libvirt, seconds=options.seconds, patience=options.seconds
    )
    try:
        print(json.dumps(record, indent=1, sort_keys=True))
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main())
