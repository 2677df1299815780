"""How tests with made-up input run under hypothesis."""

from __future__ import annotations

from examples import ARE_RANDOM, EXAMPLES
from hypothesis import HealthCheck, settings

fuzzed = settings(
    max_examples=EXAMPLES,
    derandomize=not ARE_RANDOM,
    database=None,
    deadline=None,
    # A fixture is for all examples of a test.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
