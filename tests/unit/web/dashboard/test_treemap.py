"""Squarified treemaps: nothing is left over, nothing overlaps, and boxes are nearly square."""

import itertools
import random

import pytest

from wsgi_coverage.web.dashboard.treemap import Box, squarify

WHOLE = Box(10.0, 20.0, 600.0, 400.0)


def weights(seed: int, count: int) -> list[float]:
    chooser = random.Random(seed)
    return sorted((chooser.lognormvariate(3, 1.5) for _ in range(count)), reverse=True)


def test_the_example_of_the_paper_is_laid_out_as_in_the_paper() -> None:
    boxes = squarify([6, 6, 4, 3, 2, 2, 1], Box(0, 0, 6, 4))

    assert [tuple(round(number, 2) for number in box) for box in boxes] == [
        (0, 0, 3, 2),
        (0, 2, 3, 2),
        (3, 0, 1.71, 2.33),
        (4.71, 0, 1.29, 2.33),
        (3, 2.33, 1.2, 1.67),
        (4.2, 2.33, 1.2, 1.67),
        (5.4, 2.33, 0.6, 1.67),
    ]


@pytest.mark.parametrize("count", [1, 2, 7, 150])
@pytest.mark.parametrize("seed", range(5))
def test_areas_are_as_weights_are(seed: int, count: int) -> None:
    given = weights(seed, count)

    boxes = squarify(given, WHOLE)

    unit = WHOLE.area / sum(given)
    assert [box.area for box in boxes] == pytest.approx([each * unit for each in given])


@pytest.mark.parametrize("seed", range(5))
def test_no_box_lies_outside_or_on_another(seed: int) -> None:
    boxes = squarify(weights(seed, 60), WHOLE)

    for box in boxes:
        assert box.x >= WHOLE.x - 1e-6
        assert box.y >= WHOLE.y - 1e-6
        assert box.x + box.width <= WHOLE.x + WHOLE.width + 1e-6
        assert box.y + box.height <= WHOLE.y + WHOLE.height + 1e-6
    for one, other in itertools.combinations(boxes, 2):
        across = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
        down = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
        assert min(across, down) < 1e-6


def test_boxes_of_like_weights_are_nearly_square() -> None:
    boxes = squarify([1.0] * 40, WHOLE)

    assert max(max(b.width / b.height, b.height / b.width) for b in boxes) < 1.8


def test_nothing_is_divided_among_nobody() -> None:
    assert squarify([], WHOLE) == []


@pytest.mark.parametrize("box", [Box(1, 2, 0, 5), Box(1, 2, 5, 0)])
def test_a_box_without_room_gives_boxes_without_room(box: Box) -> None:
    assert squarify([2, 1], box) == [Box(1, 2, 0, 0)] * 2
