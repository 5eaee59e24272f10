"""SEV played: a session opens, a measurement is right, a secret arrives; each wrong one fails as in firmware."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from ovmf_images import image
from simulated import ask, plan_of, platform_of, random

from sequester.errors import GuestError
from sequester.firmware import footer
from sequester.measure.launch_measurement import matches
from sequester.measuring import measure
from sequester.owner.launch import Launch
from sequester.owner.sev_certificate import SevCertificate, Usage, ecdsa_verifies
from sequester.owner.sev_chain import SevChain, verify_chain
from sequester.owner.sev_secret import named, seal, table
from sequester.owner.sev_session import TransportKeys, shared_secret
from sequester.simulator.identity import Identity
from sequester.simulator.platform import QmpError, SimulatedPlatform
from sequester.simulator.sev import SimulatedSev
from sequester.simulator.sev_platform import API, BUILD, chain

OWNER = ec.derive_private_key(0x0E, ec.SECP384R1())
KEYS = TransportKeys(b"e" * 16, b"i" * 16)
SECRET = table({named("luks-key"): b"passphrase"})


@dataclass(frozen=True)
class Scene:
    """A guest's files, and the platform's folder."""

    files: Path
    folder: Path

    def write(self, session: bytes, certificate: bytes) -> None:
        (self.files / "session").write_bytes(b64encode(session))
        (self.files / "godh").write_bytes(b64encode(certificate))

    def command(self, policy: int, owned: bool = True) -> str:
        given = f",dh-cert-file={self.files}/godh,session-file={self.files}/session" if owned else ""
        return (
            f"qemu-system-x86_64 -M q35,confidential-guest-support=s -accel kvm -cpu EPYC-Milan -smp 2 -m 1G"
            f" -bios {self.files}/ovmf.fd"
            f" -object sev-guest,id=s,cbitpos=51,reduced-phys-bits=1,policy={policy}{given}"
        )

    def platform(self, policy: int = 1, owned: bool = True) -> SimulatedPlatform:
        limit = "sev-es" if policy & 4 else "sev"
        return platform_of(self.command(policy, owned), limit, self.folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("identity")


@pytest.fixture
def scene(tmp_path: Path, folder: Path) -> Scene:
    secret_area = {footer.SEV_SECRET: bytes.fromhex("0000800000100000")}
    (tmp_path / "ovmf.fd").write_bytes(image(extra=secret_area))
    return Scene(tmp_path, folder)


def owned(scene: Scene, policy: int, **changes: bytes) -> None:
    """Put an owner's session into the guest's files."""
    pdh = chain(Identity(scene.folder)).pdh
    session = KEYS.wrapped(shared_secret(OWNER, pdh.public_key()), policy, b"n" * 16, b"v" * 16)
    certificate = SevCertificate.of(Usage.PDH, OWNER.public_key()).pack()
    scene.write(changes.get("session", session), changes.get("certificate", certificate))


@pytest.mark.parametrize("policy", [1, 7])
def test_an_owner_checks_the_measurement_and_its_secret_arrives(scene: Scene, policy: int) -> None:
    owned(scene, policy)
    platform = scene.platform(policy)
    platform.begin()
    told = ask(platform, "query-sev")
    assert (told["state"], told["policy"], told["sev-type"]) == ("launch-secret", policy, "sev")
    seen = b64decode(ask(platform, "query-sev-launch-measure")["data"])
    digest = measure(plan_of(scene.command(policy), "sev-es" if policy & 4 else "sev")).digest
    assert matches(seen, digest, KEYS.tik, policy, API, BUILD)
    packet = seal(KEYS, seen[:32], SECRET, b"x" * 16)
    arguments = {
        "packet-header": b64encode(packet.header).decode(),
        "secret": b64encode(packet.payload).decode(),
    }
    assert ask(platform, "sev-inject-launch-secret", **arguments) == {}
    assert isinstance(platform, SimulatedSev)
    assert platform.firmware.injected == [SECRET]
    ask(platform, "cont")
    assert ask(platform, "query-sev")["state"] == "running"
    with pytest.raises(QmpError, match=r"SEV: Not in correct state\. \(LSECRET\) 3"):
        ask(platform, "sev-inject-launch-secret", **arguments)


def test_what_qemu_tells_of_the_platform_is_a_chain_that_holds(scene: Scene) -> None:
    platform = scene.platform(owned=False)
    told = ask(platform, "query-sev-capabilities")
    found = SevChain.told(told["pdh"], told["cert-chain"], "QMP")
    assert found.pdh.key == chain(Identity(scene.folder)).pdh.key
    assert all(step.holds for step in verify_chain(found).steps[:4])
    assert len(b64decode(told["cpu0-id"])) == 64
    assert (told["cbitpos"], told["reduced-phys-bits"]) == (51, 1)


def test_a_session_for_another_policy_is_refused_as_by_the_firmware(scene: Scene) -> None:
    owned(scene, 5)
    with pytest.raises(GuestError, match="LAUNCH_START ret=-5 fw_error=11 'Bad measurement'"):
        scene.platform(1).begin()


def test_a_session_for_another_platform_is_refused(scene: Scene) -> None:
    other = ec.derive_private_key(0x07E2, ec.SECP384R1())
    session = KEYS.wrapped(shared_secret(OWNER, other.public_key()), 1, b"n" * 16, b"v" * 16)
    owned(scene, 1, session=session)
    with pytest.raises(GuestError, match="fw_error=11"):
        scene.platform().begin()


@pytest.mark.parametrize(
    "certificate",
    [
        b"short",
        SevCertificate.of(Usage.PEK, OWNER.public_key()).pack(),
        bytes(2084),
        SevCertificate.of(Usage.PDH, OWNER.public_key()).pack()[:0x14] + bytes(2084 - 0x14),
    ],
)
def test_what_is_no_certificate_of_an_owner_is_refused(scene: Scene, certificate: bytes) -> None:
    owned(scene, 1, certificate=certificate)
    with pytest.raises(GuestError, match="fw_error=6 'Certificate is invalid'"):
        scene.platform().begin()


def test_a_newer_firmware_than_there_is_cannot_be_asked_for(scene: Scene) -> None:
    with pytest.raises(GuestError, match="fw_error=7 'Policy is not allowed'"):
        scene.platform(0x38020001, owned=False).begin()
    with pytest.raises(GuestError, match="fw_error=22 'Invalid parameter'"):
        scene.platform(0x41, owned=False).begin()


def test_a_file_that_is_not_there_is_qemus_own_error(scene: Scene) -> None:
    with pytest.raises(GuestError, match=r"SEV: Failed to read '.*godh' \(No such file"):
        scene.platform().begin()


def test_a_secret_for_another_launch_is_refused_and_the_next_one_taken(scene: Scene) -> None:
    owned(scene, 1)
    platform = scene.platform()
    platform.begin()
    seen = b64decode(ask(platform, "query-sev-launch-measure")["data"])
    for measurement, keys in ((bytes(32), KEYS), (seen[:32], TransportKeys(KEYS.tek, bytes(16)))):
        packet = seal(keys, measurement, SECRET, b"x" * 16)
        header, payload = b64encode(packet.header).decode(), b64encode(packet.payload).decode()
        with pytest.raises(
            QmpError, match="SEV: failed to inject secret ret=-5 fw_error=11 'Bad measurement'"
        ):
            ask(platform, "sev-inject-launch-secret", **{"packet-header": header, "secret": payload})
    good = seal(KEYS, seen[:32], SECRET, b"y" * 16)
    header, payload = b64encode(good.header).decode(), b64encode(good.payload).decode()
    assert ask(platform, "sev-inject-launch-secret", **{"packet-header": header, "secret": payload}) == {}


@pytest.mark.parametrize(
    ("header", "secret", "says"),
    [
        ("", "AAAA", "sequence header"),
        ("AAAA", "", "decode data"),
        ("AAAA", "AAAA", "fw_error=4"),
        ("%", "A", "header|data|fw_error"),
    ],
)
def test_what_is_no_packet_is_refused_with_qemus_words(
    scene: Scene, header: str, secret: str, says: str
) -> None:
    platform = scene.platform(owned=False)
    platform.begin()
    with pytest.raises(QmpError, match=says):
        ask(platform, "sev-inject-launch-secret", **{"packet-header": header, "secret": secret})


def test_without_a_secret_area_an_address_is_needed(scene: Scene) -> None:
    (scene.files / "ovmf.fd").write_bytes(image())
    platform = scene.platform(owned=False)
    platform.begin()
    with pytest.raises(QmpError, match="no secret area found in OVMF, gpa must be specified"):
        ask(platform, "sev-inject-launch-secret", **{"packet-header": "AAAA", "secret": "AAAA"})


def test_a_launch_without_an_owner_says_that_nobody_can_check_it(scene: Scene) -> None:
    platform = scene.platform(owned=False)
    platform.begin()
    assert "nobody has the key" in platform.notes[0]
    assert len(b64decode(ask(platform, "query-sev-launch-measure")["data"])) == 48


def test_a_report_is_signed_by_the_platform_and_has_the_callers_nonce(scene: Scene) -> None:
    platform = scene.platform(owned=False)
    platform.begin()
    nonce = random(16)
    report = b64decode(
        ask(platform, "query-sev-attestation-report", mnonce=b64encode(nonce).decode())["data"]
    )
    assert len(report) == 208
    assert report[:16] == nonce
    assert report[16:48] == measure(plan_of(scene.command(1, False), "sev")).digest
    pek = chain(Identity(scene.folder)).pek
    assert ecdsa_verifies(pek, report[:52], report[64:], 2)
    for wrong in ("AAAA", "*"):
        with pytest.raises(QmpError, match="mnonce"):
            ask(platform, "query-sev-attestation-report", mnonce=wrong)
    files = platform.evidence(nonce)
    assert list(files) == ["report.bin", "launch.json", "measurement.b64", "chain.cert"]
    launch = Launch.of(json.loads(files["launch.json"]), "launch.json")
    assert launch.simulated
    assert b64encode(launch.measurement) + b"\n" == files["measurement.b64"]
    assert SevChain.unpack(files["chain.cert"]).pek.key == pek.key


def test_it_cannot_be_migrated_once_it_runs(scene: Scene) -> None:
    platform = scene.platform(owned=False)
    platform.begin()
    assert ask(platform, "migrate", {}) == {}
    ask(platform, "cont")
    with pytest.raises(QmpError, match="SEV: Migration is not implemented"):
        ask(platform, "migrate")
