"""What somebody puts among the data files that would hang a refresh, or the application."""

from __future__ import annotations

import contextlib
import os
import sqlite3

import coverage
import pytest

ENDLESS = (
    "with recursive r(n) as (select 1 union all select n + 1 from r) select n, 'x' || n from r"
)


def planted(project, *names):
    path = project.folder / ".coverage.planted"
    data = coverage.CoverageData(str(path))
    data.add_lines({str(project.folder / name): [1, 2] for name in names})
    data.close(force=True)
    return path


def a_view_that_never_ends(project):
    path = planted(project, "x.py")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(f"drop table file; create view file (id, path) as {ENDLESS}")
    return path


def a_pipe(project):
    path = project.folder / ".coverage.planted"
    os.mkfifo(path)
    return path


def a_source_that_is_a_pipe(project):
    planted(project, "pipe.py")
    os.mkfifo(project.folder / "pipe.py")
    return project.folder / "pipe.py"


@pytest.mark.parametrize("plant", [a_view_that_never_ends, a_pipe, a_source_that_is_a_pipe])
def test_a_refresh_names_it_and_reports_on_everything_else(project, routes, password, plant):
    routes.write(project)
    server = project.gunicorn("-w", "1", "--threads", "2", "served:application", env=password)
    server.get("/r0")
    path = plant(project)

    reports = [server.refresh(), server.refresh()]

    for report in reports:
        assert [warning for warning in report["warnings"] if str(path) in warning]
    assert server.exported()[routes.FILE] == routes.of(["/r0"])
