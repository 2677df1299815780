"""A disk that is really full: a message, nothing half-written, and not a line less afterwards."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from wsgi_coverage.system.own_files import TEMPORARY

DASHBOARD = "/debug/coverage"
OFTEN = {"WSGI_COVERAGE_AUTOSAVE_INTERVAL": "0.05"}
SHARED_MEMORY = Path("/dev/shm")
# Bytes left: too few for a data file; for one; for a report's data file; for half a report.
ROOMS = [0, 4_096, 16_384, 32_768, 65_536]


@pytest.fixture
def small(project, routes, password, mounts, tmp_path):
    """Start workers with a small disk at one place; that disk, and how to look into it."""

    def start(where: str, *run: str, workers: int = 2, options: tuple[str, ...] = ()):
        routes.write(project, *run)
        env = {**password, **OFTEN}
        folder = {"project": project.folder, "private": SHARED_MEMORY}.get(where)
        if folder is None:
            folder = project.folder / "small"
            folder.mkdir()
            env[f"WSGI_COVERAGE_{where.upper()}"] = str(folder)
        content = shutil.copytree(project.folder, tmp_path / "content")
        copied = content if where == "project" else None
        project.within = mounts.within(*mounts.small_disk(folder, "2m", copy_from=copied))
        server = project.gunicorn("-w", str(workers), *options, "served:application", env=env)
        seen = mounts.seen_by(server, folder)
        server.wait_for_workers(workers)
        return SimpleNamespace(server=server, disk=mounts.Disk(seen), folder=seen)

    return start


def stored(server):
    """Everything that a reader of the report and of the snapshots can get."""
    listed = server.get(f"{DASHBOARD}/snapshots").json()
    paths = ["report", "files", "export", "html/index.html"]
    paths += [f"snapshots/{each['id']}/{path}" for each in listed for path in ("report", "export")]
    answers = [server.get(f"{DASHBOARD}/{path}") for path in paths]
    assert {answer.status for answer in answers} == {200}
    return listed, [answer.body for answer in answers]


def files_in(folder):
    """The files in a folder, but for what is named by whoever fills the disk."""
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return found - {"filler"}


def half_written(folder):
    def is_one(name):
        return ".building-" in name or "part-" in name or TEMPORARY in name

    return [name for name in files_in(folder) if is_one(name)]


@pytest.mark.parametrize(
    ("where", "refused"),
    [
        ("project", {"refresh", "snapshot"}),
        ("cache_dir", {"refresh"}),
        ("snapshot_dir", {"snapshot"}),
    ],
)
def test_a_full_disk_refuses_what_needs_room_and_loses_nothing(
    routes, small, until, where, refused
):
    at = small(where)
    at.server.get("/r0")
    at.server.refresh()
    assert at.server.post(f"{DASHBOARD}/snapshot?label=before").status == 200
    before = stored(at.server)

    with at.disk.full():
        hits = [at.server.get(f"/r{number}") for number in range(1, 9)]
        answers = {verb: at.server.post(f"{DASHBOARD}/{verb}") for verb in sorted(refused)}
        after = stored(at.server)
        until(lambda: not half_written(at.folder), "what autosaves had begun is removed")

    assert {answer.status for answer in hits} == {200}
    for answer in answers.values():
        assert (answer.status, answer.json()["error"]) == (507, "disk-full")
        assert "no room" in answer.json()["message"]
    assert after == before
    at.server.get("/r9")
    report = at.server.refresh()
    assert report["complete"]
    assert at.server.exported() == {
        routes.FILE: routes.of(f"/r{number}" for number in range(10)),
    }
    assert at.server.post(f"{DASHBOARD}/snapshot?label=after").status == 200
    labels = [each["label"] for each in at.server.get(f"{DASHBOARD}/snapshots").json()]
    assert labels == ["after", "before"]
    assert "Traceback" not in at.server.output


@pytest.mark.parametrize("room", ROOMS)
def test_a_disk_that_runs_full_half_way_leaves_nothing_half_written(routes, small, until, room):
    at = small("project")
    at.server.get("/r0")
    at.server.refresh()
    at.server.post(f"{DASHBOARD}/snapshot")
    before = stored(at.server)

    with at.disk.full(but=room):
        at.server.get("/r1")
        statuses = {
            at.server.post(f"{DASHBOARD}/{verb}").status for verb in ("refresh", "snapshot")
        }
        after = stored(at.server)
        until(lambda: not half_written(at.folder), "what autosaves had begun is removed")

    assert statuses == {507}
    assert after == before
    at.server.refresh()
    assert at.server.exported() == {routes.FILE: routes.of(["/r0", "/r1"])}


def test_a_reset_on_a_full_disk_is_refused_and_forgets_nothing(routes, small):
    at = small("project")
    at.server.get("/r0")
    at.server.refresh()

    with at.disk.full():
        answer = at.server.reset()

    assert (answer.status, answer.json()["error"]) == (507, "disk-full")
    assert at.server.get(f"{DASHBOARD}/report").status == 200
    at.server.get("/r1")
    at.server.refresh()
    assert at.server.exported() == {routes.FILE: routes.of(["/r0", "/r1"])}


@pytest.mark.parametrize("run", ["", "branch = true"], ids=["statements", "branches"])
def test_no_room_for_the_live_data_loses_nothing_either(routes, small, run):
    at = small("private", run, workers=1)

    with at.disk.full():
        hits = [at.server.get(f"/r{number}") for number in range(8)]
        answers = [at.server.post(f"{DASHBOARD}/{verb}") for verb in ("refresh", "snapshot") * 2]

    assert {answer.status for answer in hits} == {200}
    # What has run is in memory that was allocated before.
    assert [answer.json().get("complete") for answer in answers] == [True] * 4, answers[0].text
    at.server.get("/r8")
    assert at.server.refresh()["complete"]
    assert at.server.exported() == {routes.FILE: routes.of(f"/r{number}" for number in range(9))}
    assert "Traceback" not in at.server.output


@pytest.mark.parametrize("run", ["", "branch = true"], ids=["statements", "branches"])
def test_the_last_process_saves_what_has_run_also_where_shared_memory_is_full(
    project, routes, small, run
):
    at = small("private", run, workers=1, options=("--env", "WSGI_COVERAGE_AUTOSAVE_INTERVAL=600"))
    at.server.get("/r0")
    at.disk.fill()
    at.server.get("/r1")

    at.server.end()

    assert project.saved(routes.FILE) == routes.of(["/r0", "/r1"])
    assert half_written(project.folder) == []
    assert "no room" not in at.server.output


def test_health_names_the_autosaves_that_found_no_room(small, until):
    at = small("project")
    at.server.get("/r0")

    def problems():
        at.server.get("/r1")
        return at.server.get(f"{DASHBOARD}/health").json()["problems"]

    with at.disk.full():
        at.server.get("/r2")
        found = until(problems, "an autosave has failed")

    assert "autosave failed: no room" in found[0]


def test_workers_that_are_replaced_on_a_full_disk_go_on_measuring(routes, small):
    at = small("project", options=("--max-requests", "5"))
    at.server.get("/r0")
    at.server.refresh()

    with at.disk.full():
        answers = [at.server.get("/r1") for _ in range(30)]

    assert {answer.status for answer in answers} == {200}
    assert len({answer.headers["x-pid"] for answer in answers}) > 2
    at.server.get("/r2")
    at.server.refresh()
    assert at.server.exported()[routes.FILE] >= routes.of(["/r0", "/r2"])
    assert "Traceback" not in at.server.output


def test_what_a_worker_ran_that_ended_on_a_full_disk_is_published_when_there_is_room(
    routes, small, until
):
    at = small("project")
    server = at.server
    first, second = old = sorted(server.worker_pids())

    with at.disk.full():
        for pid, path in zip(old, ("/r1", "/r2"), strict=True):
            with server.only(pid, set(old)):
                server.get(path)
                until(
                    lambda: server.get(f"{DASHBOARD}/health").json()["problems"],
                    "an autosave has found no room",
                )
        os.kill(first, signal.SIGTERM)
        os.kill(second, signal.SIGKILL)
        (third, _) = sorted(server.wait_for_workers(2, but=set(old)))
    os.kill(third, signal.SIGTERM)
    server.wait_for_workers(2, but={first, second, third})
    server.refresh()

    assert server.exported()[routes.FILE] == routes.of(["/r1", "/r2"])
