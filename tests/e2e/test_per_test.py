"""One snapshot with a reset after each test: every line is in exactly one of them."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

DASHBOARD = "/debug/coverage"
COLLECT = f"{DASHBOARD}/snapshot?reset=1&keep=0&detail=lines"
MEMORY = pytest.param("", id="memory")  # none is named: lines are marked in memory
CORES = ["ctrace", *(["sysmon", MEMORY] if sys.version_info >= (3, 12) else [])]
WAYS = [
    pytest.param(("-w", "4"), id="sync"),
    pytest.param(("-w", "2", "--worker-class", "gthread", "--threads", "4"), id="gthread"),
]
OFTEN = {"WSGI_COVERAGE_AUTOSAVE_INTERVAL": "0.05"}
AT_ONCE = 6  # requests while one collects
MARKS = sys.version_info >= (3, 12)  # lines are marked in memory


def collect(server: Any, *, label: str = "") -> dict[str, Any]:
    answer = server.post(f"{COLLECT}&label={label}")
    assert answer.status == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def detail_of(found: dict[str, Any], name: str) -> dict[str, Any]:
    (detail,) = (each for file, each in found["detail"]["files"].items() if file.endswith(name))
    return dict(detail)


def ran_since(found: dict[str, Any], name: str) -> set[int]:
    """The lines that ran at runtime, as the answer tells."""
    contexts = detail_of(found, name)["contexts"]
    return {int(line) for line, names in contexts.items() if "runtime" in names}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("core", CORES)
def test_each_answer_has_the_lines_of_its_test_from_all_workers_and_no_other(
    project, routes, password, way, core
):
    routes.write(project, early=True)
    server = project.gunicorn(*way, "served:application", env={**password, "COVERAGE_CORE": core})
    server.wait_for_workers(int(way[1]))
    paths = list(routes.bodies)

    baseline = collect(server)
    tests = {}
    for number in range(6):
        hit = paths[8 * (number % 3) : 8 * (number % 3) + 8]  # each comes round again
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(server.get, hit))
        found = collect(server, label=f"test_{number}")
        assert (found["id"], found["label"], found["complete"]) == (None, f"test_{number}", True)
        tests[number] = routes.of(hit), ran_since(found, routes.FILE), found

    assert ran_since(baseline, routes.FILE) == set()
    assert [ran for _, ran, _ in tests.values()] == [hit for hit, _, _ in tests.values()]
    every_line = set(range(1, routes.statements + 1))
    for found in (baseline, *(found for _, _, found in tests.values())):
        detail = detail_of(found, routes.FILE)
        assert set(detail["executed_lines"]) >= routes.load
        assert {*detail["executed_lines"], *detail["missing_lines"]} == every_line
        assert found["detail"]["totals"]["num_statements"] == len(every_line)
    assert server.get(f"{DASHBOARD}/snapshots").json() == []


def test_a_test_that_runs_nothing_has_the_same_totals_and_no_line(project, routes, password):
    routes.write(project)  # measuring begins while it is loaded: nothing is known from the load
    project.coveragerc("include = lines.py")  # and no sources are named
    server = project.gunicorn("-w", "2", "served:application", env=password)
    server.wait_for_workers(2)
    server.get("/r0")
    first = collect(server)["detail"]

    second = collect(server)["detail"]

    (name,) = (name for name in first["files"] if name.endswith(routes.FILE))
    assert second["files"][name]["executed_lines"] == []
    assert second["files"][name]["missing_lines"] == sorted(
        first["files"][name]["executed_lines"] + first["files"][name]["missing_lines"]
    )
    assert second["totals"]["num_statements"] == first["totals"]["num_statements"]


@pytest.mark.parametrize("core", CORES)
def test_while_requests_run_each_line_that_ran_once_is_in_exactly_one_answer(
    project, routes, password, core
):
    routes.write(project)
    server = project.gunicorn(
        *("-w", "2", "--worker-class", "gthread", "--threads", "4"),
        "served:application",
        env={**password, **OFTEN, "COVERAGE_CORE": core},
    )
    server.wait_for_workers(2)
    paths = list(routes.bodies)
    answers, statuses = [], set()

    with ThreadPoolExecutor(1) as collector, ThreadPoolExecutor(4) as pool:
        for start in range(0, len(paths), AT_ONCE):
            collecting = collector.submit(collect, server)
            hits = pool.map(server.get, paths[start : start + AT_ONCE])
            statuses |= {answer.status for answer in hits}
            answers.append(collecting.result())
    answers.append(collect(server))

    assert statuses == {200}
    kept = [found for found in answers if found["detail"]]
    seen = [line for found in kept for line in ran_since(found, routes.FILE)]
    assert sorted(seen) == sorted(routes.bodies.values())
    assert len(kept) >= len(paths) // AT_ONCE
    assert project.saved(routes.FILE) & set(routes.bodies.values()) == set()


def test_branches_are_told_per_test(project, password):
    project.write("steps.py", "def step(x):\n    if x:\n        return 1\n    return 2\n")
    project.write(
        "served.py",
        "from wsgi_coverage import start_early\nstart_early()\n"
        "import steps\nfrom wsgi_coverage import CoverageMiddleware\n"
        "def plain(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [str(steps.step(environ['PATH_INFO'] == '/yes')).encode()]\n"
        "application = CoverageMiddleware(plain)\n",
    )
    project.coveragerc("include = steps.py", "branch = true")
    server = project.gunicorn("-w", "1", "served:application", env=password)

    answers = []
    for path in ("/yes", "/no", "/yes"):
        server.get(path)
        answers.append(detail_of(collect(server), "steps.py"))

    assert [each["executed_branches"] for each in answers] == [[[2, 3]], [[2, 4]], [[2, 3]]]
    assert [each["missing_branches"] for each in answers] == [[[2, 4]], [[2, 3]], [[2, 4]]]
    assert {each["summary"]["num_branches"] for each in answers} == {2}


def test_a_worker_that_does_not_answer_is_named_and_its_lines_are_in_no_later_test(
    project, routes, password, until
):
    routes.write(project)
    server = project.gunicorn("-w", "2", "served:application", env=password)
    first, second = sorted(server.wait_for_workers(2))
    with server.only(first, {first, second}):
        server.get("/r1")
    with server.only(second, {first, second}):
        server.get("/r2")
        os.kill(first, signal.SIGSTOP)
        try:
            answer = server.post(f"{COLLECT}&wait=0.3").json()
        finally:
            os.kill(first, signal.SIGCONT)
    server.refresh()  # it has heard of the collection by then
    server.get("/r3")
    later = collect(server)

    if MARKS:  # nobody has to answer for what it has run
        assert answer["complete"] is True
        assert ran_since(answer, routes.FILE) == routes.of(["/r1", "/r2"])
    else:
        assert answer["complete"] is False
        assert {each["pid"]: each["state"] for each in answer["workers"]}[first] == "silent"
        ran = ran_since(answer, routes.FILE)
        assert routes.of(["/r2"]) <= ran <= routes.of(["/r1", "/r2"])  # it may have flushed
    assert later["complete"] is True
    assert ran_since(later, routes.FILE) == routes.of(["/r3"])


def test_lines_of_a_worker_that_has_ended_are_in_the_next_answer_only(
    project, routes, password, until
):
    routes.write(project)
    server = project.gunicorn("-w", "2", "served:application", env=password)
    first, second = sorted(server.wait_for_workers(2))
    with server.only(first, {first, second}):
        server.get("/r1")
    os.kill(first, signal.SIGTERM)
    server.wait_for_workers(2, but={first})

    answers = [collect(server) for _ in range(2)]

    assert ran_since(answers[0], routes.FILE) == routes.of(["/r1"])
    assert ran_since(answers[1], routes.FILE) == set()


def test_a_snapshot_that_is_kept_and_resets_has_all_up_to_it_and_the_report_what_comes_then(
    project, routes, password
):
    routes.write(project)
    server = project.gunicorn("-w", "2", "served:application", env=password)
    server.wait_for_workers(2)
    server.get("/r1")
    server.refresh()

    taken = server.post(f"{DASHBOARD}/snapshot?reset=1&label=one").json()

    assert server.get(f"{DASHBOARD}/report").json()["error"] == "no-report"
    server.get("/r2")
    server.refresh()
    assert set(server.exported()[routes.FILE]) == routes.of(["/r2"])
    diff = server.get(f"{DASHBOARD}/diff?a={taken['id']}&b=current").json()
    (file,) = diff["files"]
    assert set(file["only_a"]["lines"]) == routes.of(["/r1"])
    assert set(file["only_b"]["lines"]) == routes.of(["/r2"])


def test_no_room_for_what_is_collected_loses_nothing(project, routes, password, mounts, tmp_path):
    routes.write(project)
    folder = project.folder / "small"
    folder.mkdir()
    project.within = mounts.within(*mounts.small_disk(folder, "2m"))
    env = {**password, "WSGI_COVERAGE_SNAPSHOT_DIR": str(folder)}
    server = project.gunicorn("-w", "2", "served:application", env=env)
    server.wait_for_workers(2)
    server.get("/r1")

    with mounts.Disk(mounts.seen_by(server, folder)).full():
        refused = server.post(COLLECT)
        server.get("/r2")
    found = collect(server)

    assert (refused.status, refused.json()["error"]) == (507, "disk-full")
    assert ran_since(found, routes.FILE) == routes.of(["/r1", "/r2"])
    assert ran_since(collect(server), routes.FILE) == set()


def test_what_belongs_to_coverage_run_is_not_ours_to_collect(project, routes, password):
    routes.write(project, "parallel = true")
    server = project.gunicorn_under_coverage_run("-w", "1", "served:application", env=password)
    server.get("/r0")

    refused = server.post(COLLECT)

    assert (refused.status, refused.json()["error"]) == (409, "not-ours")
    server.refresh()
    assert routes.of(["/r0"]) <= server.exported()[routes.FILE]


def test_the_documented_pytest_fixture_tells_the_lines_of_each_test(project, routes, password):
    routes.write(project, early=True)
    server = project.gunicorn("-w", "2", "served:application", env=password)
    server.wait_for_workers(2)
    text = Path(__file__).parents[2].joinpath("docs", "how-to", "per-test.md").read_text()
    (fixture,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    tests = project.folder / "tests"
    tests.mkdir()
    (tests / "conftest.py").write_text(fixture)
    (tests / "test_site.py").write_text(
        "import urllib.request\n"
        f"def get(path): urllib.request.urlopen('http://127.0.0.1:{server.port}' + path).read()\n"
        "def test_one(): get('/r1')\n"
        "def test_two(): get('/r2'); get('/r3')\n"
        "def test_none(): pass\n"
    )

    project.run(
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "tests"),
        env={**password, "COVERAGE_URL": f"http://127.0.0.1:{server.port}{DASHBOARD}"},
    )

    found = json.loads((project.folder / "coverage-per-test.json").read_text())
    lines = {name.partition("::")[2]: files for name, files in found.items()}
    assert lines == {
        "test_one": {"lines.py": sorted(routes.of(["/r1"]))},
        "test_two": {"lines.py": sorted(routes.of(["/r2", "/r3"]))},
        "test_none": {},
    }
