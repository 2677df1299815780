"""Numbers that people write are numbers within bounds, or are refused by a rule."""

from __future__ import annotations

import pytest

from wsgi_coverage.bounds import number, whole_number


@pytest.mark.parametrize(
    ("raw", "found"), [("0", 0), (" 1.5 ", 1.5), ("1e1", 10), (10, 10), (0.5, 0.5), ("-0", 0)]
)
def test_a_number_may_be_either_bound(raw: object, found: float) -> None:
    assert number(raw, 0, 10) == found


@pytest.mark.parametrize(
    "raw", ["", "x", "-1", "10.01", "nan", "inf", "-inf", True, None, b"1", [], 10**400, "9" * 5000]
)
def test_what_is_no_number_within_bounds_is_refused_by_the_rule(raw: object) -> None:
    with pytest.raises(ValueError, match=r"^must be 0 to 10 seconds$"):
        number(raw, 0, 10, "seconds")


@pytest.mark.parametrize(("raw", "found"), [("1", 1), ("65535", 65535), (f"{'0' * 5000}80", 80)])
def test_a_whole_number_is_decimal_digits(raw: str, found: int) -> None:
    assert whole_number(raw, 1, 65_535) == found


def test_a_whole_number_may_be_0() -> None:
    assert whole_number("000", 0, 9) == 0


@pytest.mark.parametrize(
    "raw", ["", "x", "-1", "+1", "1.0", "1_0", " 1", "²", "٣", "0", "65536", "9" * 5000]
)
def test_what_is_no_whole_number_within_bounds_is_refused_by_the_rule(raw: str) -> None:
    with pytest.raises(ValueError, match=r"^must be a port from 1 to 65535$"):
        whole_number(raw, 1, 65_535, "port")
