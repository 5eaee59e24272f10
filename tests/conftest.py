"""How the property tests choose their examples.

By default 100 each, new ones every time, and always the same ones where $CI is set, so that a change is judged by
itself. `make fuzz` tries a hundred times as many new ones.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("tests", parent=PATIENT, derandomize=bool(os.environ.get("CI")))
settings.register_profile("fuzz", parent=PATIENT, max_examples=10_000, derandomize=False, print_blob=True)
settings.load_profile("tests")
