"""libvirt's `virt-qemu-sev-validate` as the owner of a simulated platform's guest, and beside our own owner's side."""

from __future__ import annotations

import os
import subprocess
import sys
from base64 import b64decode, b64encode
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from ovmf_images import image
from simulated import ask, platform_of

from sequester.firmware import footer
from sequester.owner.sev_certificate import SevCertificate, Usage
from sequester.owner.sev_secret import Packet, named, table, unseal
from sequester.owner.sev_session import TransportKeys, shared_secret
from sequester.simulator.identity import Identity
from sequester.simulator.platform import SimulatedPlatform
from sequester.simulator.sev import SimulatedSev
from sequester.simulator.sev_platform import chain

pytestmark = pytest.mark.real_libvirt

ROOT = Path(__file__).parents[2]
TOOLS = (
    Path("/usr/bin/virt-qemu-sev-validate"),
    ROOT / ".cache/real/forky/usr/bin/virt-qemu-sev-validate",
)
KEYS = TransportKeys(b"e" * 16, b"i" * 16)
COMMAND_LINE = "console=ttyS0 quiet"


@dataclass(frozen=True)
class Peer:
    """The tool, run without libvirt: what it does offline needs none."""

    tool: Path
    files: Path

    def run(self, platform: SimulatedPlatform, *more: str) -> subprocess.CompletedProcess[str]:
        told = ask(platform, "query-sev")
        measurement = ask(platform, "query-sev-launch-measure")["data"]
        arguments = {
            "--measurement": measurement,
            "--api-major": told["api-major"],
            "--api-minor": told["api-minor"],
            "--build-id": told["build-id"],
            "--policy": told["policy"],
            "--firmware": self.files / "ovmf.fd",
            "--kernel": self.files / "kernel",
            "--initrd": self.files / "initrd",
            "--cmdline": COMMAND_LINE,
            "--tik": self.files / "tik.bin",
            "--tek": self.files / "tek.bin",
        }
        if told["policy"] & 4:
            arguments |= {"--num-cpus": 2, "--cpu-family": 25, "--cpu-model": 1, "--cpu-stepping": 1}
        words = [str(word) for pair in arguments.items() for word in pair]
        return subprocess.run(
            [sys.executable, str(self.tool), *words, *more],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, "PYTHONPATH": str(self.files / "stub")},
        )


@pytest.fixture
def peer(tmp_path: Path) -> Peer:
    pytest.importorskip("lxml")
    tool = next((tool for tool in TOOLS if tool.exists()), None)
    if tool is None:
        pytest.skip("no virt-qemu-sev-validate: install libvirt-clients-qemu, or make real-tools")
    (tmp_path / "stub").mkdir()
    (tmp_path / "stub/libvirt.py").touch()
    secret_area = {footer.SEV_SECRET: bytes.fromhex("0000800000100000")}
    (tmp_path / "ovmf.fd").write_bytes(image(extra=secret_area))
    (tmp_path / "kernel").write_bytes(b"kernel" * 999)
    (tmp_path / "initrd").write_bytes(b"initrd" * 777)
    (tmp_path / "tik.bin").write_bytes(KEYS.tik)
    (tmp_path / "tek.bin").write_bytes(KEYS.tek)
    (tmp_path / "passphrase").write_bytes(b"a passphrase")
    return Peer(tool, tmp_path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("identity")


def launched(peer: Peer, folder: Path, policy: int, command_line: str = COMMAND_LINE) -> SimulatedPlatform:
    owner = ec.derive_private_key(0x0E, ec.SECP384R1())
    pdh = chain(Identity(folder)).pdh
    session = KEYS.wrapped(shared_secret(owner, pdh.public_key()), policy, b"n" * 16, b"v" * 16)
    (peer.files / "session").write_bytes(b64encode(session))
    certificate = SevCertificate.of(Usage.PDH, owner.public_key())
    (peer.files / "godh").write_bytes(b64encode(certificate.pack()))
    append = command_line.replace(" ", "\0")
    words = (
        f"qemu-system-x86_64 -M q35,confidential-guest-support=s -accel kvm -cpu EPYC-Milan -smp 2 -m 1G"
        f" -bios {peer.files}/ovmf.fd -kernel {peer.files}/kernel -initrd {peer.files}/initrd -append {append}"
        f" -object sev-guest,id=s,cbitpos=51,reduced-phys-bits=1,policy={policy},kernel-hashes=on,"
        f"legacy-vm-type=on,dh-cert-file={peer.files}/godh,session-file={peer.files}/session"
    )
    platform = platform_of(words, "sev-es" if policy & 4 else "sev", folder)
    platform.begin()
    return platform


@pytest.mark.parametrize("policy", [1, 3, 7])
def test_libvirts_tool_trusts_the_simulated_measurement_and_its_secret_arrives(
    peer: Peer, folder: Path, policy: int
) -> None:
    platform = launched(peer, folder, policy)
    files = ["--secret-header", str(peer.files / "header"), "--secret-payload", str(peer.files / "payload")]
    done = peer.run(platform, "--inject-secret", f"luks-key:{peer.files}/passphrase", *files)
    assert done.returncode == 0, done.stderr
    header, payload = ((peer.files / name).read_text() for name in ("header", "payload"))
    assert ask(platform, "sev-inject-launch-secret", **{"packet-header": header, "secret": payload}) == {}
    ours = table({named("luks-key"): b"a passphrase"})
    assert isinstance(platform, SimulatedSev)
    assert platform.firmware.injected == [ours]
    seen = b64decode(ask(platform, "query-sev-launch-measure")["data"])
    assert unseal(KEYS, seen, Packet(b64decode(header), b64decode(payload))) == ours


def test_libvirts_tool_refuses_a_guest_with_another_command_line(peer: Peer, folder: Path) -> None:
    platform = launched(peer, folder, 1, "console=ttyS0 init=/bin/sh")
    done = peer.run(platform)
    assert done.returncode != 0
    assert "not match" in done.stdout + done.stderr
