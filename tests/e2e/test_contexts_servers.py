"""On every server: a labelled request has all lines that it ran, and none of those beside it."""

from __future__ import annotations

import ast
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import e2e_server_table as table
import pytest
from e2e_servers import beside, each_in_turn

pytestmark = [
    pytest.mark.every_server,
    pytest.mark.skipif(sys.version_info < (3, 12), reason="needs sys.monitoring"),
]

DASHBOARD = "/debug/coverage"
HEADER = "X-Coverage-Context"
LABELLED = {"WSGI_COVERAGE_CONTEXTS": "header"}
FILE = "lines.py"
HANDLERS = 30
ROUNDS = 3  # in which each handler is called once
# Every request runs two loops, which go on long enough for the events of their lines to be looked
# at; others run these while it is about to, and while it is between the two.
APP = """\
import os
from pathlib import Path
from time import sleep

urlpatterns = []  # for Django's server, which asks for them
HELD, LET_GO = (Path(__file__).with_name(name) for name in ("held", "let-go"))


def pause():
    sleep(0.001)


def wait():
    HELD.write_text(str(os.getpid()))
    while not LET_GO.exists(): sleep(0.005)


def counted(between):
    total = 0
    for each in range(40):
        total += each
    between()
    for each in range(40):
        total -= each
    return total


def in_parts(body):
    yield body
    pause()
    yield b"."


def app(environ, start_response):
    pause()
    body = HANDLERS[environ["PATH_INFO"]]()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return in_parts(body)


def held():
    counted(wait)
    return b"held"


HANDLERS = {"/held": held}
"""


def application() -> tuple[str, dict[str, set[int]]]:
    """Text of an application, and the lines that a request runs, by path."""
    text = APP
    for number in range(HANDLERS):
        text += f"def r{number}():\n    counted(pause)\n    return b'{number}'\n"
        text += f"HANDLERS['/r{number}'] = r{number}\n"
    of = {
        each.name: {*range(each.body[0].lineno, each.body[-1].end_lineno + 1)}
        for each in ast.parse(text).body
        if isinstance(each, ast.FunctionDef)
    }
    shared = of["app"] | of["pause"] | of["counted"] | of["in_parts"]
    ran = {f"/r{number}": shared | of[f"r{number}"] for number in range(HANDLERS)}
    return text, {**ran, "/held": shared | of["held"] | of["wait"]}


@pytest.mark.parametrize("way", table.ways(only=lambda way: "refresh" in way.tests))
def test_every_labelled_request_has_its_own_lines_beside_all_else(
    project, routes, password, way, until
):
    table.write(project, routes, way)
    text, ran = application()
    project.write(FILE, text)
    # Where a process serves few requests, to begin one takes longer than all of them.
    rounds = 1 if way.per_request or "--max-requests" in way.command else ROUNDS
    paths = [f"/r{number}" for number in range(HANDLERS)]
    wanted = {f"{turn}{path}": ran[path] for turn in range(rounds) for path in paths}
    with way.running(project, {**password, **LABELLED}) as server:
        if way.threads > 1:
            hold(server, project.folder, until)
            wanted["held"] = ran["/held"]
        statuses = load(server, paths, rounds)
        report = server.refresh()
        found = server.ran_for_labels()

    assert report["complete"], report
    assert statuses == {(200, None): HANDLERS * rounds}
    assert found == {label: {FILE: lines} for label, lines in wanted.items()}


def hold(server: Any, folder: Path, until: Any) -> None:
    """Hold a labelled request in a function, which another one of its process runs meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(server.get, "/held", headers={HEADER: "held"})
        try:
            until((folder / "held").exists, "the request is held")
            pid = until((folder / "held").read_text, "its process is known")
            until(lambda: server.get("/r0").headers["x-pid"] == pid, "that serves another one")
        finally:
            (folder / "let-go").touch()
        assert held.result().status == 200


def load(server: Any, paths: list[str], rounds: int) -> Counter[tuple[int, str | None]]:
    """Labelled requests beside others and refreshes; what they were answered."""

    def labelled(number: int) -> tuple[int, str | None]:
        path = paths[number % len(paths)]
        answer = server.get(path, headers={HEADER: f"{number // len(paths)}{path}"})
        return answer.status, answer.headers.get(HEADER.lower())

    unlabelled = each_in_turn(server, paths)
    with beside(unlabelled, server.refresh), ThreadPoolExecutor(6) as pool:
        return Counter(pool.map(labelled, range(rounds * len(paths))))
