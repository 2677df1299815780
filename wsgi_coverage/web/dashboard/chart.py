"""The chart of coverage over time, as coordinates for a template.

No state.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from wsgi_coverage.model import Point

LEFT, RIGHT, ABOVE, BELOW = 46.0, 12.0, 10.0, 22.0  # units around the lines
STEPS = (1, 2, 5, 10, 25, 50)  # per cent between two lines of the grid


class Mark(NamedTuple):
    """The marker of one report in the chart."""

    x: float
    y: float
    percent: float
    point: Point


class Line(NamedTuple):
    """One percentage over all reports."""

    name: str
    shade: str
    runs: Sequence[str]  # the points of each polyline; a reset begins a new polyline
    marks: Sequence[Mark]


class Chart(NamedTuple):
    """The chart, with all that the template draws."""

    width: float
    height: float
    grid: Sequence[tuple[float, str]]  # y, and its label
    resets: Sequence[tuple[float, Point]]  # x
    lines: Sequence[Line]
    points: Sequence[Point]


def draw(points: Sequence[Point], *, width: float, height: float) -> Chart | None:
    """Return the chart of some points; None where there are fewer than two.

    Args:
        points: reports and resets, the oldest first.
        width, height: of the chart, in SVG units.
    """
    shown = [each for each in points if each.kind == "reset" or each.percent is not None]
    if sum(each.kind != "reset" for each in shown) < 2:
        return None
    values = [v for each in shown for v in (each.percent, each.runtime_percent) if v is not None]
    low, high, step = _range(min(values), max(values))
    across = (width - LEFT - RIGHT) / max(len(shown) - 1, 1)
    up = (height - ABOVE - BELOW) / (high - low)

    def x(number: int) -> float:
        return round(LEFT + number * across, 1)

    def y(percent: float) -> float:
        return round(ABOVE + (high - percent) * up, 1)

    def line(name: str, shade: str, key: str) -> Line:
        marks = [
            (each.kind, x(number), getattr(each, key), each) for number, each in enumerate(shown)
        ]
        runs = []
        for is_known, run in groupby(marks, lambda mark: mark[2] is not None):
            if is_known:
                runs.append(" ".join(f"{at},{y(value)}" for _, at, value, _ in run))
        known = [
            Mark(at, y(value), value, each) for _, at, value, each in marks if value is not None
        ]
        return Line(name, shade, runs, known)

    lines = [line("Executed", "executed", "percent"), line("Runtime", "runtime", "runtime_percent")]
    return Chart(
        width=width,
        height=height,
        grid=[(y(at), f"{at:g} %") for at in _levels(low, high, step)],
        resets=[(x(n), each) for n, each in enumerate(shown) if each.kind == "reset"],
        lines=[each for each in lines if each.marks],
        points=shown,
    )


def _range(lowest: float, highest: float) -> tuple[float, float, float]:
    """Return the lower and the upper end of the scale in per cent, and the step of its grid."""
    span = max(highest - lowest, 4.0)
    step = next((each for each in STEPS if span / each <= 4), STEPS[-1])
    low = max(lowest // step * step, 0.0)
    high = min(-(-highest // step) * step, 100.0)
    return (low, high, step) if high > low else (max(low - step, 0.0), min(low + step, 100.0), step)


def _levels(low: float, high: float, step: float) -> list[float]:
    count = int((high - low) / step + 0.5)
    return [low + step * number for number in range(count + 1) if low + step * number <= high]
