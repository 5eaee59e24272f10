"""Event logs of guests: shown in words; evidence only beside a quote, whose registers say that a log is true."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sequester.evidence import criteria
from sequester.evidence.appraisal import Check, failed, passed
from sequester.evidence.collateral import Collateral
from sequester.evidence.event_log.log import looks_so
from sequester.evidence.policy import Policy
from sequester.evidence.policy_keys import Key

if TYPE_CHECKING:
    from sequester.evidence.event_log.show import Log
    from sequester.evidence.field import Field
    from sequester.platforms.limitation import HostTrustLimitation

NAME = "event-log"
PLATFORM = "tdx"
TITLE = "event log (CCEL)"
REGISTERS: Mapping[str, str] = {}
TCB_COMPONENTS = ()
POLICY_KEYS: Mapping[str, Key] = {}


def recognises(data: bytes) -> bool:
    """Tell whether bytes are a log."""
    return looks_so(data)


def parse(data: bytes, where: str) -> Log:
    """Read a log. Raises InputError naming the offset."""
    from sequester.evidence.event_log.show import read

    return read(data, where)


def claims(evidence: Log) -> Mapping[str, Any]:
    """Return the registers that a log gives."""
    from sequester.evidence.event_log.show import claims as told

    return told(evidence)


def fields(evidence: Log) -> Iterator[Field]:
    """Yield every event, without loss, in order."""
    from sequester.evidence.event_log.show import fields as told

    return told(evidence)


def appraise(evidence: Log, _collateral: Collateral, _policy: Policy, _now: datetime) -> Iterator[Check]:
    """Refuse a log that comes alone."""
    yield passed(criteria.FORM, f"{len(evidence.events)} events")
    yield failed(
        criteria.SIGNATURE,
        "nobody signs an event log",
        "a quote whose registers it gives",
        remedy="verify the guest's quote, and give the log with --collateral",
    )


def demands(_limitation: HostTrustLimitation) -> Mapping[str, Any]:
    """Ask nothing."""
    return {}
