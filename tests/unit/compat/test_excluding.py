"""Patterns of lines to leave out: those that a source cannot match are not tried."""

import re
import sysconfig
from pathlib import Path

import coverage
import pytest

from wsgi_coverage.analysis.source import rules_of
from wsgi_coverage.compat.parsing import CONTAINED, that_may_match

PATTERNS = rules_of(coverage.Coverage(config_file=False).config, branch=False).exclude
SOURCES = """
def f(): ...
class P:
    def g(self) -> None: ...  # a stub
    def h(
        self,
    ) -> None:
        ...
if TYPE_CHECKING:
if typing.TYPE_CHECKING:
x = 1  # pragma: no cover
x = a[...]
x = 1
""".splitlines()


@pytest.mark.parametrize("pattern", CONTAINED)
def test_every_match_contains_what_is_looked_for(pattern: str) -> None:
    matches = [line for line in SOURCES if re.search(pattern, line, re.MULTILINE)]

    assert matches
    assert all(that_may_match([pattern], line) for line in matches)


def test_no_pattern_that_matches_is_left_out() -> None:
    tried = left_out = 0
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        text = path.read_text(encoding="utf-8")
        tries = that_may_match(PATTERNS, text)
        tried += len(tries)
        for pattern in {*PATTERNS} - {*tries}:
            left_out += 1
            assert not re.search(pattern, text, re.MULTILINE), (path, pattern)

    assert tried
    assert left_out > tried / 2


def test_patterns_of_the_configuration_are_all_tried() -> None:
    assert that_may_match(["def first", "x = .*"], "y = 1\n") == ["def first", "x = .*"]
