"""The pages of the labels of requests, and of what ran for one.

Concurrency: made for one answer.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from werkzeug.wrappers import Request, Response

from wsgi_coverage.control import Control
from wsgi_coverage.line_ranges import ranges_of
from wsgi_coverage.system.common_folder import common_folder
from wsgi_coverage.web import parameters
from wsgi_coverage.web.dashboard.layout import page
from wsgi_coverage.web.dashboard.listing import ORDERS, Pages, linker, matcher
from wsgi_coverage.web.dashboard.tree import source_of

LABELS = 200  # on one page
COLUMNS: dict[str, tuple[str, str | None]] = {  # title, and its key in the glossary, by key
    "label": ("Label", None),
    "requests": ("Requests", "Requests with it"),
    "files": ("Files", None),
    "lines": ("Lines", "Lines of a label"),
    "own_lines": ("Lines of it alone", "Lines of it alone"),
    "last": ("Last request", None),
}


def contexts(request: Request, control: Control, identity: str | None) -> Response:
    """GET /contexts as a page.

    Raises:
        NoReportError, UnknownSnapshotError: there is no such report.
        BadParameterError: `sort`, `order` or `page` has another value than it may.
    """
    sort = parameters.choice(request, "sort", tuple(COLUMNS))
    order = parameters.choice(request, "order", ("asc", "desc") if sort == "label" else ORDERS)
    wanted = request.args.get("q", "")
    matches = matcher(wanted)
    every: list[Any] = list(control.contexts(identity))  # `sort` is one of the keys
    found = [each for each in every if matches(each["label"].lower())]
    known = [each for each in found if each[sort] is not None]
    known.sort(key=lambda each: each[sort], reverse=order == "desc")
    rows = [*known, *(each for each in found if each[sort] is None)]
    return page(
        request,
        control,
        "contexts.html",
        tab="contexts",
        identity=identity,
        columns=COLUMNS,
        sort=sort,
        order=order,
        wanted=wanted,
        count=len(rows),
        total=len(every),
        rows=Pages.of(request, rows, LABELS),
        mode=control.label_mode,
        link=linker(request),
        quoted=quoted,
    )


def context(request: Request, control: Control, label: str, identity: str | None) -> Response:
    """GET /contexts/<label> as a page.

    Raises:
        NoReportError, UnknownSnapshotError: there is no such report.
        UnknownContextError: the report does not have the label.
    """
    found = control.context(label, identity)
    common = common_folder(each["file"] for each in found["files"])
    return page(
        request,
        control,
        "context.html",
        tab="contexts",
        identity=identity,
        found=found,
        lines=sum(len(each["lines"]) for each in found["files"]),
        files=[
            {
                "path": each["file"].replace("\\", "/").removeprefix(common),
                "count": len(each["lines"]),
                "ranges": ranges_of(each["lines"]),
                "source": source_of(each["file"], label),
            }
            for each in found["files"]
        ],
        common=common,
        quoted=quoted,
    )


def quoted(label: str) -> str:
    """Quote a label for an address, in which it is one part of the path or a value."""
    return quote(label, safe="")
