"""Choose which folders on the page of files show their content, so that few rows are sent.

Concurrency: made for one answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from wsgi_coverage.web.dashboard import tree
from wsgi_coverage.web.dashboard.tree import Part

ROWS = 300  # at most; folders beyond that are links to pages of their own
FEW = 60  # rows; if a filter leaves no more, all folders are open from the start

Order = Callable[[Iterable[Part]], Sequence[Part]]


class Row(NamedTuple):
    """A file, or a folder: with the rows of its content, or without as a link to them."""

    part: Part
    depth: int
    rows: list[Row]
    is_open: bool


class Branch(NamedTuple):
    """The rows below one folder."""

    rows: Sequence[Row]
    more: int  # rows that are left out


def branch(parts: Sequence[Part], path: str, order: Order, *, is_open: bool) -> Branch:
    """Return the rows below a folder.

    Args:
        parts: the files below the folder.
        path: the folder's path; empty for the common one.
        order: sorts folders, or files.
        is_open: show the content of folders from the start, if that is FEW rows at most.
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
    """Return the rows of a folder, its folders first."""
    inner = order(part for part in folder.parts if part.is_folder)
    files = order(part for part in folder.parts if not part.is_folder)
    return [Row(part, depth, [], is_open=False) for part in (*inner, *files)]
