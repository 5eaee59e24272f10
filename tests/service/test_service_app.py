"""The service gives the answers of `verify`, within its limits, whatever it is sent."""

from __future__ import annotations

import asyncio
import json
import time
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

import pytest
from asgi import Answer, ask

from sequester.batch.appraise import Held
from sequester.batch.records import Record
from sequester.evidence.appraisal import Appraisal
from sequester.evidence.collateral import Collateral
from sequester.evidence.policy import Policy
from sequester.report.appraisal_json import told_of
from sequester.service.app import Limits, application
from sequester.simulator.identity import Identity
from sequester.simulator.snp_chain import Chip, chip
from sequester.simulator.snp_report import Report

pytest.importorskip("starlette")

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
MEASUREMENT = bytes(range(48))


@pytest.fixture(scope="module")
def milan(tmp_path_factory: pytest.TempPathFactory) -> Chip:
    return chip(Identity(tmp_path_factory.mktemp("identity")), "Milan", NOW)


@pytest.fixture(scope="module")
def report(milan: Chip) -> bytes:
    told = Report(
        MEASUREMENT, 0x30000, b"nonce", b"i" * 32, milan.chip_id, milan.tcb, (1, 58, 3), 0x25, 0xA00F11
    )
    return told.signed(milan.key)


@pytest.fixture
def app(milan: Chip) -> Any:
    return make(milan)


def make(milan: Chip, limits: Limits | None = None, **asked: Any) -> Any:
    policy = Policy(simulated=True, measurements={"measurement": (MEASUREMENT,)}, **asked)
    held = Held(policy, Collateral(tuple(milan.files.values())), NOW)
    return application(held, told_of, lambda: NOW, limits)


def post(app: Any, *parts: bytes, **more: Any) -> Answer:
    return asyncio.run(ask(app, "POST", "/v1/appraisals", *parts, **more))


def test_evidence_as_it_is_gets_its_appraisal(app: Any, report: bytes) -> None:
    answer = post(app, report[:100], report[100:])
    assert answer.status == 200
    assert (answer.json["accepted"], answer.json["simulated"]) == (True, True)
    assert answer.json["claims"]


def test_refused_evidence_is_an_answer_too(app: Any, report: bytes) -> None:
    damaged = report[:0x95] + bytes((report[0x95] ^ 1,)) + report[0x96:]
    answer = post(app, damaged)
    assert answer.status == 200
    assert answer.json["accepted"] is False
    failed = {check["code"] for check in answer.json["checks"] if check["outcome"] == "failed"}
    assert {"EV201", "EV602"} <= failed


@pytest.mark.parametrize("challenge", [b"nonce", b"other"])
def test_a_challenge_is_asked_for_in_either_form(app: Any, report: bytes, challenge: bytes) -> None:
    told = json.dumps({"evidence": b64encode(report).decode(), "report_data": challenge.hex()}).encode()
    in_json = post(app, told, content_type="application/json; charset=utf-8")
    as_is = post(app, report, query=f"report_data={challenge.hex()}")
    assert in_json.json["accepted"] is as_is.json["accepted"] is (challenge == b"nonce")


def test_a_request_cannot_ask_for_another_challenge_than_the_policy(milan: Chip, report: bytes) -> None:
    app = make(milan, report_data=b"mine")
    answer = post(app, report, query="report_data=" + b"nonce".hex())
    assert (answer.status, answer.json["code"]) == (400, "verify.contradiction")


@pytest.mark.parametrize(
    ("body", "content_type", "code"),
    [
        (b"", "application/octet-stream", "evidence.unknown"),
        (b"x" * 99, "application/octet-stream", "evidence.unknown"),
        (b"{", "application/json", "evidence.syntax"),
        (b"[" * 50_000, "application/json", "evidence.syntax"),
        (b'{"evidence": "*"}', "application/json", "evidence.syntax"),
        (b'{"evidence": "AAAA", "debug": "true"}', "application/json", "evidence.syntax"),
        (b'{"evidence": "AAAA", "name": "\\ud800"}', "application/json", "evidence.unknown"),
    ],
)
def test_what_is_no_evidence_is_told_so(app: Any, body: bytes, content_type: str, code: str) -> None:
    answer = post(app, body, content_type=content_type)
    assert (answer.status, answer.json["code"]) == (400, code)
    assert answer.json["schema"] == "sequester-error/1"


def test_more_than_the_limit_is_refused_said_or_not(milan: Chip) -> None:
    app = make(milan, Limits(body=1000))
    assert post(app, b"x", length="1001").status == 413
    assert post(app, b"x", length="-5").status == 413
    assert post(app, b"x" * 600, b"x" * 600).status == 413


def test_a_request_that_does_not_arrive_is_given_up(milan: Chip) -> None:
    app = make(milan, Limits(arrival=0.05))
    assert post(app, *[b"x"] * 50, pause=0.02).status == 408
    assert post(app, b"x", leave=True).status == 400


def test_too_many_at_once_are_told_to_come_again(milan: Chip, report: bytes) -> None:
    app = make(milan, Limits(at_once=1))

    async def crowd() -> list[Answer]:
        return await asyncio.gather(
            *(ask(app, "POST", "/v1/appraisals", report, pause=0.05) for _ in range(6))
        )

    answers = asyncio.run(crowd())
    busy = [answer for answer in answers if answer.status == 503]
    assert len(busy) == 4
    assert all(answer.headers["retry-after"] == "1" for answer in busy)
    assert post(app, report).status == 200


def test_an_appraisal_that_takes_too_long_does_not_keep_its_client(
    milan: Chip, report: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(self: Held, record: Record) -> Appraisal:
        time.sleep(0.3)
        raise AssertionError

    app = make(milan, Limits(answer=0.05))
    monkeypatch.setattr(Held, "against", slow)
    answer = post(app, report)
    assert (answer.status, answer.json["code"]) == (503, "service.slow")


def test_health_and_metrics_tell_what_happened(app: Any, report: bytes) -> None:
    assert asyncio.run(ask(app, "GET", "/health", b"")).json == {"status": "ok"}
    post(app, report)
    post(app, report[:0x95] + b"\xff" + report[0x96:])
    post(app, b"nothing")
    text = asyncio.run(ask(app, "GET", "/metrics", b"")).body.decode()
    assert 'sequester_appraisals_total{kind="snp-report",outcome="accepted"} 1' in text
    assert 'sequester_appraisals_total{kind="snp-report",outcome="refused"} 1' in text
    assert 'sequester_failed_checks_total{code="EV201"} 1' in text
    assert 'sequester_refused_requests_total{code="evidence.unknown"} 1' in text
    assert "sequester_appraisal_seconds_count 2" in text


def test_other_paths_and_methods_are_refused(app: Any) -> None:
    assert asyncio.run(ask(app, "GET", "/v1/appraisals", b"")).status == 405
    assert asyncio.run(ask(app, "POST", "/", b"")).status == 404
