"""The folders on the page of files, of which few show their content, so that few rows are sent.

Concurrency: made for one answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from wsgi_coverage.web.dashboard import tree
from wsgi_coverage.web.dashboard.tree import Part

ROWS = 300  # in all; what is in a folder beyond that is one link away
FEW = 60  # rows that are all open from the start, where something was looked for

Order = Callable[[Iterable[Part]], Sequence[Part]]


class Row(NamedTuple):
    """A file, or a folder that has its rows or is a link to them."""

    part: Part
    depth: int
    rows: list[Row]
    is_open: bool


class Branch(NamedTuple):
    """The rows below one folder."""

    rows: Sequence[Row]
    more: int  # rows that are left out


def branch(parts: Sequence[Part], path: str, order: Order, *, is_open: bool) -> Branch:
    """The rows below a folder.

    Args:
        parts: files, all of them below it.
        path: the folder's; empty for the common one.
        order: puts folders, or files, in order.
        is_open: show the content of folders from the start, if that is little.
    """
    whole = tree.folder_of(parts)
    top = (tree.find(whole, path) if path else None) or whole
    first = _rows(top, 0, order)
    shown = first[:ROWS]
    left, waiting = ROWS - len(shown), list(shown)
    while waiting:
        row = waiting.pop(0)
        if row.part.is_folder and len(row.part.parts) <= left:
            row.rows.extend(_rows(row.part, row.depth + 1, order))
            left -= len(row.rows)
            waiting += row.rows
    is_expanded = (is_open and ROWS - left <= FEW) or len(shown) < 3
    return Branch(
        [_expanded(row, deeply=is_open) for row in shown] if is_expanded else shown,
        len(first) - len(shown),
    )


def _expanded(row: Row, *, deeply: bool) -> Row:
    rows = [_expanded(each, deeply=True) for each in row.rows] if deeply else row.rows
    return row._replace(is_open=True, rows=rows)


def _rows(folder: Part, depth: int, order: Order) -> list[Row]:
    """The rows of a folder, its folders first."""
    inner = order(part for part in folder.parts if part.is_folder)
    files = order(part for part in folder.parts if not part.is_folder)
    return [Row(part, depth, [], is_open=False) for part in (*inner, *files)]
