"""Lay out squarified treemaps: nearly square rectangles with areas in proportion to weights.

The algorithm of Bruls, Huizing and van Wijk, Squarified Treemaps (2000). No state.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Box(NamedTuple):
    """A rectangle; x and y are its upper left corner."""

    x: float
    y: float
    width: float
    height: float

    @property
    def area(self) -> float:
        """Width times height, in square units of the treemap."""
        return self.width * self.height

    def inside(self, margin: float, *, above: float = 0.0) -> Box:
        """Return the rectangle without a margin on each side, and without a heading above."""
        return Box(
            self.x + margin,
            self.y + margin + above,
            max(self.width - 2 * margin, 0.0),
            max(self.height - 2 * margin - above, 0.0),
        )


def squarify(weights: Sequence[float], box: Box) -> list[Box]:
    """Divide a box completely among weights; return one box for each, in their order.

    Args:
        weights: positive; boxes are most nearly square where the largest come first.
        box: the box to divide.
    """
    total = sum(weights)
    if not weights or box.area <= 0:
        return [Box(box.x, box.y, 0.0, 0.0) for _ in weights]
    areas = [weight * box.area / total for weight in weights]
    out: list[Box] = []
    while len(out) < len(areas):
        row = _row(areas[len(out) :], min(box.width, box.height))
        boxes, box = _lay(row, box)
        out += boxes
    return out


def _row(areas: Sequence[float], side: float) -> list[float]:
    """Return as many of the first areas as make the boxes of one row most nearly square."""
    row = [areas[0]]
    for area in areas[1:]:
        if _worst([*row, area], side) > _worst(row, side):
            break
        row.append(area)
    return row


def _worst(row: Sequence[float], side: float) -> float:
    """Return the aspect ratio of the least square box of a row."""
    thickness = sum(row) / side
    return max(
        max(thickness * thickness / area, area / (thickness * thickness))
        for area in (row[0], row[-1])
    )


def _lay(row: Sequence[float], box: Box) -> tuple[list[Box], Box]:
    """Lay a row along the shorter side of a box; return its boxes, and the rest of the box."""
    along_height = box.width >= box.height
    side = box.height if along_height else box.width
    thickness = sum(row) / side
    boxes = [
        Box(box.x, box.y + at, thickness, length)
        if along_height
        else Box(box.x + at, box.y, length, thickness)
        for at, length in _lengths(row, thickness)
    ]
    if along_height:
        rest = Box(box.x + thickness, box.y, max(box.width - thickness, 0.0), box.height)
    else:
        rest = Box(box.x, box.y + thickness, box.width, max(box.height - thickness, 0.0))
    return boxes, rest


def _lengths(row: Sequence[float], thickness: float) -> Iterator[tuple[float, float]]:
    at = 0.0
    for area in row:
        length = area / thickness
        yield at, length
        at += length
