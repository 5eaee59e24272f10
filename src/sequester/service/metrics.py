"""Counts of one process, in the text format of Prometheus (version 0.0.4)."""

from __future__ import annotations

from collections import Counter
from threading import Lock

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
"""Upper ends in seconds."""


class Metrics:
    """What this process answered so far. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._answers: Counter[tuple[str, str]] = Counter()
        self._failures: Counter[str] = Counter()
        self._refusals: Counter[str] = Counter()
        self._buckets = [0] * len(BUCKETS)
        self._seconds = 0.0
        self._count = 0

    def appraised(self, kind: str, accepted: bool, failures: tuple[str, ...], seconds: float) -> None:
        """Count one appraisal, with the codes of what failed."""
        with self._lock:
            self._answers[kind, "accepted" if accepted else "refused"] += 1
            self._failures.update(set(failures))
            self._seconds += seconds
            self._count += 1
            for number, end in enumerate(BUCKETS):
                self._buckets[number] += seconds <= end

    def refused(self, code: str) -> None:
        """Count a request that was not appraised."""
        with self._lock:
            self._refusals[code] += 1

    def text(self) -> str:
        """Return all of it."""
        with self._lock:
            lines = ["# TYPE sequester_appraisals_total counter"]
            lines += [
                f'sequester_appraisals_total{{kind="{kind}",outcome="{outcome}"}} {count}'
                for (kind, outcome), count in sorted(self._answers.items())
            ]
            lines.append("# TYPE sequester_failed_checks_total counter")
            lines += [
                f'sequester_failed_checks_total{{code="{code}"}} {count}'
                for code, count in sorted(self._failures.items())
            ]
            lines.append("# TYPE sequester_refused_requests_total counter")
            lines += [
                f'sequester_refused_requests_total{{code="{code}"}} {count}'
                for code, count in sorted(self._refusals.items())
            ]
            lines.append("# TYPE sequester_appraisal_seconds histogram")
            lines += [
                f'sequester_appraisal_seconds_bucket{{le="{end}"}} {count}'
                for end, count in zip(BUCKETS, self._buckets, strict=True)
            ]
            lines.append(f'sequester_appraisal_seconds_bucket{{le="+Inf"}} {self._count}')
            lines.append(f"sequester_appraisal_seconds_sum {self._seconds:.6f}")
            lines.append(f"sequester_appraisal_seconds_count {self._count}")
            return "\n".join(lines) + "\n"
