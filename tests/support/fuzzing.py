"""How tests with made-up input run: few examples, always the same; many, by `nox -s fuzz`."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

VARIABLE = "FUZZ_EXAMPLES"  # how many for each test; random ones then

fuzzed = settings(
    max_examples=int(os.environ.get(VARIABLE, "60")),
    derandomize=VARIABLE not in os.environ,
    database=None,
    deadline=None,
    # A fixture is for all examples of a test.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
