"""The chart of coverage over time, as coordinates."""

import pytest

from wsgi_coverage.model import Point
from wsgi_coverage.web.dashboard import chart


def point(percent: float | None, runtime: float | None = None, kind: str = "refresh") -> Point:
    return Point(
        at="2026-01-01T00:00:00+00:00", kind=kind, percent=percent, runtime_percent=runtime
    )


RESET = point(None, kind="reset")


def draw(*points: Point) -> chart.Chart | None:
    return chart.draw(points, width=500, height=200)


@pytest.mark.parametrize("points", [(), (point(50),), (point(50), RESET), (point(None),) * 3])
def test_there_is_no_line_through_fewer_than_two_points(points: tuple[Point, ...]) -> None:
    assert draw(*points) is None


def test_marks_go_from_left_to_right_and_more_is_higher() -> None:
    drawn = draw(point(40), point(60), point(80))

    assert drawn is not None
    [line] = drawn.lines
    xs, ys = [mark.x for mark in line.marks], [mark.y for mark in line.marks]
    assert xs == sorted(xs)
    assert ys == sorted(ys, reverse=True)
    assert (xs[0], xs[-1]) == (chart.LEFT, 500 - chart.RIGHT)


def test_a_reset_and_what_is_not_known_interrupt_the_line() -> None:
    drawn = draw(point(40, 10), point(50, None), RESET, point(10, 5), point(20, 8))

    assert drawn is not None
    executed, runtime = drawn.lines
    assert [run.count(",") for run in executed.runs] == [2, 2]
    assert [run.count(",") for run in runtime.runs] == [1, 2]
    assert len(drawn.resets) == 1


@pytest.mark.parametrize(
    "values", [(0, 0), (100, 100), (50, 50), (0, 100), (99.99, 100), (0, 0.01), (37.5, 38), (3, 97)]
)
def test_every_mark_lies_within_the_grid(values: tuple[float, float]) -> None:
    drawn = draw(*(point(value) for value in values))

    assert drawn is not None
    levels = [y for y, _ in drawn.grid]
    assert 2 <= len(levels) <= 7
    for mark in drawn.lines[0].marks:
        assert min(levels) - 0.1 <= mark.y <= max(levels) + 0.1
    assert all(0 <= float(label.removesuffix(" %")) <= 100 for _, label in drawn.grid)
