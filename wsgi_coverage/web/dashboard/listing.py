"""The pages of files and functions of a report: sorted, filtered, in folders.

The server sorts and filters by the same parameters as the script in the browser does.

Concurrency: made for one answer.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any, NamedTuple
from urllib.parse import urlencode

from werkzeug.wrappers import Request, Response

from wsgi_coverage.control import Control
from wsgi_coverage.data import imported
from wsgi_coverage.model import Report
from wsgi_coverage.model.answers import Function
from wsgi_coverage.web import parameters
from wsgi_coverage.web.dashboard import folders, tree
from wsgi_coverage.web.dashboard.layout import page
from wsgi_coverage.web.dashboard.tree import Part

# Rows on one page. A browser lays out a few hundred at once, and thousands in a second.
FILES = 200
FUNCTIONS = 300
COPIED = 1_000  # functions in the field to copy from; the file has all
ORDERS = ("desc", "asc")
COLUMNS_OF_CSV = (
    "file",
    "name",
    "line",
    "statements",
    "covered",
    "runtime",
    "load_only",
    "ran",
    "first_seen",
    "last_seen",
    "seen_in",
    "seen_reason",
)


class Column(NamedTuple):
    """A column of the list of files."""

    key: str
    title: str
    meaning: str | None = None  # its key in the glossary
    is_share: bool = False  # a percentage, drawn with a bar
    in_tree: bool = True


FILE = Column("file", "File")
PLAIN = (
    Column("statements", "Statements", "Statements"),
    Column("missing", "Unused", "Unused"),
    Column("load_only", "Load only", "Load only"),
    Column("load", "Load", "Load", in_tree=False),
    Column("runtime", "Runtime", "Runtime", in_tree=False),
    Column("runtime_percent", "Runtime %", "Runtime coverage", is_share=True),
    Column("percent", "Executed %", "Executed", is_share=True),
)
BRANCHES = (
    Column("branches", "Branches", "Branches", in_tree=False),
    Column("partial_branches", "Partial", "Partial", in_tree=False),
    Column("branch_percent", "Taken %", "Branches taken", is_share=True),
)


def files(request: Request, control: Control, identity: str | None) -> Response:
    """GET /files as a page.

    Raises:
        NoReportError, UnknownSnapshotError: there is no such report.
        UnknownContextError: the report does not have the label that `context` names.
        BadParameterError: `view`, `sort`, `order` or `page` has another value than it may.
    """
    label = request.args.get("context") or None
    listed = tree.listed(control.files(identity, label=label))
    columns = (FILE, *PLAIN, *(BRANCHES if listed.has_branches else ()))
    view = parameters.choice(request, "view", ("tree", "list"))
    sort = parameters.choice(request, "sort", ("missing", *(each.key for each in columns)))
    order = parameters.choice(request, "order", ("asc", "desc") if sort == "file" else ORDERS)
    wanted, folder = request.args.get("q", ""), request.args.get("in", "")
    below = f"{folder}/" if folder else ""
    matches = matcher(wanted)
    parts = [
        part for part in listed.parts if part.path.startswith(below) and matches(part.path.lower())
    ]
    shown = ordered(parts, sort, order) if view == "list" else ()
    return page(
        request,
        control,
        "files.html",
        tab="files",
        identity=identity,
        common=listed.common,
        columns=columns,
        view=view,
        sort=sort,
        order=order,
        wanted=wanted,
        label=label,
        for_label=tree.for_label(label),
        folder=folder,
        count=len(parts),
        early=imported.warning({part.path for part in parts if part.imported_early}),
        rows=Pages.of(request, shown, FILES),
        branch=folders.branch(
            parts if view == "tree" else (),
            folder,
            lambda some: ordered(some, sort, order),
            is_open=bool(wanted),
        ),
        link=linker(request),
    )


class Pages(NamedTuple):
    """The rows of one page of a long list, and the numbers of its neighbours."""

    rows: Sequence[Any]
    first: int  # counted from 1
    total: int
    before: int | None  # the number of the previous page; None: this is the first one
    after: int | None

    @classmethod
    def of(cls, request: Request, rows: Sequence[Any], size: int) -> Pages:
        """Return the page that the parameter `page` asks for; the last one if it is too high.

        Args:
            request: has the parameter `page`, counted from 1.
            rows: the rows of all pages.
            size: rows on a page.

        Raises:
            BadParameterError: `page` is no whole number from 1 on.
        """
        last = max((len(rows) - 1) // size, 0) + 1
        number = min(parameters.number(request, "page", 1), last)
        start = (number - 1) * size
        return cls(
            rows=rows[start : start + size],
            first=start + 1,
            total=len(rows),
            before=number - 1 if number > 1 else None,
            after=number + 1 if number < last else None,
        )


def matcher(wanted: str) -> Callable[[str], bool]:
    """Return a function that tells whether a text contains all words of `wanted`."""
    words = wanted.lower().split()
    return lambda text: all(word in text for word in words)


def linker(request: Request) -> Callable[..., str]:
    """Return a function that makes links to this page with other parameters; None removes one."""
    given = {
        name: value
        for name, value in request.args.items()
        if name in ("view", "sort", "order", "q", "in", "unused", "unused_for", "context") and value
    }

    def link(**changes: str | None) -> str:
        names = {**given, **{name.rstrip("_"): value for name, value in changes.items()}}
        wanted = {name: value for name, value in names.items() if value}
        return f"?{urlencode(wanted, errors='surrogateescape')}"

    return link


def ordered(parts: Iterable[Part], sort: str, order: str) -> list[Part]:
    """Sort files or folders by one column; those whose value is not known come last."""
    if sort == "file":
        return sorted(parts, key=lambda part: part.path.lower(), reverse=order == "desc")
    known = [part for part in parts if getattr(part, sort) is not None]
    sign = -1 if order == "desc" else 1
    known.sort(key=lambda part: (sign * getattr(part, sort), part.path))
    unknown = [part for part in parts if getattr(part, sort) is None]
    return [*known, *unknown]


def functions(request: Request, control: Control, identity: str | None) -> Response:
    """GET /functions as a page.

    Raises:
        NoReportError, UnknownSnapshotError: there is no such report.
        UnknownContextError: the report does not have the label that `context` names.
        BadParameterError: `unused` or `page` has another value than it may.
    """
    unused = parameters.unused(request)
    label = request.args.get("context") or None
    report = control.report(identity)
    files = tree.listed(control.files(identity))
    found = wanted_functions(request, control, identity)
    pages = Pages.of(request, found, FUNCTIONS)
    return page(
        request,
        control,
        "functions.html",
        tab="functions",
        identity=identity,
        unused=unused,
        unused_for=parameters.unused_for(request),
        wanted=request.args.get("q", ""),
        label=label,
        for_label=tree.for_label(label),
        since=report.summary.get("since"),
        until=report.refreshed_at,
        count=len(found),
        # Of functions that are not listed, too: one that may have run is not among the unused.
        early=imported.warning(
            {part.path for part in files.by_name.values() if part.imported_early}
        ),
        counts=_counts(found),
        unknown=_why_unknown(report),
        statements=sum(each["statements"] for each in found),
        rows=pages,
        groups=[
            (files.by_name.get(name), name, list(group))
            for name, group in groupby(pages.rows, lambda each: each["file"])
        ],
        csv=as_csv(found) if len(found) <= COPIED else None,
        link=linker(request),
    )


def _counts(found: Iterable[Function]) -> dict[str | None, int]:
    """Count functions by `ran`, of those that did not run at runtime; None: it is not known."""
    return Counter(each.get("ran") for each in found if not each["runtime"])


def _why_unknown(report: Report) -> str | None:
    """Return why it is not known which functions ran at load only; None where it is known."""
    counted = report.summary.get("load_only_functions", 0)
    return report.summary.get("runtime_reason") if counted is None else None


def wanted_functions(request: Request, control: Control, identity: str | None) -> list[Function]:
    """Return the functions that a request asks for, by when they ran and by name."""
    found = control.functions(
        identity,
        unused=parameters.unused(request),
        unused_for=parameters.unused_for(request),
        label=request.args.get("context") or None,
    )
    if wanted := request.args.get("q", ""):
        matches = matcher(wanted)
        found = [each for each in found if matches(f"{each['file']} {each['name']}".lower())]
    return _by_file(found)


def _by_file(found: Iterable[Function]) -> list[Function]:
    """Sort functions by file, the file with the most statements in these functions first."""
    groups: dict[str, list[Function]] = {}
    for each in found:
        groups.setdefault(each["file"], []).append(each)
    ranked = sorted(groups.values(), key=lambda group: -sum(each["statements"] for each in group))
    return [each for group in ranked for each in group]


def as_csv(found: Iterable[Function]) -> str:
    """Return functions as comma-separated values, with a line of headings."""
    out = io.StringIO()
    writer: Any = csv.DictWriter(out, COLUMNS_OF_CSV, extrasaction="ignore", lineterminator="\r\n")
    writer.writeheader()
    writer.writerows({**each, "seen_in": " ".join(each.get("seen_in", ()))} for each in found)
    return out.getvalue()
