"""Workers that come and go: every hit is there, in a handful of data files; also after kill -9."""

from __future__ import annotations

import itertools
import signal

import pytest

REQUESTS = 1_000
EVERY = 20  # requests after which a worker is replaced
FEW = 10  # data files


@pytest.mark.parametrize("options", [(), ("--threads", "4")], ids=["sync", "gthread"])
def test_recycling_every_20_of_1000_requests_keeps_every_hit_in_fewer_than_10_data_files(
    project, routes, password, options
):
    routes.write(project)
    server = project.gunicorn(
        *("-w", "2", "--max-requests", str(EVERY), *options, "served:application"), env=password
    )
    paths = list(itertools.islice(itertools.cycle(routes.bodies), REQUESTS))

    answers = [answer for at in range(0, REQUESTS, 4) for answer in server.together(paths[at:][:4])]
    report = server.refresh()

    assert {answer.status for answer in answers} == {200}
    assert len({answer.headers["x-pid"] for answer in answers}) > REQUESTS / EVERY / 2
    assert server.exported() == {routes.FILE: routes.of(routes.bodies)}
    assert [each for each in report["warnings"] if "imported before" not in each] == []
    assert len(project.data_files()) < FEW


def test_recycled_workers_leave_a_handful_of_data_files_though_nobody_asks_for_a_report(
    project, routes, password, until
):
    routes.write(project)
    server = project.gunicorn("-w", "2", "--max-requests", "5", "served:application", env=password)

    answers = [server.get(path) for path in itertools.islice(itertools.cycle(routes.bodies), 120)]
    until(lambda: len(project.data_files()) < FEW, "the data files are folded")
    server.end()

    assert len({answer.headers["x-pid"] for answer in answers}) > 10
    assert project.saved(routes.FILE) == routes.of(routes.bodies)
    assert len(project.data_files()) < FEW


def test_a_hit_is_on_the_disk_in_time_where_autosave_is_every_second(
    project, routes, password, until
):
    routes.write(project)
    env = {**password, "WSGI_COVERAGE_AUTOSAVE_INTERVAL": "1"}
    killed = project.gunicorn("-w", "2", "served:application", env=env)
    workers = killed.wait_for_workers(2)
    killed.get("/r0")

    # The default interval is longer than that waits; and no worker has ended, which saves, too.
    until(lambda: project.saved(routes.FILE) == routes.of(["/r0"]), "the hit is saved")
    assert killed.worker_pids() == workers
    killed.end(signal.SIGKILL)
    killed.kill()

    server = project.gunicorn("-w", "1", "served:application", env=password)
    server.refresh()
    assert server.exported() == {routes.FILE: routes.of(["/r0"])}
