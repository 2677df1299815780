"""The side port of `wsgi-coverage run`: the dashboard, and py-coverage-http's endpoints."""

from __future__ import annotations

import base64
import os
import re

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
    project.write(
        "script.py",
        "import pathlib\nprint('ready', flush=True)\npathlib.Path('go').read_text()\n",
    )
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
        f"wsgi-coverage: --host {host} can be reached from other machines: "
        "set WSGI_COVERAGE_PASSWORD, or pass --insecure\n"
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


def test_a_source_that_has_changed_is_named_in_the_warnings(project):
    project.coveragerc("source = .")
    project.write("part.py", "def old():\n    return 1\nold()\n")
    project.write("script.py", "import part, time\nprint('ready', flush=True)\ntime.sleep(60)\n")
    side = project.run_measured("script.py")
    side.wait_for("ready")
    project.write("part.py", "# new\n")

    collected = side.get("/coverage").json()

    assert [each for each in collected["warnings"] if "part.py has changed" in each]
    assert "part.py" not in side.collected()
