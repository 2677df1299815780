"""The treemap view: files and folders as boxes for a template.

A box's area stands for its statements, its shade for the share of them that ran. The number of
boxes is bounded, so that they can be drawn and read: the largest folders are divided first, each
other folder is one box, and so are all parts together that are too small to be seen.

Concurrency: made for one answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from wsgi_coverage.web.dashboard.tree import Part
from wsgi_coverage.web.dashboard.treemap import Box, squarify

HEADING = 17.0  # units above the parts of an open folder
GAP = 1.5
ROWS = 100  # folders and files in the table below the treemap
SMALLEST = 260.0  # square units: the least area that a box should have
FEW = 6  # boxes that a folder may always be divided into, however small its share
OPEN_ABOVE = 12_000.0  # square units: a smaller folder is not divided
CHARACTER = 6.6  # units that a character of a label is wide, about
LABEL_HEIGHT = 15.0
UPPER_LIMITS = ((0.0, "s0"), (25.0, "s1"), (50.0, "s2"), (75.0, "s3"), (99.995, "s4"))
LEGEND = (
    ("s0", "0 %"),
    ("s1", "up to 25 %"),
    ("s2", "up to 50 %"),
    ("s3", "up to 75 %"),
    ("s4", "below 100 %"),
    ("s5", "100 %"),
    ("sl", "all at load"),
    ("sn", "not known"),
)
RARE = ("sl", "sn")  # shades that the legend shows only where the treemap has them


class Tile(NamedTuple):
    """One box of the treemap."""

    box: Box
    shade: str
    href: str | None
    label: str  # as much of its name as fits in
    figure: str  # the percentage; empty where it does not fit in
    title: str
    is_heading: bool  # a divided folder, whose parts are drawn on top of it


class TreemapView(NamedTuple):
    """A treemap, with all that the template draws."""

    width: float
    height: float
    tiles: Sequence[Tile]
    shades: frozenset[str]


@dataclass(slots=True)
class _Node:
    part: Part
    weight: float
    parts: list[_Node] = field(default_factory=list)  # of an open folder


Share = Callable[[Part], float | None]


def draw(
    root: Part, *, width: float, height: float, limit: int, share: Share, root_path: str
) -> TreemapView:
    """Return the treemap of a folder's content.

    Args:
        root: the folder.
        width, height: of the treemap, in SVG units.
        limit: boxes at most.
        share: the percentage that decides a box's shade; None: not known.
        root_path: the relative link from the page to the dashboard.
    """
    nodes = _chosen(root, width * height, limit)
    tiles: list[Tile] = []
    _place(nodes, Box(0.0, 0.0, width, height), tiles, _Ink(share, root_path, root))
    return TreemapView(width, height, tiles, frozenset(tile.shade for tile in tiles))


def shade_of(part: Part, percent: float | None) -> str:
    """Return the CSS class of a box."""
    if part.is_all_at_load:
        return "sl"
    if percent is None:
        return "sn"
    return next((shade for limit, shade in UPPER_LIMITS if percent <= limit), "s5")


def _chosen(root: Part, area: float, limit: int) -> list[_Node]:
    """Choose the parts that get a box: divide the largest folder until there are enough boxes."""
    unit = area / max(root.statements or 0, 1)
    top = _Node(root, float(root.statements or 0))
    top.parts = _nodes(root, limit, unit)
    count, closed = len(top.parts), list(top.parts)
    while closed:
        largest = max(closed, key=lambda node: node.weight)
        closed.remove(largest)
        space = limit - count
        if largest.weight * unit < OPEN_ABOVE or space < 1:
            break
        if largest.part.is_folder:
            fair = round(limit * largest.weight * unit / area)  # so that no folder takes all boxes
            largest.parts = _nodes(largest.part, min(space + 1, max(fair, FEW)), unit)
            count += len(largest.parts)
            closed += largest.parts
    return top.parts


def _nodes(folder: Part, limit: int, unit: float) -> list[_Node]:
    """Return nodes for a folder's parts that have statements, one for all small ones together."""
    parts = [part for part in folder.parts if part.statements]
    shown = [part for part in parts[:limit] if (part.statements or 0) * unit >= SMALLEST]
    rest = parts[len(shown) :]
    if len(rest) == 1:
        shown, rest = parts, []
    nodes = [_Node(part, float(part.statements or 0)) for part in shown]
    if rest:
        together = _together(rest, folder)
        at = next(
            (n for n, node in enumerate(nodes) if node.weight < (together.statements or 0)), None
        )
        node = _Node(together, float(together.statements or 0))
        nodes.insert(len(nodes) if at is None else at, node)
    return nodes


def _together(parts: Sequence[Part], folder: Part) -> Part:
    known = [part for part in parts if part.runtime is not None]
    is_known = len(known) == len(parts)
    files = sum(part.files for part in parts)
    return Part(
        name=f"{files:,} more files",
        path=folder.path,
        statements=sum(part.statements or 0 for part in parts),
        covered=sum(part.covered or 0 for part in parts),
        missing=sum(part.missing or 0 for part in parts),
        load=None,
        load_only=None,
        runtime=sum(part.runtime or 0 for part in known) if is_known else None,
        files=files,
    )


@dataclass(slots=True)
class _Ink:
    """Chooses the shade, label and link of each box."""

    share: Share
    root_path: str
    root: Part

    def tile(self, part: Part, box: Box, *, is_heading: bool) -> Tile:
        percent = self.share(part)
        figure = "" if percent is None else f"{percent:g} %"
        room = int((box.width - 8) / CHARACTER)
        fits = box.height >= LABEL_HEIGHT + 2 and room >= 4
        both = box.height >= 2 * LABEL_HEIGHT + 2 and room >= len(figure)
        return Tile(
            box=box,
            shade=shade_of(part, percent),
            href=self.href(part),
            label=_shortened(part.name, room) if fits else "",
            figure=figure if fits and both and not is_heading else "",
            title=self.title(part, figure),
            is_heading=is_heading,
        )

    def href(self, part: Part) -> str | None:
        if part.is_folder:
            return f"{self.root_path}?in={part.quoted}#treemap"
        if part.files > 1:
            return f"{self.root_path}files?in={part.quoted}&view=list"
        return f"{self.root_path}source/{part.quoted}" if part.has_source else None

    def title(self, part: Part, figure: str) -> str:
        name = part.path if part.path.endswith(part.name) else f"{part.path}: {part.name}"
        what = "all at load" if part.is_all_at_load else figure or "not known"
        unused = "" if part.missing is None else f", {part.missing:,} unused"
        load_only = f", {part.load_only:,} at load only" if part.load_only else ""
        files = f", {part.files:,} files" if part.is_folder else ""
        counts = f"{part.statements or 0:,} statements{unused}{load_only}{files}"
        return f"{name.lstrip(': ')}: {what} of {counts}"


def _place(nodes: Sequence[_Node], box: Box, tiles: list[Tile], ink: _Ink) -> None:
    for node, given in zip(nodes, squarify([node.weight for node in nodes], box), strict=True):
        inner = given.inside(GAP / 2)
        tiles.append(ink.tile(node.part, inner, is_heading=bool(node.parts)))
        if node.parts:
            has_heading = inner.height > 3 * HEADING and inner.width > 6 * CHARACTER
            _place(node.parts, inner.inside(2.0, above=HEADING if has_heading else 0.0), tiles, ink)


def _shortened(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[: room - 1]}\u2026"
