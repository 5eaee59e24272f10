"""The launch of a domain, with a libvirt that is played: past its owner or not at all, and nothing is left."""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from sequester.errors import GuestError, InputError, SequesterError
from sequester.owner.launch import Answer, Launch
from sequester.owner.sev_secret import Packet
from sequester.run import domain as run_domain
from sequester.run.domain import launch_domain
from sequester.run.launch import Wish

MEASURED = {
    "sev-measurement": b64encode(bytes(range(48))).decode(),
    "sev-api-major": 1,
    "sev-api-minor": 55,
    "sev-build-id": 24,
    "sev-policy": 7,
}
PACKET = Packet(b"h" * 52, b"s" * 64)
Owner = Callable[[Launch], Awaitable[Answer]]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_domain, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(run_domain, "POWERDOWN_SECONDS", 0.05)


@dataclass
class PlayedDomain:
    """A domain that notes what is done to it. `fails` names calls that raise, `ends` how it ends once it runs."""

    name: str = "web"
    told: Mapping[str, Any] = field(default_factory=lambda: MEASURED)
    fails: tuple[str, ...] = ()
    ends: str | None = "shut down"
    obeys: bool = True
    now: str = "shut off"
    calls: list[str] = field(default_factory=list)

    def _do(self, call: str) -> None:
        self.calls.append(call)
        if call in self.fails:
            raise GuestError(f"libvirt could not {call}", code="libvirt.error")

    def start(self, paused: bool) -> None:
        self._do("start paused" if paused else "start")
        self.now = "paused" if paused else "running"

    def launch_security(self) -> Mapping[str, Any]:
        self._do("measure")
        return self.told

    def give_secret(self, header: str, secret: str) -> None:
        self._do("secret")
        assert (b64decode(header), b64decode(secret)) == (PACKET.header, PACKET.payload)

    def resume(self) -> None:
        self._do("resume")
        self.now = "running"

    def state(self) -> tuple[str, str]:
        if self.now == "running" and self.ends is not None:
            self.now = "shut off"
            return "running", ""
        return self.now, self.ends or "" if self.now == "shut off" else ""

    def shut_down(self) -> None:
        self._do("shut down")
        if self.obeys:
            self.now = "shut off"

    def destroy(self) -> None:
        self.calls.append("destroy")
        self.now = "shut off"


class Told:
    """Listens, and keeps what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.launches: list[tuple[Launch, Answer | None]] = []

    def step(self, what: str) -> None:
        self.lines.append(what)

    warn = console = step

    def event(self, name: str, data: Mapping[str, Any]) -> None:
        self.lines.append(f"{name} {dict(data)}")

    def decided(self, command: str, what: str) -> None:
        raise AssertionError

    def measured(self, launch: Launch, answer: Answer | None) -> None:
        self.launches.append((launch, answer))


def launched(
    domain: PlayedDomain, owner: Owner | None = None, measured: bool = True, wish: Wish | None = None
) -> Told:
    told = Told()
    asyncio.run(launch_domain(domain, measured, "sev", owner, told, wish or Wish()))
    return told


def says(answer: Answer) -> Owner:
    async def owner(launch: Launch) -> Answer:
        assert launch.told()["measurement"] == MEASURED["sev-measurement"]
        assert (launch.policy, launch.api, launch.build, launch.guest) == (7, (1, 55), 24, "web")
        return answer

    return owner


def test_a_launch_that_the_owner_accepts_gets_its_secret_before_it_runs() -> None:
    domain = PlayedDomain()
    told = launched(domain, says(Answer(True, secret=PACKET)))
    assert domain.calls == ["start paused", "measure", "secret", "resume"]
    assert told.lines[-1] == "ended: shut down"


def test_a_launch_without_an_owner_is_told_of_and_goes_on() -> None:
    domain = PlayedDomain()
    told = launched(domain)
    assert domain.calls == ["start paused", "measure", "resume"]
    assert told.launches[0][1] is None


def test_a_platform_without_a_measured_launch_just_starts() -> None:
    domain = PlayedDomain()
    launched(domain, measured=False)
    assert domain.calls == ["start"]


def test_a_launch_that_the_owner_refuses_never_runs() -> None:
    domain = PlayedDomain()
    with pytest.raises(GuestError, match="the owner refused the launch: not mine") as caught:
        launched(domain, says(Answer(False, "not mine")))
    assert caught.value.code == "owner.refused"
    assert domain.calls == ["start paused", "measure", "destroy"]


@pytest.mark.parametrize("call", ["start paused", "measure", "secret", "resume"])
def test_whatever_fails_nothing_is_left(call: str) -> None:
    domain = PlayedDomain(fails=(call,))
    with pytest.raises(GuestError, match=f"could not {call}"):
        launched(domain, says(Answer(True, secret=PACKET)))
    assert domain.calls[-1] == "destroy"
    assert domain.now == "shut off"


def test_an_owner_that_cannot_be_asked_is_a_no() -> None:
    async def gone(_launch: Launch) -> Answer:
        raise InputError("the owner's command cannot be run", code="owner.command")

    domain = PlayedDomain()
    with pytest.raises(InputError):
        launched(domain, gone)
    assert "resume" not in domain.calls
    assert domain.calls[-1] == "destroy"


@pytest.mark.parametrize("state", ["shut off", "running", "crashed"])
def test_a_domain_that_does_not_wait_for_its_owner_is_ended(state: str) -> None:
    domain = PlayedDomain(ends=None)

    async def slow(_launch: Launch) -> Answer:
        domain.now = state  # somebody else resumed it, or it died
        await asyncio.sleep(30)
        raise AssertionError

    with pytest.raises(GuestError, match=f"the domain is {state}, and its owner has not answered"):
        launched(domain, slow)
    assert domain.calls == ["start paused", "measure", "destroy"]


def test_a_domain_that_was_resumed_just_before_the_answer_gets_no_secret() -> None:
    domain = PlayedDomain(ends=None)

    async def late(_launch: Launch) -> Answer:
        domain.now = "running"
        return Answer(True, secret=PACKET)

    with pytest.raises(GuestError, match="has not answered"):
        launched(domain, late)
    assert "secret" not in domain.calls


@pytest.mark.parametrize(
    "told",
    [
        {},
        {**MEASURED, "sev-measurement": "AAAA"},
        {**MEASURED, "sev-measurement": "?"},
        {**MEASURED, "sev-policy": -1},
        {**MEASURED, "sev-build-id": "24"},
        {key: value for key, value in MEASURED.items() if key != "sev-api-major"},
    ],
)
def test_a_measurement_that_is_none_ends_the_launch(told: Mapping[str, Any]) -> None:
    domain = PlayedDomain(told=told)
    with pytest.raises(SequesterError):
        launched(domain, says(Answer(True)))
    assert domain.calls == ["start paused", "measure", "destroy"]


@pytest.mark.parametrize("end", ["crashed", "failed"])
def test_a_bad_end_is_an_error(end: str) -> None:
    with pytest.raises(GuestError, match=f"the domain {end}"):
        launched(PlayedDomain(ends=end), measured=False)


def test_a_wish_asks_the_guest_to_power_off() -> None:
    domain, wish = PlayedDomain(ends=None), Wish()
    wish.end.set()
    launched(domain, measured=False, wish=wish)
    assert domain.calls == ["start", "shut down"]


def test_a_guest_that_does_not_power_off_is_ended() -> None:
    domain, wish = PlayedDomain(ends=None, obeys=False), Wish()
    wish.end.set()
    told = launched(domain, measured=False, wish=wish)
    assert domain.calls == ["start", "shut down", "destroy"]
    assert told.lines[-1] == "ended: destroyed"


def test_an_interruption_while_the_owner_is_asked_leaves_nothing() -> None:
    domain = PlayedDomain(ends=None)

    async def interrupted() -> None:
        async def never(_launch: Launch) -> Answer:
            await asyncio.sleep(30)
            raise AssertionError

        task = asyncio.ensure_future(launch_domain(domain, True, "sev", never, Told(), Wish()))
        while "measure" not in domain.calls:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(interrupted())
    assert domain.calls[-1] == "destroy"
