"""Times the command line from a cold start and checking from the library: ``python bench/checking.py``.

Beside a bare ``python -c pass`` and, where it is installed, ``virt-host-validate qemu``. The best of several rounds is
taken, with modules compiled beforehand, as an installation has them.
"""

from __future__ import annotations

import compileall
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import sequester

ROUNDS = 15
DOMAIN = """<domain type='kvm'>
  <name>guest{n}</name>
  <memory unit='GiB'>4</memory>
  <memoryBacking><nosharepages/></memoryBacking>
  <vcpu>4</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <loader type='rom' format='raw'>/nonexistent/OVMF.fd</loader>
  </os>
  <features><acpi/><apic/></features>
  <cpu mode='host-passthrough'/>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
{devices}
    <serial type='pty'/>
    <memballoon model='none'/>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
  </devices>
  <launchSecurity type='sev-snp'><policy>0x00030000</policy></launchSecurity>
</domain>
"""
DISK = (
    "    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/i/{n}.qcow2'/>"
    "<target dev='vd{letter}' bus='virtio'/></disk>"
)
CARD = "    <interface type='bridge'><source bridge='br0'/><model type='virtio'/></interface>"


def domain(number: int, disks: int, cards: int) -> bytes:
    """Return a protected domain with that many disks and network cards."""
    devices = [DISK.format(n=n, letter=chr(97 + n % 26)) for n in range(disks)] + [CARD] * cards
    return DOMAIN.format(n=number, devices="\n".join(devices)).encode()


def best(action: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Return the shortest time of an action in seconds."""
    shortest = 9e9
    for _ in range(rounds):
        start = time.perf_counter()
        action()
        shortest = min(shortest, time.perf_counter() - start)
    return shortest


def commands(folder: Path) -> None:
    """Time whole commands."""
    guest = folder / "guest.xml"
    guest.write_bytes(domain(0, 2, 2))
    ours = [sys.executable, "-m", "sequester"]
    table = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "sequester --version": [*ours, "--version"],
        "sequester check guest.xml": [*ours, "check", str(guest)],
        "sequester probe": [*ours, "probe"],
    }
    if shutil.which("virt-host-validate"):
        table["virt-host-validate qemu"] = ["virt-host-validate", "qemu"]
    for name, command in table.items():
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": False}
        print(f"{best(lambda c=command, q=quiet: subprocess.run(c, **q)) * 1e3:8.1f} ms  {name}")


def library() -> None:
    """Time reading and checking in one process."""
    for devices in (2, 10, 40):
        guests = [domain(n, devices // 2, devices - devices // 2) for n in range(100)]

        def all_of_them(texts: list[bytes] = guests) -> None:
            for n, text in enumerate(texts):
                sequester.check(sequester.read(text, f"{n}.xml", "xml"))

        rate = len(guests) / best(all_of_them, 5)
        print(f"{rate:8.0f} domains/s  read and checked, {devices} disks and network cards each")
    many = domain(0, 5000, 5000)
    seconds = best(lambda: sequester.check(sequester.read(many, "many.xml", "xml")), 3)
    print(f"{seconds * 1e3:8.0f} ms  one domain with 10,000 devices, read and checked")
    argv = ["qemu-system-x86_64", "-M", "q35,confidential-guest-support=s", "-object", "sev-snp-guest,id=s"]
    for n in range(10000):
        argv += ["-device", f"virtio-net-pci,id=n{n},disable-legacy=off"]
    seconds = best(lambda: sequester.plan(sequester.from_argv(argv)).diff(), 1)
    print(
        f"{seconds * 1e3:8.0f} ms  one command line with 10,000 devices, planned, every one of them changed"
    )


if __name__ == "__main__":
    compileall.compile_dir(str(Path(sequester.__file__).parent), quiet=1)
    with tempfile.TemporaryDirectory() as place:
        commands(Path(place))
    library()
