"""When code was seen to run."""

from __future__ import annotations

from datetime import date

import pytest

from wsgi_coverage.analysis.figures import Figures
from wsgi_coverage.analysis.seen import (
    NOT_RECORDED,
    OTHER_VERSION,
    SEVERAL,
    LinesOfDay,
    Seen,
    function_lines,
    mask_of,
    of_file,
    of_functions,
    seen,
)

MONDAY = date(2026, 11, 23).toordinal()
ISO = ["2026-11-23", "2026-11-24", "2026-11-25"]
F, G = ("function", "f", 1, [2, 0, 0, 0, 0, 0], 2), ("function", "g", 5, [1, 0, 1, 0, 0, 0], 0)
OUTSIDE = ("function", "", 0, [2, 0, 0, 0, 0, 0], 0)
FIGURES = Figures(
    counts=[5, 0, 1, 0, 0, 0],
    missing="",
    regions=[F, G, OUTSIDE],
    function_lines=[[[2, 3]], [[6, 6]]],
)


def ran(day: int, *lines: int, version: str = "now", release: str = "") -> LinesOfDay:
    bits = sum(1 << line for line in lines)
    return LinesOfDay(MONDAY + day, release, "app.py", version, version == "now", bits)


def test_the_first_and_the_last_day_and_releases() -> None:
    assert seen((MONDAY, MONDAY + 2), ["a", "", "b"], ran=True) == Seen(ISO[0], ISO[2], ("a", "b"))


@pytest.mark.parametrize(("has_run", "reason"), [(True, NOT_RECORDED), (False, None)])
def test_without_a_day_it_is_told_apart_whether_it_ran(has_run: bool, reason: str | None) -> None:
    assert seen(None, ran=has_run) == Seen(None, None, (), reason)


@pytest.mark.parametrize(
    ("unknown", "first", "last", "named"),
    [
        ((1, 1), ISO[1], ISO[1], None),
        ((0, 0), None, ISO[1], 0),
        ((2, 2), ISO[1], None, 2),
        ((0, 2), None, None, 2),
    ],
)
def test_days_that_may_be_the_first_or_last_make_that_unknown(
    unknown: tuple[int, int], first: str | None, last: str | None, named: int | None
) -> None:
    maybe = MONDAY + unknown[0], MONDAY + unknown[1]

    found = seen((MONDAY + 1, MONDAY + 1), unknown=maybe, ran=True)

    reason = None if named is None else OTHER_VERSION.format(ISO[named])
    assert found == Seen(first, last, (), reason)


def test_a_day_that_is_not_known_is_named_where_no_other_is() -> None:
    found = seen(None, unknown=(MONDAY, MONDAY + 1), ran=False)

    assert found == Seen(None, None, (), OTHER_VERSION.format(ISO[1]))


def test_a_function_has_the_days_of_its_own_lines() -> None:
    found = of_functions([ran(0, 2), ran(1, 4), ran(2, 3, 6)], FIGURES, {})

    assert found == {1: Seen(ISO[0], ISO[2]), 5: Seen(ISO[2], ISO[2])}


def test_a_function_is_found_in_another_version_by_its_name() -> None:
    known = {"app.py": {"before": {"f": [[12, 13]], "gone": [[2, 2]]}}}
    lines = [ran(0, 13, version="before", release="r1"), ran(1, 3, release="r2")]

    found = of_functions(lines, FIGURES, known)

    assert found[1] == Seen(ISO[0], ISO[1], ("r1", "r2"))
    assert found[5] == Seen(None, None)


def test_a_version_of_which_no_report_was_made_leaves_it_unknown() -> None:
    found = of_functions([ran(0, 13, version="before"), ran(1, 3)], FIGURES, {})

    assert found[1] == Seen(None, ISO[1], (), OTHER_VERSION.format(ISO[0]))
    assert found[5] == Seen(None, None, (), OTHER_VERSION.format(ISO[0]))


def test_functions_of_one_name_are_not_found_in_other_versions() -> None:
    twice = Figures(
        counts=FIGURES.counts,
        missing="",
        regions=[F, ("function", "f", 5, G[3], 0)],
        function_lines=FIGURES.function_lines,
    )
    known = {"app.py": {"before": {"f": [[2, 2]]}}}

    found = of_functions([ran(0, 2, version="before"), ran(1, 2)], twice, known)

    assert found[1] == Seen(None, ISO[1], (), OTHER_VERSION.format(ISO[0]))
    assert function_lines(twice) == {"f": SEVERAL}


def test_several_functions_of_one_name_in_another_version_leave_it_unknown() -> None:
    known = {"app.py": {"before": {"f": SEVERAL}}}

    found = of_functions([ran(0, 2, version="before"), ran(1, 3)], FIGURES, known)

    assert found[1] == Seen(None, ISO[1], (), OTHER_VERSION.format(ISO[0]))
    assert found[5] == Seen(None, None)


def test_a_file_has_the_days_of_any_line_in_any_version() -> None:
    lines = [ran(0, 40, version="before"), ran(2, 1)]

    assert of_file(lines, FIGURES) == Seen(ISO[0], ISO[2])
    assert of_file([], FIGURES) == Seen(None, None, (), NOT_RECORDED)


def test_lines_are_bits() -> None:
    assert mask_of([[1, 3], [5, 5]]) == 0b101110
