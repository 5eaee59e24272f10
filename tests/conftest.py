"""How many examples the property tests try: 100 by default, a hundred times as many with `make fuzz`."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("fuzz", parent=settings.get_profile("tests"), max_examples=10_000, print_blob=True)
settings.load_profile("tests")
