"""Another user makes the private folder first: measuring goes on elsewhere, and /health says so."""

from __future__ import annotations

import os

import pytest

DASHBOARD = "/debug/coverage"
TOP = f"/dev/shm/wsgi-coverage-{os.geteuid()}"
PLANTED = {
    "another user's": f"mkdir -m 777 {TOP} && chown 65534 {TOP}",
    "for everybody": f"mkdir {TOP} && chmod 777 {TOP}",
    "a link": f"mkdir -m 777 {TOP}-theirs && ln -s {TOP}-theirs {TOP}",
}


PATHS = [f"/r{number}" for number in range(20)]


def assert_nothing_is_lost(server, routes):
    for path in PATHS:
        server.get(path)
    report = server.refresh()
    assert report["complete"], report
    assert server.exported() == {routes.FILE: routes.of(PATHS)}


def told_of_the_folder(health):
    [said] = [each for each in health["diagnoses"] if each["name"] == "private-folder-taken"]
    return said


@pytest.mark.parametrize("planted", PLANTED)
def test_all_workers_find_the_same_other_place_and_health_says_so(
    project, routes, password, mounts, planted
):
    routes.write(project)
    project.within = mounts.within(
        "mount -t tmpfs -o mode=1777 tmpfs /dev/shm", "umask 0", PLANTED[planted], 'cd "$PWD"'
    )
    server = project.gunicorn("-w", "2", "--threads", "2", "served:application", env=password)
    server.wait_for_workers(2)

    assert_nothing_is_lost(server, routes)

    health = server.get(f"{DASHBOARD}/health").json()
    assert health["status"] == "degraded"
    said = told_of_the_folder(health)
    assert said["text"].startswith(f"{TOP} ")
    assert f"{TOP}-1/" in said["text"]
    memory = mounts.seen_by(server, TOP)
    assert memory.is_symlink() or list(memory.iterdir()) == []
    assert (mounts.seen_by(server, f"{TOP}-1").stat().st_mode & 0o777) == 0o700
    assert server.post(f"{DASHBOARD}/reset").json()["complete"]
    server.get("/r1")
    server.refresh()
    assert server.exported()[routes.FILE] >= routes.of(["/r1"])
    assert server.end() == 0
    assert project.saved(routes.FILE) >= routes.of(["/r1"])


def test_where_every_name_is_taken_workers_meet_under_one_that_nobody_could_take(
    project, routes, password, mounts
):
    routes.write(project)
    all_names = " ".join([TOP, *(f"{TOP}-{number}" for number in range(1, 10))])
    project.within = mounts.within(
        "mount -t tmpfs -o mode=1777 tmpfs /dev/shm",
        f"mkdir -m 777 {all_names}",
        f"chown 65534 {all_names}",
    )
    server = project.gunicorn(
        "-w", "3", "served:application", env={**password, "TMPDIR": "/dev/shm"}
    )
    server.wait_for_workers(3)

    assert_nothing_is_lost(server, routes)

    said = told_of_the_folder(server.get(f"{DASHBOARD}/health").json())
    assert f"{TOP}-9 belongs to user 65534" in said["text"]
    assert server.end() == 0
    assert project.saved(routes.FILE) >= routes.of(PATHS)
