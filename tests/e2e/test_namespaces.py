"""Containers that share shared memory and the folder of the data file: process ids tell nothing."""

from __future__ import annotations

import shutil
import subprocess

import pytest

DASHBOARD = "/debug/coverage"
UNSHARE = ("unshare", "--pid", "--mount", "--mount-proc", "--fork", "--kill-child")


def can_unshare() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not can_unshare(), reason="needs root and unshare(1)")


def test_what_runs_in_one_is_in_the_others_report_and_a_reset_there_reaches_it(
    project, routes, password, until
):
    routes.write(project)
    project.within = [*UNSHARE]
    one, two = (
        project.gunicorn("-w", "1", "--threads", "2", "served:application", env=password)
        for _ in range(2)
    )
    one.get("/r0")
    two.get("/r1")
    both = routes.of(["/r0", "/r1"])

    def exported(server):
        report = server.refresh()
        assert report["complete"]
        assert len(report["workers"]) == 1  # which of the others live is not known
        return server.exported()[routes.FILE]

    # Under the second engine what ran there is flushed by itself, some moments later.
    until(lambda: exported(one) == both and exported(two) == both, "each knows of the other")
    found = one.get(f"{DASHBOARD}/health").json()["diagnoses"]
    assert "other-namespaces" in [each["name"] for each in found]

    one.post(f"{DASHBOARD}/reset")
    two.get("/r2")

    assert exported(two) == routes.of(["/r2"])
    until(lambda: exported(one) == routes.of(["/r2"]), "it is told there, too")
