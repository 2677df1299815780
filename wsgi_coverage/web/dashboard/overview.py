"""The overview page: the figures of the published report, the treemap, the chart over time.

Concurrency: made for one answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from werkzeug.wrappers import Request, Response

from wsgi_coverage.control import Control
from wsgi_coverage.errors import NoReportError
from wsgi_coverage.model import Report
from wsgi_coverage.web.dashboard import chart, tree, treemap_view
from wsgi_coverage.web.dashboard.layout import page
from wsgi_coverage.web.dashboard.pages import count, percent
from wsgi_coverage.web.dashboard.tree import Listed, Part
from wsgi_coverage.web.exports import FORMATS
from wsgi_coverage.web.negotiation import root

NO_FILES = Listed("", (), {}, has_branches=False)
POINTS = 40  # of the line of coverage
WORST = 8  # files and functions in the lists
# (class, width, height, boxes at most, units of a label): one is shown, by the window's width.
TREEMAPS = (("wide", 1180.0, 460.0, 140), ("narrow", 358.0, 420.0, 40))
CHARTS = (("wide", 1180.0, 180.0), ("narrow", 358.0, 170.0))


class Card(NamedTuple):
    """One headline figure."""

    name: str  # its key in the glossary
    value: str
    detail: str
    percent: float | None = None  # of a bar
    href: str | None = None


def overview(request: Request, control: Control) -> Response:
    """GET /: the figures of the published report, the treemap and the chart over time."""
    try:
        report, outdated = control.report(), control.outdated()
        files = tree.listed(control.files())
    except NoReportError:
        report, outdated, files = None, [], NO_FILES
    points = control.points(POINTS)
    return page(
        request,
        control,
        "overview.html",
        tab="",
        outdated=outdated,
        cards=_cards(report, control.count_workers()) if report else [],
        map=_map(request, files.parts, report),
        charts=[
            (name, chart.draw(points, width=width, height=height)) for name, width, height in CHARTS
        ],
        worst_files=sorted(
            (part for part in files.parts if part.missing), key=lambda part: -(part.missing or 0)
        )[:WORST],
        worst_functions=_worst_functions(report, files),
        formats=FORMATS,
    )


def _cards(report: Report, live: int | None) -> list[Card]:
    summary = report.summary
    workers = _workers(live, report)
    if summary["percent"] is None:
        files = Card("Files", f"{summary['files']:,}", "no data yet")
        return [Card("Executed", "no data yet", "nothing that is measured has run"), files, workers]
    statements, covered = summary["statements"], summary["covered"]
    runtime, load = summary.get("runtime"), summary.get("load")
    reason = summary.get("runtime_reason") or "this report lacks this figure"
    at_least = "at least " if summary.get("imported_early_files") else ""
    return [
        Card(
            "Runtime coverage",
            percent(summary.get("runtime_percent"), at_least),
            reason
            if summary.get("runtime_percent") is None
            else f"{runtime:,} of {runtime + summary['missing']:,} statements",
            summary.get("runtime_percent"),
            "files",
        ),
        Card(
            "Load coverage",
            "not known" if load is None else percent(_share(load, statements), at_least),
            reason if load is None else f"{load:,} of {statements:,} statements",
            None if load is None else _share(load, statements),
        ),
        Card(
            "Executed",
            percent(summary["percent"], at_least),
            f"{covered:,} of {statements:,} statements",
            summary["percent"],
        ),
        Card(
            "Functions never run",
            count(summary.get("unused_functions")),
            f"of {count(summary.get('functions'))}; {_at_load_only(summary, 'functions')}",
            href="functions?unused=1",
        ),
        Card(
            "Files",
            count(summary["files"]),
            f"{count(summary.get('unused_files'))} never ran; {_at_load_only(summary, 'files')}",
            href="files",
        ),
        workers,
    ]


def _at_load_only(summary: Mapping[str, Any], of: str) -> str:
    count = summary.get(f"load_only_{of}")
    if count is None:
        return "how many ran at load only is not known"
    return f"{count:,} ran at load only"


def _workers(live: int | None, report: Report) -> Card:
    in_it, hosts = len(report.workers), len({each.get("host") for each in report.workers})
    if hosts > 1:
        detail = f"live on this host; the report has {in_it} of {hosts} hosts"
    elif live != in_it:
        detail = f"live; the report has {in_it}"
    else:
        detail = "live, and in the report"
    return Card("Workers", count(live), detail, href="workers")


def _map(request: Request, parts: Sequence[Part], report: Report | None) -> dict[str, Any] | None:
    """Return the treemap of all sources or a folder; None where no statement is measured."""
    whole = tree.folder_of(parts)
    folder = tree.find(whole, request.args.get("in", "")) or whole
    if report is None or report.summary["percent"] is None or not folder.statements:
        return None
    knows_runtime = whole.runtime is not None

    def share(part: Part) -> float | None:
        return part.runtime_percent if knows_runtime else part.percent

    treemaps = [
        (
            name,
            treemap_view.draw(
                folder,
                width=width,
                height=height,
                limit=limit,
                share=share,
                root_path=root(request),
            ),
        )
        for name, width, height, limit in TREEMAPS
    ]
    shades = frozenset().union(*(drawn.shades for _, drawn in treemaps))
    return {
        "treemaps": treemaps,
        "legend": [
            each
            for each in treemap_view.LEGEND
            if each[0] in shades or each[0] not in treemap_view.RARE
        ],
        "knows_runtime": knows_runtime,
        "reason": whole.runtime_reason or "this report lacks this figure",
        "folder": folder,
        "above": _above(whole, folder),
        "key": "runtime_percent" if knows_runtime else "percent",
        "rows": [part for part in folder.parts[: treemap_view.ROWS] if part.statements],
    }


def _above(whole: Part, folder: Part) -> list[Part]:
    """Return the folders on the path to a folder, itself included."""
    out = []
    at: Part | None = whole
    while at is not None and at is not folder:
        at = next((each for each in at.parts if tree.find(each, folder.path) is folder), None)
        if at is not None:
            out.append(at)
    return out


def _worst_functions(report: Report | None, files: Listed) -> list[dict[str, Any]]:
    if report is None:
        return []
    found = report.summary.get("largest_unused", ())[:WORST]
    return [{**each, "part": files.by_name.get(each["file"])} for each in found]


def _share(part: int, whole: int) -> float:
    return tree.share(part, whole) or 0.0
