"""How examples are made for the tests of properties."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Time is not what they test, and a machine may be busy. The same examples each time, so that a change is judged by what
# it changed; `--hypothesis-profile=explore` looks for new ones.
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=1000)
settings.register_profile(
    "repeatable", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True, database=None
)
settings.load_profile("repeatable")
