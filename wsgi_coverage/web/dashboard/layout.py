"""Render pages in the layout that all pages of the dashboard share, such as tabs and buttons.

Concurrency: made for one answer.
"""

from __future__ import annotations

import contextlib
from typing import Any

from werkzeug.wrappers import Request, Response

from wsgi_coverage.control import Control
from wsgi_coverage.errors import NoReportError
from wsgi_coverage.model import Report
from wsgi_coverage.web import negotiation
from wsgi_coverage.web.dashboard import pages

TABS = {
    "": "Overview",
    "files": "Files",
    "functions": "Functions",
    "contexts": "Labels",
    "snapshots": "Snapshots",
    "workers": "Workers",
    "health": "Health",
}
LINKS = {"functions": "functions?unused=1"}  # tabs whose link is not just their path


def page(
    request: Request,
    control: Control,
    name: str,
    *,
    tab: str,
    identity: str | None = None,
    **values: Any,
) -> Response:
    """Return a page of the dashboard as a response.

    Args:
        request: the request to answer.
        control: what the layout's values are read from.
        name: the template's name.
        tab: the tab that the page belongs to.
        identity: the id of the snapshot that it shows; None: the published report.
        **values: further values for the template.
    """
    text = pages.render(
        name,
        root=negotiation.root(request),
        base=base(request, identity),
        tab=tab,
        tabs=[(key, LINKS.get(key, key), title) for key, title in TABS.items()],
        snapshot=snapshot(control, identity),
        report=report(control),
        can_reset=control.can_reset,
        is_fleet=control.is_fleet,
        is_paused=control.is_paused,
        building=control.building(),
        notice=pages.NOTICES.get(request.args.get("notice", "")),
        **values,
    )
    return Response(text, mimetype="text/html", headers={"Vary": "Accept"})


def base(request: Request, identity: str | None) -> str:
    """Return the relative link from the page of a request to the report that it shows."""
    root = negotiation.root(request)
    return root if identity is None else f"{root}snapshots/{identity}/"


def report(control: Control) -> Report | None:
    """Return the published report's metadata; None where nothing is published."""
    with contextlib.suppress(NoReportError):
        return control.report()
    return None


def snapshot(control: Control, identity: str | None) -> Report | None:
    """Return a snapshot's metadata; None for the published report."""
    return None if identity is None else control.report(identity)
