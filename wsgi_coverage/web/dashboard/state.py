"""The pages of GET /workers and GET /health.

Concurrency: made for one answer.
"""

from __future__ import annotations

from typing import Any, cast

from werkzeug.wrappers import Request, Response

from wsgi_coverage.control import Control
from wsgi_coverage.model import Gathering
from wsgi_coverage.model.answers import Health
from wsgi_coverage.web.dashboard.layout import page

FACTS = (
    ("coverage_version", "coverage.py"),
    ("data_file", "Data file, as configured"),
    ("data_folder", "Folder of the data files"),
    ("cache_dir", "Folder of the reports"),
    ("snapshot_dir", "Folder of the snapshots"),
)
OWNERSHIP = {
    "ours": "wsgi-coverage started it",
    "process-start": "coverage.py started it with the process, for wsgi-coverage to use",
    "foreign": "coverage run or a test runner started it: it can be read, but not paused or reset",
}


def workers(request: Request, control: Control, gathering: Gathering) -> Response:
    """GET /workers as a page."""
    return page(
        request,
        control,
        "workers.html",
        tab="workers",
        workers=gathering.workers,
        complete=gathering.complete,
        measuring=control.measuring,
    )


def health(request: Request, control: Control, found: Health) -> Response:
    """GET /health as a page."""
    return page(
        request,
        control,
        "health.html",
        tab="health",
        health=found,
        ownership=OWNERSHIP[found["ownership"]],
        facts=[(title, cast(dict[str, Any], found)[name]) for name, title in FACTS],
    )
