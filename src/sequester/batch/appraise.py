"""Appraises many records: policy and collateral are the same for all, and chains are verified once for each worker."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from sequester.batch.records import Record
from sequester.batch.workers import in_order
from sequester.errors import InputError
from sequester.evidence.appraisal import Appraisal
from sequester.evidence.collateral import Collateral, is_collateral
from sequester.evidence.policy import Policy
from sequester.verifying import verify


@dataclass(frozen=True, slots=True)
class Held:
    """What every record is held against; `platform` is the one that all must be of, '' for any."""

    policy: Policy
    collateral: Collateral
    now: datetime
    platform: str = ""

    def against(self, record: Record) -> Appraisal:
        """Appraise a record. Raises InputError for one that cannot be read or whose challenge is another one's."""
        if record.fault is not None:
            code, text = record.fault
            raise InputError(text, code=code)
        policy = self.policy
        if record.report_data is not None:
            if policy.report_data not in (None, record.report_data):
                raise InputError(
                    "this record's report_data is not the policy's",
                    code="verify.contradiction",
                    where=record.name,
                    remedy="leave one of them out",
                )
            policy = replace(policy, report_data=record.report_data)
        return verify(record.data, policy, self.collateral, self.now, record.name, self.platform)


@dataclass(frozen=True, slots=True)
class Told:
    """One result: its line of JSON, and whether the evidence was accepted (None where it could not be read)."""

    line: str
    accepted: bool | None


def appraise(
    records: Iterable[Record], held: Held, tell: Callable[[Appraisal], dict[str, Any]], jobs: int
) -> Generator[Told, None, None]:
    """Yield the result of every record, in order. `tell` makes of an appraisal what is written as JSON.

    Collateral that was found in a folder has none.
    """
    yield from in_order(records, partial(_parcel, held, tell), jobs)


def _parcel(held: Held, tell: Callable[[Appraisal], dict[str, Any]], records: list[Record]) -> list[Told]:
    return [told for record in records if (told := _one(held, tell, record)) is not None]


def _one(held: Held, tell: Callable[[Appraisal], dict[str, Any]], record: Record) -> Told | None:
    import json

    try:
        appraisal = held.against(record)
    except InputError as error:
        if not record.named and is_collateral(record.data):
            return None
        told = {"name": record.name, "error": {"code": error.code, "text": str(error)}}
        return Told(json.dumps(told), None)
    return Told(json.dumps(tell(appraisal)), appraisal.accepted)
