"""A measured launch on hardware, by a scripted QEMU: each step goes right, or ends in one error and nothing is left.

The steps: QEMU starts, its state, its measurement, the owner's answer, the secret, `cont`, the guest's life.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sequester.errors import GuestError, SequesterError
from sequester.formats.sources import from_argv
from sequester.owner.launch import Answer, Launch
from sequester.owner.sev_secret import Packet
from sequester.planning import make_plan
from sequester.run import launch as module
from sequester.run import measured, session
from sequester.run.directory import run_directory
from sequester.run.launch import Ended, Start, launch
from sequester.run.owner_check import OwnerCheck

FAKE = Path(__file__).with_name("fake_qemu.py")
PLATFORM = {"enabled": True, "api-major": 1, "api-minor": 55, "build-id": 21, "policy": 5, "handle": 1}
UPDATING, WAITING = ({**PLATFORM, "state": state} for state in ("launch-update", "launch-secret"))
MEASUREMENT = {"data": b64encode(bytes(range(48))).decode()}
GOOD = {"query-sev": [UPDATING, UPDATING, WAITING], "query-sev-launch-measure": MEASUREMENT}
SECRET = Packet(b"header" * 8, b"a secret that nobody may see....")


class Teller:
    """Keeps what is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.steps: list[str] = []
        self.answers: list[Answer | None] = []

    def step(self, what: str) -> None:
        self.steps.append(what)

    def warn(self, what: str) -> None:
        self.lines.append(what)

    def console(self, line: str) -> None:
        self.lines.append(line)

    def event(self, name: str, data: Mapping[str, Any]) -> None:
        self.lines.append(name)

    def decided(self, command: str, what: str) -> None:
        self.lines.append(what)

    def measured(self, launch: Launch, answer: Answer | None) -> None:
        self.answers.append(answer)

    @property
    def pids(self) -> list[int]:
        return [int(line.split()[1]) for line in self.lines if line.startswith("pid ")]


def says(answer: Answer) -> OwnerCheck:
    async def asked(launch: Launch) -> Answer:
        assert (launch.measurement, launch.policy, launch.simulated) == (bytes(range(48)), 5, False)
        return answer

    return asked


YES = says(Answer(True, "", SECRET))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    qemu = tmp_path / "qemu-system-x86_64"
    qemu.write_text(f'#!/bin/sh\nexec {sys.executable} {FAKE} "$@"\n')
    qemu.chmod(0o755)
    (tmp_path / "ovmf.fd").write_bytes(b"\xff" * 4096)
    words = f"{qemu} -M q35,confidential-guest-support=s -accel kvm -cpu EPYC -m 1G -bios {tmp_path}/ovmf.fd"
    words += " -object sev-guest,id=s,cbitpos=51,reduced-phys-bits=1,policy=5"
    plan = make_plan(from_argv(words.split()))

    def go(
        how: str, answers: Mapping[str, Any], owner: OwnerCheck | None = YES
    ) -> tuple[Teller, Ended | SequesterError]:
        monkeypatch.setenv("FAKE", how)
        monkeypatch.setenv("FAKE_ANSWERS", json.dumps(answers))
        teller = Teller()
        with run_directory("web", tmp_path / "base") as directory:
            try:
                outcome: Ended | SequesterError = asyncio.run(
                    launch(Start(plan, tuple(plan.argv()[0]), owner=owner), directory, teller)
                )
            except SequesterError as error:
                outcome = error
        assert not directory.path.exists()
        assert teller.pids
        for pid in teller.pids:
            assert not _alive(pid)
        return teller, outcome

    return go


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_the_owner_is_asked_once_the_measurement_is_there_and_the_secret_goes_in(run: Any) -> None:
    teller, outcome = run("end@cont", GOOD)
    assert outcome == Ended(0)
    assert [answer.accepted for answer in teller.answers] == [True]
    asked, given, booting = (
        teller.steps.index(step) for step in ("asking the owner", "giving the guest its secret", "booting")
    )
    assert asked < given < booting


def test_without_an_owner_the_measurement_is_told_and_the_guest_runs(run: Any) -> None:
    teller, outcome = run("end@cont", GOOD, None)
    assert outcome == Ended(0)
    assert teller.answers == [None]


async def _fails(launch: Launch) -> Answer:
    raise GuestError("the owner's service cannot be asked", code="owner.web")


@pytest.mark.parametrize(
    ("how", "answers", "owner", "says"),
    [
        ("die@start", GOOD, YES, "QEMU ended with status 1 before it answered: fake: gone at start"),
        ("crash@qmp_capabilities", GOOD, YES, "QEMU was killed by signal 11"),
        ("die@query-sev", GOOD, YES, "QEMU ended during query-sev: fake: gone at query-sev"),
        ("garbage@query-sev", GOOD, YES, "QEMU was lost during query-sev: QEMU sent something else than QMP"),
        (
            "",
            {"query-sev": {"error": {"class": "GenericError", "desc": "no SEV"}}},
            YES,
            "query-sev failed: no SEV",
        ),
        ("", {"query-sev": "nonsense"}, YES, "did not get to its measurement"),
        (
            "",
            {"query-sev": UPDATING},
            YES,
            "did not get to its measurement in 1 s: query-sev tells the state",
        ),
        ("die@query-sev-launch-measure", GOOD, YES, "QEMU ended during query-sev-launch-measure"),
        (
            "",
            {**GOOD, "query-sev-launch-measure": {"data": "AAAA"}},
            YES,
            "a launch measurement has 48 bytes, not 3",
        ),
        ("", {**GOOD, "query-sev-launch-measure": 7}, YES, "not those of a QEMU"),
        (
            "",
            GOOD,
            says(Answer(False, "another kernel")),
            "the owner refused the launch: another kernel",
        ),
        ("", GOOD, _fails, "the owner's service cannot be asked"),
        ("die@sev-inject-launch-secret", GOOD, YES, "QEMU ended during sev-inject-launch-secret"),
        (
            "",
            {
                **GOOD,
                "sev-inject-launch-secret": {
                    "error": {"desc": "SEV: failed to inject secret ret=-5 fw_error=11"}
                },
            },
            YES,
            "sev-inject-launch-secret failed: SEV: failed to inject secret",
        ),
        ("die@cont", GOOD, YES, "QEMU ended during cont: fake: gone at cont"),
        ("hang@cont", GOOD, YES, "QEMU did not answer to cont in 1 s"),
        ("hang@sev-inject-launch-secret", GOOD, YES, "QEMU did not answer to sev-inject-launch-secret"),
        ("die@booted", GOOD, YES, "QEMU ended with status 1: fake: gone at booted"),
        ("stray die@booted", GOOD, YES, "QEMU ended with status 1: fake: gone at booted"),
        ("child stubborn hang@cont", GOOD, YES, "QEMU did not answer to cont"),
    ],
)
def test_a_fault_at_any_step_is_one_error_and_leaves_nothing(
    run: Any,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    answers: Mapping[str, Any],
    owner: OwnerCheck,
    says: str,
) -> None:
    monkeypatch.setattr(measured, "STATE_SECONDS", 1.0)
    monkeypatch.setattr(session, "COMMAND_SECONDS", 1.0)
    teller, outcome = run(how, answers, owner)
    assert isinstance(outcome, SequesterError)
    assert says in str(outcome)
    assert "\n" not in str(outcome)
    told = " ".join([str(outcome), *teller.lines, *teller.steps])
    assert "a secret that nobody" not in told
    assert b64encode(SECRET.payload).decode() not in told


def test_a_qemu_that_dies_while_the_owner_thinks_ends_the_asking(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(launch: Launch) -> Answer:
        (pid,) = run_teller.pids
        os.kill(pid, 9)
        await asyncio.sleep(1000)
        raise AssertionError

    run_teller = Teller()
    monkeypatch.setattr(module, "os", os)
    monkeypatch.setattr(sys.modules[__name__], "Teller", lambda: run_teller)
    _, outcome = run("", GOOD, slow)
    assert "QEMU ended while the owner was asked" in str(outcome)


def test_a_wish_to_end_asks_the_guest_first(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POWERDOWN_SECONDS", 0.3)
    wishes = []
    real = module.Wish

    def wish() -> module.Wish:
        wishes.append(real())
        wishes[-1].end.set()
        return wishes[-1]

    monkeypatch.setattr(module, "Wish", wish)
    teller, outcome = run("end@system_powerdown", GOOD)
    assert outcome == Ended(0)
    teller, outcome = run("", GOOD)
    assert outcome == Ended(0)
    assert teller.steps[-1] == "the guest does not power off: ending it"
