"""The answers in docs/reference/http.md are a real server's, but for what differs each time."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "http.md"
DASHBOARD = "/debug/coverage"
HELLO = """\
import json


def plain(path):
    if path == "/json":
        return json.dumps("hello")
    return "hello"



def never():
    return "never"


NAME = "hello"
"""
SERVED = """\
import hello


def app(environ, start_response):
    path = environ["PATH_INFO"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [(hello.never() if path == "/never" else hello.plain(path)).encode()]
"""
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")
DAY = re.compile(r"^\d{4}-\d\d-\d\d$")
IDENTITY = re.compile(r"\d{8}T\d{6}\.\d{6}Z-[0-9a-f]{8}(?:-[a-z0-9-]+)?")
DIFFERENT = {"pid", "host", "duration_seconds", "size", "requests", "server", "coverage_version"}

pytestmark = pytest.mark.skipif(
    not hasattr(sys, "monitoring"), reason="the page shows the engine of Python 3.12 and later"
)


def examples() -> list[tuple[str, str]]:
    """Each request of the page, and its answer."""
    consoles = re.findall(r"^```console\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)
    return [
        (command, answer)
        for console in consoles
        for command, answer in re.findall(r"^\$ \$A(\S+.*)\n((?:(?!\$ ).*\n)*)", console, re.M)
    ]


def same(value: Any, folder: Path) -> Any:
    """An answer, with the same in the place of what differs each time."""
    if isinstance(value, dict):
        return {k: "…" if k in DIFFERENT else same(v, folder) for k, v in value.items()}
    if isinstance(value, list):
        return [same(each, folder) for each in value]
    if isinstance(value, str):
        shown = DAY.sub("DAY", TIME.sub("TIME", IDENTITY.sub("ID", value)))
        return shown.replace(str(folder), "/srv/hello")
    return value


def test_the_documented_answers_are_those_of_a_server(project, until):
    project.write("hello.py", HELLO)
    project.write("served.py", SERVED)
    project.coveragerc("include = hello.py")
    env = {
        "WSGI_COVERAGE_APP": "served:app",
        "WSGI_COVERAGE_PASSWORD": "secret",
        "WSGI_COVERAGE_CONTEXTS": "header",
    }
    server = project.gunicorn("-w", "2", "wsgi_coverage.wsgi:application", env=env)
    server.wait_for_workers(2)

    def ask(method: str, path: str) -> str:
        headers = {"Accept": "application/json"}
        return str(server.request(method, DASHBOARD + path, headers=headers).text)

    def snapshot(label: str) -> str:
        return str(json.loads(ask("POST", f"/snapshot?label={label}"))["id"])

    def both_have_served() -> bool:
        server.together(["/"] * 4)
        return all("server" in each for each in json.loads(ask("GET", "/workers"))["workers"])

    until(both_have_served, "both workers have served a request")
    server.get("/", headers={"X-Coverage-Context": "test_plain"})
    for command, told in examples():
        path, *options = shlex.split(command)
        method = options[options.index("-X") + 1] if "-X" in options else "GET"
        identity = IDENTITY.search(path)
        if identity is not None:
            kept = snapshot("before")
            path = path.replace(identity[0], kept)
        if path.startswith(("/diff", "/snapshots?")):
            server.get("/never")
            ask("POST", "/refresh")
        if path == "/health":
            ask("POST", "/resume")
            ask("POST", "/refresh")

        answer = ask(method, path)

        if told.startswith("#"):
            assert answer.startswith(told.partition("…")[0]), command
        elif "…" in told:
            shortened, whole = json.loads(re.sub("(, )?…", "", told)), json.loads(answer)
            assert whole.keys() == shortened.keys(), command
            [shown] = shortened["detail"]["files"].values()
            assert whole["detail"]["files"]["hello.py"].keys() >= shown.keys()
        elif told.startswith(("{", "[")):
            found = same(json.loads(answer), project.folder)
            assert found == same(json.loads(told), Path("/srv/hello")), command
        else:
            assert answer == told, command
