"""Appraisals as JSON: stable and versioned."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sequester.evidence.appraisal import Appraisal, Check

SCHEMA = "sequester-appraisal/1"


def report(appraisals: Sequence[Appraisal], now: datetime, unread: Mapping[str, str] | None = None) -> str:
    """Return appraisals made at a time (schema `SCHEMA`); `unread` says by name what is no evidence, and why."""
    told = {
        "schema": SCHEMA,
        "time": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "accepted": bool(appraisals) and not unread and all(each.accepted for each in appraisals),
        "evidence": [told_of(each) for each in appraisals],
    }
    if unread:
        told["unread"] = [{"name": name, "error": why} for name, why in unread.items()]
    return json.dumps(told, indent=2) + "\n"


def told_of(appraisal: Appraisal) -> dict[str, Any]:
    """Return one appraisal as JSON holds it; a line of JSON Lines is just this."""
    return {
        "name": appraisal.name,
        "kind": appraisal.kind,
        "platform": appraisal.platform,
        "accepted": appraisal.accepted,
        "simulated": appraisal.simulated,
        "checks": [_check(check) for check in appraisal.checks],
        "claims": dict(appraisal.claims),
    }


def _check(check: Check) -> dict[str, Any]:
    told: dict[str, Any] = {
        "code": check.code,
        "title": check.criterion.title,
        "outcome": check.outcome.value,
        "found": check.found,
    }
    if check.failed:
        told["expected"] = check.expected
        told["remedy"] = check.remedy
    if check.where:
        told["where"] = check.where
    return told
