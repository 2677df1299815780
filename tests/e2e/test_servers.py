"""On every server: one refresh shows all workers, a reset resets, and an end leaves the data."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import e2e_server_table as table
import pytest
from e2e_server_site import FILE, in_file, is_there

pytestmark = pytest.mark.every_server


def ways_with(test: str) -> list[Any]:
    return table.ways(only=lambda way: test in way.tests)


def ways_and_signals() -> list[Any]:
    return [
        pytest.param(*each.values, number, id=f"{each.id}-{number.name}", marks=each.marks)
        for each in ways_with("ends")
        for number in each.values[0].ends
    ]


def named(*names: str) -> list[Any]:
    return table.ways(only=lambda way: way in [table.SERVERS[name] for name in names])


@pytest.mark.parametrize("way", ways_with("refresh"))
def test_a_refresh_shows_exactly_what_every_worker_ran_since_the_last_reset(
    site, way, password, until
):
    with way.running(site.project, password) as site.server:
        load = site.load()
        first = site.hit(until)
        assert site.exported() == in_file(load | first)

        assert site.server.reset().json()["complete"]
        assert site.exported() == in_file(load)
        second = site.hit(until)
        assert site.exported() == in_file(load | second)
        third = site.hit(until)
        assert site.exported() == in_file(load | second | third)


@pytest.mark.parametrize("way", named("uwsgi", "gunicorn-gthread"))
def test_what_ended_with_resets_is_not_kept_in_memory(site, way, password, until):
    with way.running(site.project, password) as site.server:
        for _ in range(6):
            site.hit(until)
            assert site.server.reset().json()["complete"]

        files = way.private(site.project).rglob("run-*.lines")
        epochs = {path.stem.split("-")[1] for path in files}

    # The current one, and those in which workers may still be.
    assert 1 <= len(epochs) <= 3, epochs


@pytest.mark.parametrize(("way", "number"), ways_and_signals())
def test_a_signal_that_ends_the_server_leaves_all_its_lines(site, way, number, password, until):
    with way.running(site.project, password) as site.server:
        lines = site.load() | site.hit(until)
        site.exported()
        lines |= site.hit(until)  # since the last time that anything was published

        site.signal(number)
        site.server.popen.wait(30)
        until(lambda: not any(map(is_there, site.pids)), "its workers have ended")
        until(
            lambda: not [*way.private(site.project).glob("*")],
            "nothing private is left, by the process that outlives the workers if need be",
        )

    assert site.project.saved(FILE) == lines


@pytest.mark.parametrize("way", table.ways(only=lambda way: way.reloads))
def test_a_reload_by_sighup_loses_no_line(site, way, password, until):
    with way.running(site.project, password) as site.server:
        lines = site.load() | site.hit(until)
        site.exported()
        lines |= site.hit(until)
        old = site.pids

        site.signal(signal.SIGHUP)
        until(lambda: not any(map(is_there, old)), "the old workers have ended")
        site.server.wait_until_it_listens()
        lines |= site.hit(until)

        assert site.exported() == in_file(lines)
        assert not site.pids & old


@pytest.mark.parametrize("way", ways_with("kill"))
def test_kill_9_of_a_worker_loses_at_most_what_ran_since_the_last_autosave(
    site, way, password, until
):
    env = {**password, "WSGI_COVERAGE_AUTOSAVE_INTERVAL": "0.2"}
    with way.running(site.project, env) as site.server:
        lines = site.load() | site.hit(until)
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


# What is so on one server only


@pytest.mark.parametrize("way", named("gunicorn-timeout-3"))
def test_a_request_that_takes_longer_than_gunicorns_timeout_costs_no_line(
    site, way, password, until
):
    with way.running(site.project, password) as site.server:
        lines = site.load() | site.hit(until)
        with site.held() as (pid, held):
            until(lambda: not is_there(pid), "gunicorn has ended the worker by SIGABRT")
            assert held.exception(timeout=30) or held.result().status == 500
        assert pid in site.pids

        lines |= site.hit(until)
        assert site.exported() == in_file(lines)
        assert pid not in site.pids


@pytest.mark.parametrize("way", named("uwsgi", "uwsgi-threads", "uwsgi-lazy-apps"))
def test_uwsgi_ends_busy_workers_as_if_they_were_killed_and_health_says_so(
    site, way, password, until
):
    # Where lines are marked in memory nothing of it is lost.
    core = "sysmon" if sys.version_info >= (3, 12) else "ctrace"
    env = {**password, "WSGI_COVERAGE_AUTOSAVE_INTERVAL": "0.2", "COVERAGE_CORE": core}
    with way.running(site.project, env) as site.server:
        lines = site.load() | site.hit(until)
        until(lambda: site.project.saved(FILE) >= lines, "the autosave has come round")
        assert "uwsgi-hard-end" in site.diagnoses()

        with site.held() as (_, held):
            site.server.send(signal.SIGTERM)
            site.server.popen.wait(30)
            assert held.exception(timeout=30)

    assert site.project.saved(FILE) >= lines


@pytest.mark.parametrize("way", named("uwsgi-graceful", "uwsgi-threads-graceful"))
def test_uwsgi_that_kills_gracefully_lets_a_request_end_and_leaves_all_its_lines(
    site, way, password, until
):
    with way.running(site.project, password) as site.server:
        lines = site.load() | site.hit(until)
        assert "uwsgi-hard-end" not in site.diagnoses()

        with site.held() as (_, held):
            site.server.send(signal.SIGTERM)
            site.server.wait_for("Gracefully killing worker 2")
        assert held.result(timeout=30).status == 200
        site.server.popen.wait(30)

    assert site.project.saved(FILE) >= lines


@pytest.mark.parametrize("way", named("uwsgi-threads"))
def test_a_uwsgi_worker_that_cannot_be_measured_safely_serves_on_and_says_why(site, way, password):
    site.project.write("served.py", f"{table.THREADS_AT_IMPORT}{table.SERVED}{HOOK_REPLACED}")
    with way.running(site.project, password) as site.server:
        assert [site.server.get(path).status for path in site.bodies][:8] == [200] * 8

        answer = site.server.post("/debug/coverage/refresh")

        assert answer.status == 503
        assert answer.json()["error"] == "not-measuring"
        assert "--py-call-uwsgi-fork-hooks" in answer.json()["message"]
    assert "died" not in site.server.output


@pytest.mark.parametrize(
    "way", named("uwsgi-fork-hooks", "uwsgi-threads-fork-hooks", "uwsgi-threads-at-import")
)
def test_after_fork_hooks_run_once_in_each_uwsgi_worker(site, way, password, until):
    site.project.write("served.py", f"{way.extra}{AT_FORK}{table.SERVED}")
    with way.running(site.project, password) as site.server:
        site.hit(until)

        assert sorted(site.forked()) == sorted(site.pids)


@pytest.mark.parametrize("way", named("uwsgi-lazy-apps", "uwsgi-one-process"))
def test_after_fork_hooks_do_not_run_where_uwsgi_does_not_fork_after_the_import(
    site, way, password, until
):
    threads = table.THREADS_AT_IMPORT
    site.project.write("served.py", f"{threads}{AT_FORK}{table.SERVED}")
    with way.running(site.project, password) as site.server:
        site.hit(until)

        assert site.forked() == []


@pytest.mark.parametrize("way", named("mod_wsgi-express"))
def test_mod_wsgi_serves_on_after_a_pause_or_refuses_to_pause(site, way, password, until):
    with way.running(site.project, password) as site.server:
        lines = site.load() | site.hit(until)

        paused = site.server.post("/debug/coverage/pause")
        assert paused.status == (409 if table.CTRACE else 200), paused.text
        site.server.post("/debug/coverage/resume")
        lines |= site.hit(until)

        assert site.server.refresh()["complete"]
        assert site.project.saved(FILE) >= lines


AT_FORK = """
import os

os.register_at_fork(after_in_child=lambda: os.write(2, b"\\nforked: %d\\n" % os.getpid()))
"""
HOOK_REPLACED = """
import uwsgi

uwsgi.post_fork_hook = lambda: None
"""
