"""On every server: one refresh shows all workers, a reset resets, and an end leaves the data."""

from __future__ import annotations

import importlib.util
import itertools
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.every_server

FILE = "lines.py"


def _table() -> Any:
    """The module beside this one: the tests are no package, so it cannot be imported by name."""
    path = Path(__file__).with_name("server_table.py")
    spec = importlib.util.spec_from_file_location("e2e_server_table", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


table = _table()


def ways(*, only: Any = lambda way: True) -> list[Any]:
    """The servers of the table as parameters; what is missing is a skip that says why."""
    return [
        pytest.param(way, id=name, marks=pytest.mark.skipif(bool(why), reason=f"{name}: {why}"))
        for name, way in table.SERVERS.items()
        if only(way)
        for why in [way.missing()]
    ]


def sometimes_failing(reason: str) -> list[Any]:
    return [pytest.mark.xfail(reason=reason, strict=False)] if reason else []


def ways_and_signals() -> list[Any]:
    return [
        pytest.param(
            *each.values,
            number,
            id=f"{each.id}-{number.name}",
            marks=[*each.marks, *sometimes_failing(each.values[0].ends_badly)],
        )
        for each in ways()
        for number in each.values[0].ends
    ]


class Site:
    """An application on a server of the table, and what was hit in it."""

    def __init__(self, project: Any, routes: Any, way: Any, lines_in: Any) -> None:
        self.way = way
        self.lines_in = lines_in
        self.project = project
        self.bodies = routes.bodies
        routes.write(project)
        omitted = "omit = served.py, sitecustomize.py, run_werkzeug.py, manage.py"
        project.coveragerc("source = .", omitted, *way.run)
        project.write("served.py", table.SERVED)
        project.write("run_werkzeug.py", table.RUN_WERKZEUG)
        project.write("manage.py", table.MANAGE)
        if way.needs == "django":
            text, self.bodies = table.django_lines(routes.COUNT)
            project.write(FILE, text)
        self._paths = itertools.cycle(self.bodies)
        self._meetings = 0
        self.server: Any = None
        self.pids: set[int] = set()  # that served the last hits

    def hit(self, until: Any) -> set[int]:
        """Run lines, new ones first, in every process and thread that serves; return them."""
        seen: dict[str, set[str]] = {}
        lines: set[int] = set()

        def one_more_meeting() -> bool:
            lines.update(self._meet(seen))
            return self._is_spread(seen)

        until(one_more_meeting, f"every worker has served: {self.way}")
        self.pids = {int(pid) for pid in seen}
        if self.way.per_request:
            until(lambda: not any(map(is_there, self.pids)), "the requests' processes have ended")
        return lines

    def _meet(self, seen: dict[str, set[str]]) -> Iterable[int]:
        count = self.way.processes * min(self.way.threads, 2)
        self._meetings += 1
        paths = list(itertools.islice(self._paths, count))
        answers = self.server.together(paths, headers={"X-Meet": f"{self._meetings}:{count}"})
        assert [answer.status for answer in answers] == [200] * count
        for path, answer in zip(paths, answers, strict=True):
            pid, thread = answer.headers["x-pid"], answer.headers["x-thread"]
            seen.setdefault(pid, set()).add(thread)
            if self.way.sees(pid=pid, thread=thread):
                yield self.bodies[path]

    def _is_spread(self, seen: dict[str, set[str]]) -> bool:
        several = self.way.threads > 1 and "gevent" not in self.way.command
        return len(seen) >= self.way.processes and all(
            len(threads) > 1 or not several for threads in seen.values()
        )

    def exported(self) -> dict[str, set[int]]:
        """Executed lines by file after a refresh; empty where there is no data."""
        report = self.server.refresh()
        assert report["complete"], report
        assert report["warnings"] == []
        answer = self.server.get("/debug/coverage/export")
        if answer.status != 200:
            assert answer.json()["error"] == "no-data"
            return {}
        return self.lines_in(answer.body)

    def signal(self, number: int) -> None:
        for pid in self.pids if self.way.has_parent else [self.server.pid]:
            os.kill(pid, number)


@pytest.fixture
def site(project, routes, way, lines_in):
    return Site(project, routes, way, lines_in)


def in_file(lines: set[int]) -> dict[str, set[int]]:
    return {FILE: lines} if lines else {}


@pytest.mark.parametrize("way", ways())
def test_a_refresh_shows_exactly_what_every_worker_ran_since_the_last_reset(
    site, way, password, until
):
    with way.running(site.project, password) as site.server:
        first = site.hit(until)
        assert site.exported() == in_file(first)

        assert site.server.reset().json()["complete"]
        assert site.exported() == {}
        second = site.hit(until)
        assert site.exported() == in_file(second)
        third = site.hit(until)
        assert site.exported() == in_file(second | third)


@pytest.mark.parametrize(("way", "number"), ways_and_signals())
def test_a_signal_that_ends_the_server_leaves_all_its_lines(site, way, number, password, until):
    with way.running(site.project, password) as site.server:
        lines = site.hit(until)
        site.exported()
        lines |= site.hit(until)  # since the last time that anything was published

        site.signal(number)
        site.server.popen.wait(30)

    assert site.project.saved(FILE) == lines


@pytest.mark.parametrize("way", ways(only=lambda way: way.reloads))
def test_a_reload_by_sighup_loses_no_line(site, way, password, until):
    with way.running(site.project, password) as site.server:
        lines = site.hit(until)
        site.exported()
        lines |= site.hit(until)
        old = site.pids

        site.signal(signal.SIGHUP)
        until(lambda: not any(map(is_there, old)), "the old workers have ended")
        site.server.wait_until_it_listens()
        lines |= site.hit(until)

        assert site.exported() == in_file(lines)
        assert not site.pids & old


@pytest.mark.parametrize("way", ways(only=lambda way: not way.per_request))
def test_kill_9_of_a_worker_loses_at_most_what_ran_since_the_last_autosave(
    site, way, password, until
):
    env = {**password, "WSGI_COVERAGE_AUTOSAVE_INTERVAL": "0.2"}
    with way.running(site.project, env) as site.server:
        lines = site.hit(until)
        site.exported()
        lines |= site.hit(until)
        until(lambda: site.project.saved(FILE) >= lines, "the autosave has come round")

        killed = min(site.pids)
        os.kill(killed, signal.SIGKILL)
        until(lambda: not is_there(killed), "it has ended")
        if way.processes == 1:
            assert site.project.saved(FILE) == lines
        else:
            lines |= site.hit(until)
            assert site.exported() == in_file(lines)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring came with 3.12")
@pytest.mark.xfail(
    reason="without at-fork hooks Python keeps the master's threads, and restart_events walks over "
    "their frames on stacks that uWSGI's threads have got: the worker ends by a segmentation fault"
)
@pytest.mark.parametrize("way", ways(only=lambda way: way is table.SERVERS["uwsgi-threads"]))
def test_a_reset_goes_well_where_the_application_began_threads_before_uwsgi_forked(
    site, way, password, until
):
    site.project.write("served.py", table.THREADS_AT_IMPORT + table.SERVED)
    with way.running(site.project, password) as site.server:
        site.hit(until)

        assert site.server.reset().json()["complete"]


def is_there(pid: int) -> bool:
    """A process that its parent has not waited for yet counts as ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
