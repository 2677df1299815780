"""No writing to a folder any more, no descriptors left: it is said, and nothing is lost."""

from __future__ import annotations

import contextlib
import os
import shutil

import pytest

DASHBOARD = "/debug/coverage"
OFTEN = {"WSGI_COVERAGE_AUTOSAVE_INTERVAL": "0.05"}
READING = ("report", "files", "functions", "export", "")
WRITING = ("refresh", "snapshot", "reset", "snapshot?reset=1", "pause", "resume")
LACKING = ("-dac_override", "-dac_read_search")  # what lets root write everywhere

HOGGING = """
import os
import resource
from served import application as measured

held = []


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if not path.startswith("/hog/"):
        return measured(environ, start_response)
    while held:
        os.close(held.pop())
    left = int(path.removeprefix("/hog/"))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, limits[1]))
    try:
        while True:
            held.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        for _ in range(left):
            os.close(held.pop())
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"held"]
"""


def problems_of(server):
    return {
        each["name"]: each["text"] for each in server.get(f"{DASHBOARD}/health").json()["diagnoses"]
    }


def check_that_it_is_refused_and_nothing_is_lost(server, routes, slug, refusing):
    """Lines that run meanwhile, and before, are in the report that is made afterwards."""
    server.get("/r0")
    server.refresh()
    taken = server.post(f"{DASHBOARD}/snapshot?label=before").json()["id"]
    assert "not-writable" not in problems_of(server)

    with refusing:
        hits = [server.get(f"/r{number}") for number in range(1, 9)]
        read = [server.get(f"{DASHBOARD}/{path}") for path in READING]
        answers = {
            verb: server.post(f"{DASHBOARD}/{verb}") for verb in ("refresh", "snapshot", "reset")
        }
        named = problems_of(server)
        after = server.get(f"{DASHBOARD}/export").body

    assert {each.status for each in hits} == {200}
    assert {each.status for each in read} == {200}
    for answer in answers.values():
        assert (answer.status, answer.json()["error"]) == (507, slug), answer.text
    assert str(server.folder) in named["not-writable"]
    assert after == server.get(f"{DASHBOARD}/export").body
    assert server.refresh()["complete"]
    assert server.exported() == {routes.FILE: routes.of(f"/r{number}" for number in range(9))}
    assert "not-writable" not in problems_of(server)
    assert [each["id"] for each in server.get(f"{DASHBOARD}/snapshots").json()] == [taken]
    assert server.reset().status == 200
    server.get("/r9")
    server.refresh()
    assert server.exported() == {routes.FILE: routes.of(["/r9"])}
    assert "Traceback" not in server.output


def test_a_disk_that_becomes_read_only_refuses_what_writes_and_loses_nothing(
    project, routes, password, mounts, tmp_path
):
    routes.write(project)
    content = shutil.copytree(project.folder, tmp_path / "content")
    project.within = mounts.within(*mounts.small_disk(project.folder, "8m", copy_from=content))
    server = project.gunicorn("-w", "1", "served:application", env={**password, **OFTEN})
    server.folder = project.folder

    check_that_it_is_refused_and_nothing_is_lost(
        server, routes, "read-only", mounts.made_read_only(server, project.folder)
    )


@contextlib.contextmanager
def forbidden(folder):
    """Inside, its owner may not write to a folder, and to those in it."""
    folders = [folder, *(each for each in folder.rglob("*") if each.is_dir())]
    for each in folders:
        each.chmod(0o555)
    try:
        yield
    finally:
        for each in folders:
            each.chmod(0o755)


def test_a_folder_that_the_user_may_not_write_to_any_more_refuses_and_loses_nothing(
    project, routes, password
):
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root may write everywhere")
        project.within = ["setpriv", f"--bounding-set={','.join(LACKING)}"]
    routes.write(project)
    server = project.gunicorn("-w", "1", "served:application", env={**password, **OFTEN})
    server.folder = project.folder

    check_that_it_is_refused_and_nothing_is_lost(
        server, routes, "access-denied", forbidden(project.folder)
    )


@pytest.mark.parametrize("dashboard", ["used before", "not used before"])
def test_without_descriptors_a_request_is_refused_or_answered_in_full(
    project, routes, password, dashboard
):
    routes.write(project)
    project.write("hogging.py", HOGGING)
    project.coveragerc("source = .", "omit = served.py, sitecustomize.py, hogging.py")
    server = project.gunicorn("-w", "1", "hogging:application", env=password)
    server.get("/r0")
    if dashboard == "used before":
        server.refresh()
    refused = set()

    for left in (0, 1, 2, 3, 4, 6, 8):
        server.get(f"/hog/{left}")
        for verb in WRITING:
            answer = server.post(f"{DASHBOARD}/{verb}")
            assert answer.status in (200, 409, 507), (left, verb, answer.text)
            if answer.status == 507:
                refused.add(answer.json()["error"])
        server.post(f"{DASHBOARD}/resume")
        assert server.get(f"/r{left}").status == 200
        shown = server.post(f"{DASHBOARD}/refresh")
        assert shown.status in (200, 507)
        for path in (*READING, "health", "workers", "html/index.html", "export?format=xml"):
            answer = server.get(f"{DASHBOARD}/{path}", headers={"Accept": "application/json"})
            assert answer.status in (200, 404, 507), (left, path, answer.text)
            if shown.status == 200:
                assert answer.status != 404, (left, path)
                if path == "export?format=xml" and answer.status == 200:
                    assert 'filename="lines.py"' in answer.text
    server.get("/hog/50")

    assert refused == {"no-descriptors"}
    server.get("/r9")
    assert server.refresh()["complete"]
    assert routes.bodies["/r9"] in server.exported()[routes.FILE]
    assert "Traceback" not in server.output
