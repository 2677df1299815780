"""The pages of the snapshots and of a comparison of two reports.

Concurrency: made for one answer.
"""

from __future__ import annotations

from typing import Any

from werkzeug.wrappers import Request, Response

from wsgi_coverage.control import CURRENT, Control
from wsgi_coverage.line_ranges import ranges_of
from wsgi_coverage.model.answers import ComparedReport, Diff, DiffFile, Side
from wsgi_coverage.system.common_folder import common_folder
from wsgi_coverage.web.dashboard import layout
from wsgi_coverage.web.dashboard.layout import page
from wsgi_coverage.web.dashboard.tree import source_of
from wsgi_coverage.web.exports import FORMATS


def snapshots(request: Request, control: Control) -> Response:
    """GET /snapshots as a page: every snapshot, newest first."""
    listed = control.snapshots()
    return page(
        request,
        control,
        "snapshots.html",
        tab="snapshots",
        snapshots=listed,
        size=sum(each.size for each in listed),
        formats=FORMATS,
        current=layout.report(control),
    )


def diff(request: Request, control: Control, found: Diff) -> Response:
    """GET /diff as a page.

    Args:
        request: the request to answer.
        control: for the page layout.
        found: the result of `Control.diff`.
    """
    common = common_folder(each["file"] for each in found["files"])
    return page(
        request,
        control,
        "diff.html",
        tab="contexts" if found["a"]["context"] and found["b"]["context"] else "snapshots",
        a=found["a"],
        b=found["b"],
        branch=found["branch"],
        files=[_file(each, common, (found["a"], found["b"])) for each in found["files"]],
        only_a=sum(_lines(each["only_a"]) for each in found["files"]),
        only_b=sum(_lines(each["only_b"]) for each in found["files"]),
    )


def _file(
    file: DiffFile, common: str, sides: tuple[ComparedReport, ComparedReport]
) -> dict[str, Any]:
    sources = [_source(each, file["file"]) for each in sides]
    return {
        "path": str(file["file"]).replace("\\", "/").removeprefix(common),
        "reason": file.get("reason"),
        "sides": [_side(file["only_a"], sources[0]), _side(file["only_b"], sources[1])],
    }


def _source(of: ComparedReport, file: str) -> str:
    """Return the address of a file's source in one of the reports, below the dashboard's."""
    base = "" if of["id"] == CURRENT else f"snapshots/{of['id']}/"
    return f"{base}{source_of(file, of['context'])}"


def _side(only: Side | None, source: str) -> dict[str, Any]:
    only = only or {"lines": []}
    branches = only.get("branches") or ()
    return {
        "ranges": ranges_of(only["lines"]),
        "source": source,
        "count": len(only["lines"]),
        "branches": [f"{start}\u2192{end if end > 0 else 'exit'}" for start, end in branches],
    }


def _lines(only: Side | None) -> int:
    return 0 if only is None else len(only["lines"])
