"""Metadata of reports that nobody has made."""

from typing import Any

from wsgi_coverage import clock
from wsgi_coverage.model import Report


def a_report(**fields: Any) -> Report:
    """A complete report of one worker, without figures, but for what is said."""
    common: dict[str, Any] = {
        "id": "a",
        "refreshed_at": clock.now_iso(),
        "duration_seconds": 0.1,
        "autosave_interval_seconds": 30.0,
        "summary": {"percent": None},
        "complete": True,
        "workers": ({"pid": 1},),
        "warnings": ("careful",),
        "collected": clock.now(),
    }
    return Report(**{**common, **fields})
