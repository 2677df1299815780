"""Workers that change their user after the start, as gunicorn's do for `--user`."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from e2e_servers import lines_in

DASHBOARD = "/debug/coverage"


@pytest.fixture(autouse=True)
def open_to_nobody(project):
    """Let the user nobody read the project, where there is a Python that nobody may run."""
    if os.geteuid():
        pytest.skip("needs root")
    # By way of env: setpriv itself still has root's capabilities, and starts a Python that
    # nobody may read; without its own libraries it then takes those of the system.
    nobody = ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "env"]
    python = [*nobody, sys.executable, "-c", "import flask, wsgi_coverage"]
    with contextlib.suppress(FileNotFoundError):
        if subprocess.run(python, cwd="/", capture_output=True).returncode:
            pytest.skip("needs a Python that the user nobody may run")
    for folder in (project.folder, *project.folder.parents):
        if folder != Path("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o055)
        if folder.parent == Path("/tmp"):
            break


@pytest.mark.parametrize("run", [(), ("branch = true",)], ids=["", "branches"])
@pytest.mark.parametrize("options", [(), ("--preload",)], ids=["", "preload"])
def test_workers_that_change_their_user_go_on(project, routes, password, options, run):
    routes.write(project, *run)
    user = ("--user", "nobody", "--group", "nogroup")
    server = project.gunicorn(
        "-w",
        "2",
        *user,
        *options,
        "served:application",
        env={**password, "WSGI_COVERAGE_RELEASE": "r1"},
    )
    server.get("/r0")

    report = server.refresh()

    assert server.exported()[routes.FILE] == routes.of(["/r0"])
    assert report["complete"] is True
    assert server.reset().status == 200
    server.get("/r1")
    server.refresh()
    assert server.exported()[routes.FILE] == routes.of(["/r1"])

    collected = server.post(f"{DASHBOARD}/snapshot?reset=1")
    assert collected.status == 200, collected.text
    kept = server.get(f"{DASHBOARD}/snapshots/{collected.json()['id']}/export")
    assert lines_in(kept.body)[routes.FILE] == routes.of(["/r1"])
    assert server.post(f"{DASHBOARD}/pause").json()["complete"] is True
    server.get("/r2")
    assert server.post(f"{DASHBOARD}/resume").json()["complete"] is True
    server.get("/r3")
    server.refresh()
    assert server.exported()[routes.FILE] == routes.of(["/r3"])
    assert "Traceback" not in server.output
