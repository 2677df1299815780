"""Render templates, with the filters that they use; independent of requests.

Templates autoescape, fail on undefined names, and hold no logic beyond loops and tests.

Concurrency: any thread renders; the environment is made once and only read after that.
"""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any

import jinja2

from wsgi_coverage.errors import WsgiCoverageError
from wsgi_coverage.web.dashboard.glossary import GLOSSARY

# A redirect's URL has the key of a message, never its text, which anybody could choose.
NOTICES = {
    "refreshed": "The report is refreshed: it shows everything executed up to now.",
    "reset": "Coverage is reset to what ran at load; what runs from now on is counted.",
    "paused": "Measuring is paused: nothing that runs from now on is counted.",
    "resumed": "Measuring is resumed.",
    "combined": "A snapshot was made of others.",
    "collected": "A report was made for the answer; no snapshot is stored.",
    "snapshot": "The snapshot is taken.",
    "deleted": "The snapshot is deleted.",
    "forgotten": "The label is forgotten: the next report does not have it.",
}
TITLES = {  # by slug
    "unauthorized": "Authentication required",
    "too-many-attempts": "Too many failed logins",
    "untrusted-host": "Host not allowed",
    "cross-site": "Cross-site request refused",
    "not-found": "Not found",
    "no-report": "No report yet",
    "report-refused": "Published report refused",
    "report-damaged": "Report damaged",
    "unknown-context": "Label not found",
    "unknown-snapshot": "Snapshot not found",
    "method-not-allowed": "Method not allowed",
    "bad-request": "Malformed request",
    "bad-parameter": "Invalid parameter",
    "body-too-large": "Request body too large",
    "no-data": "Nothing measured yet",
    "no-source": "The source is not on this host",
    "not-ours": "Coverage not started by wsgi-coverage",
    "cannot-pause": "Measuring cannot be paused",
    "label-of-fleet": "A label of a fleet cannot be forgotten",
    "mixed-data": "Branches and statements cannot be combined",
    "source-versions": "Different versions of a source cannot be combined",
    "configuration": "Invalid coverage.py configuration",
    "snapshot-limit": "Too many snapshots",
    "build-failed": "Report could not be made",
    "coverage-changed": "coverage.py is not as expected",
    "history-too-short": "Days are not known for so long",
    "refresh-busy": "Another report is in progress",
    "store-unavailable": "The store of the fleet cannot be used",
    "not-measuring": "Measuring could not be started",
    "storage": "File cannot be opened or written",
    "disk-full": "Disk full",
    "read-only": "File system is read-only",
    "access-denied": "Permission denied",
    "path-blocked": "Something else is at a path that is needed",
    "no-descriptors": "Too many open files",
    "removed-meanwhile": "A folder was removed meanwhile",
}
FULL = 50  # steps of a bar


def problem(error: WsgiCoverageError, *, root: str) -> str:
    """Return the page of an error."""
    title = TITLES.get(error.slug, "Internal error")
    return render("problem.html", title=title, error=error, root=root)


def render(name: str, **values: Any) -> str:
    """Render a template.

    Args:
        name: the template's name.
        **values: the values that the template's first line names.
    """
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
    environment.filters.update(
        when=_when, size=_size, count=count, percent=percent, step=_step, seconds=_seconds
    )
    environment.globals["meaning"] = GLOSSARY
    return environment


def _when(iso: str) -> str:
    return datetime.fromisoformat(iso).strftime("%Y-%m-%d %H:%M:%S UTC")


def _size(octets: int) -> str:
    return f"{octets / 1024:,.0f} KiB" if octets < 10 * 1024**2 else f"{octets / 1024**2:,.0f} MiB"


def count(number: int | None) -> str:
    """Return a count as text; None stands for a count that is not known."""
    return "not known" if number is None else f"{number:,}"


def percent(number: float | None, at_least: str = "") -> str:
    """Return a percentage as text.

    Args:
        number: from 0 to 100; None: not known.
        at_least: a text before it.
    """
    return "not known" if number is None else f"{at_least}{number:g} %"


def _seconds(number: float) -> str:
    return f"{number:g} s"


def _step(percent: float) -> int:
    """Return the length of a bar in steps, each of which has a class in the stylesheet.

    As with the number beside it, only exactly 0 and 100 % are drawn as such.
    """
    if percent in (0, 100):
        return int(percent) * FULL // 100
    return min(max(round(percent * FULL / 100), 1), FULL - 1)
