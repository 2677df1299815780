"""Line numbers as ranges, and back."""

import pytest

from wsgi_coverage.line_ranges import lines_of, ranges_of, shown


@pytest.mark.parametrize(
    ("lines", "ranges", "text"),
    [
        ([], [], ""),
        ([7], [[7, 7]], "7"),
        ([3, 4, 5, 8], [[3, 5], [8, 8]], "3-5, 8"),
        ([1, 3, 5, 6], [[1, 1], [3, 3], [5, 6]], "1, 3, 5-6"),
    ],
)
def test_lines_are_ranges_and_ranges_lines(
    lines: list[int], ranges: list[list[int]], text: str
) -> None:
    assert ranges_of(lines) == ranges
    assert lines_of(ranges) == {*lines}
    assert shown(lines) == text
