"""A domain whose launch security is the simulated SEV firmware: the owner's check and secret, as over real libvirt."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from simulated import ask, plan_of
from test_domain_launch import PlayedDomain, Told
from test_simulated_sev import KEYS, SECRET, Scene, folder, owned, scene  # noqa: F401 - fixtures

from sequester.errors import GuestError
from sequester.measuring import measure
from sequester.owner.launch import Answer, Launch
from sequester.owner.sev_secret import seal
from sequester.owner.sev_session import TransportKeys
from sequester.run import domain as run_domain
from sequester.run.domain import launch_domain
from sequester.run.launch import Wish
from sequester.simulator.platform import QmpError, SimulatedPlatform
from sequester.simulator.sev import SimulatedSev


def beside(platform: SimulatedPlatform, command: str, **arguments: str) -> Any:
    """Ask from a thread: libvirt's calls block, and the launch around them has an event loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(ask, platform, command, **arguments).result()


class SimulatedDomain(PlayedDomain):
    """What libvirt does of a SEV domain, done to the simulated platform."""

    def __init__(self, platform: SimulatedPlatform) -> None:
        super().__init__()
        self.platform = platform

    def launch_security(self) -> Mapping[str, Any]:
        told, measured = beside(self.platform, "query-sev"), beside(self.platform, "query-sev-launch-measure")
        numbers = {f"sev-{name}": told[name] for name in ("api-major", "api-minor", "build-id", "policy")}
        return {"sev-measurement": measured["data"], **numbers}

    def give_secret(self, header: str, secret: str) -> None:
        try:
            beside(self.platform, "sev-inject-launch-secret", **{"packet-header": header, "secret": secret})
        except QmpError as error:
            raise GuestError(
                "libvirt could not give a secret", code="libvirt.error", why=str(error)
            ) from None

    def resume(self) -> None:
        super().resume()
        beside(self.platform, "cont")


def owner_of(digest: bytes, policy: int, keys: TransportKeys) -> Any:
    async def owner(launch: Launch) -> Answer:
        launch.demand(digest, keys, policy)
        return Answer(True, secret=seal(keys, launch.measurement[:32], SECRET, b"x" * 16))

    return owner


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_domain, "LOOK_SECONDS", 0.001)


def launched(scene: Scene, policy: int, owner: Any) -> SimulatedSev:  # noqa: F811
    platform = scene.platform(policy)
    platform.begin()
    asyncio.run(launch_domain(SimulatedDomain(platform), True, "sev", owner, Told(), Wish()))
    assert isinstance(platform, SimulatedSev)
    return platform


def digest_of(scene: Scene, policy: int) -> bytes:  # noqa: F811
    return measure(plan_of(scene.command(policy), "sev-es" if policy & 4 else "sev")).digest


@pytest.mark.parametrize("policy", [1, 7])
def test_the_owner_recognises_the_launch_and_its_secret_is_opened(scene: Scene, policy: int) -> None:  # noqa: F811
    owned(scene, policy)
    platform = launched(scene, policy, owner_of(digest_of(scene, policy), policy, KEYS))
    assert platform.firmware.injected == [SECRET]
    assert ask(platform, "query-sev")["state"] == "running"


def test_other_firmware_is_not_the_owners_and_gets_nothing(scene: Scene) -> None:  # noqa: F811
    owned(scene, 1)
    meant = digest_of(scene, 1)
    path: Path = scene.files / "ovmf.fd"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    platform = scene.platform(1)
    platform.begin()
    domain = SimulatedDomain(platform)
    with pytest.raises(GuestError, match="not that of the guest that was meant"):
        asyncio.run(launch_domain(domain, True, "sev", owner_of(meant, 1, KEYS), Told(), Wish()))
    assert domain.calls[-1] == "destroy"
    assert "resume" not in domain.calls
    assert isinstance(platform, SimulatedSev)
    assert platform.firmware.injected == []
