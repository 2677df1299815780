"""Convert line numbers to ranges and back: 3, 5-8, 12. No state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def ranges_of(lines: Iterable[int]) -> list[list[int]]:
    """Return the first and the last line of each range of consecutive lines.

    Args:
        lines: line numbers in ascending order.
    """
    out: list[list[int]] = []
    for line in lines:
        if out and out[-1][1] == line - 1:
            out[-1][1] = line
        else:
            out.append([line, line])
    return out


def lines_of(ranges: Iterable[Sequence[int]]) -> set[int]:
    """Return the lines of ranges that `ranges_of` has returned."""
    return {line for first, last in ranges for line in range(first, last + 1)}


def shown(lines: Iterable[int]) -> str:
    """Format lines as a text such as `3-5, 8`.

    Args:
        lines: line numbers in ascending order.
    """
    return ", ".join(
        f"{first}" if first == last else f"{first}-{last}" for first, last in ranges_of(lines)
    )
