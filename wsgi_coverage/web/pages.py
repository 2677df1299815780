"""What the templates are given, and nothing more.

Templates autoescape, know no undefined names, and hold no logic beyond loops and tests. The
environment is made once and only read after that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

import jinja2

from wsgi_coverage.errors import WsgiCoverageError
from wsgi_coverage.model import Report

# A message is named in the address, never carried there.
NOTICES = {
    "refreshed": "The report is refreshed: it shows everything executed up to now.",
    "reset": "Everything is forgotten but the load: what runs from now on is counted.",
    "paused": "Measuring is paused: nothing that runs from now on is counted.",
    "resumed": "Measuring goes on.",
    "collected": "Collected; nothing was kept.",
    "snapshot": "The snapshot is taken.",
    "deleted": "The snapshot is deleted.",
}
TITLES = {401: "Who are you?", 403: "Not from there", 404: "Nothing here", 409: "Not now"}


def dashboard(
    report: Report | None,
    text: str | None,
    *,
    outdated: Sequence[str],
    snapshots: Sequence[Report],
    can_reset: bool,
    is_paused: bool,
    building: Mapping[str, Any] | None,
    notice: str | None,
    root: str,
) -> str:
    """The dashboard's page."""
    return _render(
        "dashboard.html",
        report=report,
        text=text,
        outdated=outdated,
        snapshots=snapshots,
        can_reset=can_reset,
        is_paused=is_paused,
        building=building,
        notice=NOTICES.get(notice or ""),
        root=root,
    )


def problem(error: WsgiCoverageError, *, root: str) -> str:
    """An error's page."""
    title = TITLES.get(error.status, "That did not work")
    return _render("problem.html", title=title, error=error, root=root)


def _render(name: str, **values: Any) -> str:
    text = _environment().get_template(name).render(**values)
    return text.encode("utf-8", "backslashreplace").decode()  # file names need not be UTF-8


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("wsgi_coverage.web"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["when"] = _when
    environment.filters["size"] = _size
    environment.filters["count"] = lambda number: f"{number:,}"
    return environment


def _when(iso: str) -> str:
    return datetime.fromisoformat(iso).strftime("%Y-%m-%d %H:%M:%S UTC")


def _size(octets: int) -> str:
    return f"{octets / 1024:,.0f} KiB"
