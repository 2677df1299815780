"""The recipe for Celery in docs/how-to/who-ran-it.md: a task has the label of the request."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "who-ran-it.md"
DASHBOARD = "/debug/coverage"
HEADER = "X-Coverage-Context"
# A folder is the broker here, and another one has the results.
TASKS = """
celery.conf.update(
    broker_url="filesystem://",
    broker_transport_options={"data_folder_in": "queue", "data_folder_out": "queue",
                              "control_folder": "control"},
    result_backend="file://results",
)


@celery.task
def double(number):
    return _doubled(number)


@celery.task
def half(number):
    return number / 2


def _doubled(number):
    return 2 * number
"""
SERVED = """
import shop
from wsgi_coverage import CoverageMiddleware


def app(environ, start_response):
    task = shop.double if environ["PATH_INFO"] == "/double" else shop.half
    result = str(task.delay(21).get(timeout=30))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [result.encode()]


application = CoverageMiddleware(app, contexts="header")
"""

pytestmark = pytest.mark.skipif(sys.version_info < (3, 12), reason="needs sys.monitoring")


def test_a_task_has_the_label_of_the_request_that_has_sent_it(project, password):
    pytest.importorskip("celery")
    [recipe] = [
        each
        for each in re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)
        if "celery" in each
    ]
    text = recipe + TASKS
    project.write("shop.py", text)
    project.write("served.py", SERVED)
    project.coveragerc("include = shop.py")
    for folder in ("queue", "control", "results"):
        (project.folder / folder).mkdir()
    project.run_measured(
        *("-m", "celery", "-A", "shop", "worker", "--concurrency", "2"),
        *("--without-mingle", "--without-gossip", "--without-heartbeat"),
        env=password,
    )
    server = project.gunicorn("--threads", "4", "served:application", env=password)

    assert server.get("/double", headers={HEADER: "first"}).text == "42"
    assert server.get("/half", headers={HEADER: "second"}).text == "10.5"
    assert server.get("/half").text == "10.5"
    server.refresh()

    numbers = {line.strip(): number for number, line in enumerate(text.splitlines(), 1)}
    tasks = {"return _doubled(number)", "return 2 * number", "return number / 2"}
    ran = {}
    for label in ("first", "second"):
        [file] = server.get(f"{DASHBOARD}/contexts/{label}").json()["files"]
        ran[label] = {line for line in tasks if numbers[line] in file["lines"]}
        # In the process that has sent it, and in the one that ran it.
        assert numbers['headers["coverage_label"] = current_label()'] in file["lines"]
        assert numbers["return super().__call__(*args, **kwargs)"] in file["lines"]
    assert ran == {
        "first": {"return _doubled(number)", "return 2 * number"},
        "second": {"return number / 2"},
    }
