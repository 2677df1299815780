"""The side port of `wsgi-coverage run`: the dashboard, and py-coverage-http's endpoints."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
from pathlib import Path

import pytest
from coverage import Coverage, CoverageData

HELLO = """
import sys
from flask import Flask, jsonify

app = Flask(__name__)

@app.route("/")
def index():
    return "Hello, World!"

@app.route("/status")
def status():
    return jsonify({"status": "ok"})

@app.route("/untested")
def untested():
    return "This is not tested.", 418

if __name__ == "__main__":
    app.run(host="127.0.0.1", port=0)
"""
LOADED = {2, 3, 5, 7, 8, 11, 12, 15, 16, 19}
FASTAPI = """
import asyncio
from fastapi import FastAPI

app = FastAPI()

@app.get("/")
async def index():
    value = await later()
    return {"value": value}

async def later():
    await asyncio.sleep(0)
    return 42

@app.get("/thread")
def in_a_thread():
    return {"thread": True}

@app.get("/never")
async def never():
    value = 1
    return {"never": value}
"""
COLLECTED = {
    "label",
    "timestamp",
    "coverage_data",
    "files_combined",
    "warnings",
    "complete",
    "workers",
    "message",
}


@pytest.fixture
def hello(project):
    """Clients for py-coverage-http's example, run as its README says: its port, the side port."""
    project.coveragerc("source = .")
    project.write("app.py", HELLO)
    side = project.run_measured("app.py")
    address = re.search(r"Running on http://127.0.0.1:(\d+)", side.wait_for("Running on"))
    client = project.side_port(side)
    client.port = int(address[1])
    return client, side


def test_py_coverage_http_s_example_answers_as_it_is_documented(hello, project, tmp_path):
    client, side = hello

    assert client.get("/").text == "Hello, World!"
    assert client.get("/status").json() == {"status": "ok"}
    health = side.get("/health")
    answer = side.get("/coverage?name=my-test")

    assert (health.status, health.json()["status"]) == (200, "ok")
    assert health.json()["coverage_enabled"] is True
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    collected = answer.json()
    assert collected.keys() == COLLECTED
    assert collected["label"] == "my-test"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+\+00:00", collected["timestamp"])
    assert collected["files_combined"] == 1
    # What its client does with the answer: decode, load, save, report.
    saved = tmp_path / "saved"
    data = CoverageData(basename=str(saved))
    data.loads(base64.b64decode(collected["coverage_data"]))
    data.close()
    coverage = Coverage(data_file=str(saved), config_file=False)
    coverage.load()
    _, statements, _, missing, _ = coverage.analysis2(str(project.folder / "app.py"))
    assert set(statements) - set(missing) == LOADED | {9, 13, 20}
    assert missing == [17]


def test_the_name_of_a_collection_is_session_where_none_is_given(hello):
    assert hello[1].get("/coverage").json()["label"] == "session"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_after_a_reset_only_what_runs_later_is_collected(hello, method):
    client, side = hello
    client.get("/")

    reset = side.request(method, "/coverage/reset")

    assert (reset.status, reset.json()["status"]) == (200, "reset")
    assert side.collected() == {}
    client.get("/status")
    assert side.collected() == {"app.py": {13}}


def test_where_nothing_that_is_measured_has_run_the_data_is_empty(project):
    project.coveragerc("include = nothing.py")
    os.mkfifo(project.folder / "go")
    project.write("script.py", "print('ready', flush=True)\nopen('go').read()\n")
    side = project.run_measured("script.py")
    side.wait_for("ready")

    assert side.get("/coverage").json()["files_combined"] == 0
    assert side.collected() == {}
    (project.folder / "go").write_text("")
    assert side.popen.wait(30) == 0


def test_collecting_changes_nothing_and_can_be_repeated(hello):
    client, side = hello
    client.get("/")

    first, second = side.collected(), side.collected()

    assert first == second == {"app.py": LOADED | {9, 20}}
    assert side.get("/debug/coverage/report").json()["error"] == "no-report"


def test_the_dashboard_is_on_the_side_port_too(hello):
    client, side = hello
    client.get("/status")

    assert side.get("/").headers["location"] == "/debug/coverage/"
    assert "wsgi-coverage" in side.get("/debug/coverage/").text
    assert side.refresh()["complete"]
    assert side.exported() == {"app.py": LOADED | {13, 20}}
    assert side.get("/debug/coverage/html/index.html").status == 200
    snapshot = side.post("/debug/coverage/snapshot?label=one").json()
    assert [each["id"] for each in side.get("/debug/coverage/snapshots").json()] == [snapshot["id"]]


def test_there_are_no_phases_and_health_says_why(hello):
    health = hello[1].get("/debug/coverage/health").json()

    assert health["phase"] is None
    assert health["phase_reason"].startswith("a side port sees no requests")
    assert health["status"] == "ok", health["diagnoses"]


def test_an_unknown_path_and_a_wrong_method_are_said_in_json(hello):
    side = hello[1]

    assert side.get("/nothing").json()["error"] == "not-found"
    wrong = side.request("DELETE", "/coverage")
    assert (wrong.status, wrong.json()["error"]) == (405, "method-not-allowed")
    assert wrong.headers["allow"] == "GET, HEAD"
    assert side.request("HEAD", "/health").body == b""


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_another_site_s_page_cannot_reset(hello, method):
    side = hello[1]

    answer = side.request(method, "/coverage/reset", headers={"Sec-Fetch-Site": "cross-site"})

    assert (answer.status, answer.json()["error"]) == (403, "cross-site")
    assert side.collected()["app.py"] > LOADED


def test_without_a_password_other_host_names_are_not_served(hello):
    side = hello[1]

    for path in ("/coverage", "/health", "/coverage/reset", "/debug/coverage/"):
        answer = side.get(path, headers={"Host": "rebound.example:80"})
        assert (answer.status, answer.json()["error"]) == (403, "untrusted-host")


def test_a_password_is_asked_for_everywhere(project, password):
    project.write("script.py", "import time\ntime.sleep(60)\n")
    side = project.run_measured("--host", "0.0.0.0", "script.py", env=password)
    credentials = base64.b64encode(b"admin:open sesame").decode()

    for path in ("/coverage", "/health", "/coverage/reset", "/nothing"):
        refused = side.get(path)
        assert (refused.status, refused.json()["error"]) == (401, "unauthorized")
        assert refused.headers["www-authenticate"].startswith("Basic ")
    admitted = side.get("/coverage", headers={"Authorization": f"Basic {credentials}"})
    assert admitted.json()["label"] == "session"
    assert side.get("/debug/coverage/health").status == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_other_machines_are_let_in_with_a_password_or_insecurely_only(project, host):
    project.write("script.py", "print('ran', flush=True)\nimport time\ntime.sleep(60)\n")

    refused = project.start("-m", "wsgi_coverage", "run", "--host", host, "script.py")

    assert refused.popen.wait(30) == 1
    assert refused.output == (
        f"wsgi-coverage: --host {host} lets other machines in: set WSGI_COVERAGE_PASSWORD, or say "
        "--insecure\n"
    )


def test_insecurely_everybody_is_served(project):
    project.write("script.py", "import time\ntime.sleep(60)\n")

    side = project.run_measured("--host", "0.0.0.0", "--insecure", "script.py")

    answer = side.get("/health", headers={"Host": "pod.example:9095"})
    assert answer.json()["status"] == "ok"


def test_requests_to_the_side_port_leave_no_word_in_the_program_s_output(project):
    project.write(
        "script.py",
        "import logging, time\nlogging.basicConfig(level=logging.INFO)\n"
        "print('ready', flush=True)\ntime.sleep(60)\n",
    )
    side = project.run_measured("script.py")
    before = side.wait_for("ready")

    side.get("/health")
    side.get("/nothing")
    side.get("/coverage")
    side.request("NONSENSE", "/")

    assert side.output == before


@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["one", "workers"])
def test_fastapi_under_uvicorn_is_measured_exactly(project, options, until):
    project.coveragerc("source = .")
    project.write("app.py", FASTAPI)
    server, side = project.serve_measured(
        "-m", "uvicorn", "--fd", "{fd}", "--log-level", "warning", *options, "app:app"
    )

    assert server.get("/").json() == {"value": 42}
    assert server.get("/thread").json() == {"thread": True}

    loaded = {2, 3, 5, 7, 8, 12, 16, 17, 20, 21}
    assert side.collected() == {"app.py": loaded | {9, 10, 13, 14, 18}}
    server.send(signal.SIGTERM)
    server.popen.wait(30)
    assert project.saved("app.py") == loaded | {9, 10, 13, 14, 18}


@pytest.mark.parametrize("options", [(), ("--preload",), ("--worker-class", "gthread")])
def test_every_worker_of_gunicorn_is_measured_exactly(project, routes, password, options):
    routes.write(project)
    project.coveragerc("source = .", "omit = served.py, sitecustomize.py, gunicorn.conf.py")
    server, side = project.serve_measured(
        *("-m", "gunicorn", "--bind", "fd://{fd}", "-w", "4", *options, "served:application"),
        env=password,
    )
    side.password = password["WSGI_COVERAGE_PASSWORD"]
    workers = side.wait_for_workers(4)
    paths = [f"/r{number}" for number in range(4)]
    for path, pid in zip(paths, sorted(workers), strict=True):
        with server.only(pid, workers):
            assert server.get(path).headers["x-pid"] == str(pid)

    side.refresh()

    assert side.exported() == {routes.FILE: routes.load | routes.of(paths)}
    ports = {socket_of(side.port)}
    assert ports & open_sockets(side.pid)
    for pid in workers:
        assert not ports & open_sockets(pid)


def socket_of(port: int) -> str:
    """What /proc shows of the socket that listens on this port."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1].rpartition(":")[2], 16) == port and fields[3] == "0A":
            return f"socket:[{fields[9]}]"
    raise AssertionError(f"nobody listens on {port}")


def open_sockets(pid: int) -> set[str]:
    return {os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir()}


DJANGO = """
import sys
from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpResponse
from django.urls import path

def index(request):
    return HttpResponse("django")

def never(request):
    return HttpResponse("never")

urlpatterns = [path("", index), path("never", never)]
settings.configure(ROOT_URLCONF=__name__, DEBUG=True, SECRET_KEY="x", ALLOWED_HOSTS=["*"])
if __name__ == "__main__":
    execute_from_command_line(sys.argv)
"""


def test_django_s_development_server_is_measured_behind_its_reloader(project, until):
    project.coveragerc("source = .")
    project.write("manage.py", DJANGO)
    side = project.run_measured("manage.py", "runserver", "127.0.0.1:0", "--skip-checks")
    side.wait_for("Quit the server")
    client = project.side_port(side)
    client.port = until(lambda: port_of_a_child(side.pid, but=side.port), "Django listens")

    assert client.get("/").text == "django"

    assert side.collected()["manage.py"] == {2, 3, 4, 5, 6, 8, 9, 11, 14, 15, 16, 17}


def port_of_a_child(pid: int, *, but: int) -> int | None:
    """The port that a child of this process listens on."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    theirs = {each for child in children for each in open_sockets(int(child))}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        port = int(fields[1].rpartition(":")[2], 16)
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in theirs and port != but:
            return port
    return None


def test_a_child_whose_source_has_changed_is_named_in_the_warnings(project):
    project.coveragerc("source = .")
    project.write("part.py", "def old():\n    return 1\nold()\n")
    project.write("script.py", "import part, time\nprint('ready', flush=True)\ntime.sleep(60)\n")
    side = project.run_measured("script.py")
    side.wait_for("ready")
    project.write("part.py", "# new\n")

    collected = side.get("/coverage").json()

    assert [each for each in collected["warnings"] if "part.py has changed" in each]
    assert "part.py" not in side.collected()
    assert json.dumps(collected)
