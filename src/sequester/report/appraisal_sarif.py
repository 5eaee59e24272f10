"""Appraisals as SARIF 2.1.0: each failed check is a result, each criterion a rule."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from sequester import __version__
from sequester.evidence.appraisal import Appraisal, Check, Criterion
from sequester.report.criterion import markdown
from sequester.report.sarif import SCHEMA, VERSION, artifact, cut, is_file, pascal


def report(appraisals: Sequence[Appraisal]) -> str:
    """Return one SARIF log with one run."""
    broken = [(each, check) for each in appraisals for check in each.checks if check.failed]
    criteria = sorted({check.criterion for _, check in broken}, key=lambda criterion: criterion.code)
    index = {criterion.code: number for number, criterion in enumerate(criteria)}
    driver = {"name": "sequester", "semanticVersion": __version__, "version": __version__}
    run = {
        "tool": {"driver": {**driver, "rules": [_rule(criterion) for criterion in criteria]}},
        "artifacts": [{"location": artifact(each.name)} for each in appraisals if is_file(each.name)],
        "results": [result for each in appraisals for result in _results(each, index)],
    }
    return json.dumps({"$schema": SCHEMA, "version": VERSION, "runs": [run]}, indent=2) + "\n"


def _rule(criterion: Criterion) -> dict[str, Any]:
    return {
        "id": criterion.code,
        "name": pascal(criterion.title),
        "shortDescription": {"text": criterion.title},
        "fullDescription": {"text": cut(criterion.why)},
        "help": {"text": cut(criterion.remedy or criterion.why), "markdown": markdown(criterion)},
        "defaultConfiguration": {"level": "error"},
        "properties": {"tags": ["security", "confidential-computing"], "precision": "very-high"},
    }


def _results(appraisal: Appraisal, index: dict[str, int]) -> Iterator[dict[str, Any]]:
    seen: dict[str, int] = {}
    for check in appraisal.checks:
        if not check.failed:
            continue
        stem = hashlib.sha256(
            f"{check.code}\0{appraisal.name}\0{check.where}".encode(errors="surrogateescape")
        )
        print_of = stem.hexdigest()[:32]
        seen[print_of] = seen.get(print_of, 0) + 1
        yield {
            "ruleId": check.code,
            "ruleIndex": index[check.code],
            "level": "error",
            "message": {"text": _message(check)},
            "locations": [_location(appraisal, check)],
            "partialFingerprints": {"check/v1": f"{print_of}:{seen[print_of]}"},
        }


def _message(check: Check) -> str:
    said = [f"It does not hold that {check.criterion.title}: {check.found}"]
    if check.expected:
        said.append(f"Expected: {check.expected}")
    if check.remedy:
        said.append(check.remedy[:1].upper() + check.remedy[1:])
    return cut(" ".join(f"{each.rstrip('.')}." for each in said))


def _location(appraisal: Appraisal, check: Check) -> dict[str, Any]:
    label = check.where or appraisal.kind
    found: dict[str, Any] = {
        "logicalLocations": [
            {"name": label, "fullyQualifiedName": f"{appraisal.name}/{label}", "kind": "member"}
        ]
    }
    if is_file(appraisal.name):
        found["physicalLocation"] = {"artifactLocation": artifact(appraisal.name)}
    return found
