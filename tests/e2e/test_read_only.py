"""Where folders cannot be written to: measured all the same, or a clear word about why not."""

from __future__ import annotations

import os
import re
import socket
import sys
from pathlib import Path

import pytest

DASHBOARD = "/debug/coverage"
SHARED_MEMORY = Path("/dev/shm")
TEMPORARY = [Path(name) for name in ("/tmp", "/var/tmp", "/usr/tmp") if Path(name).is_dir()]


def check_that_everything_works(server, routes, folder):
    """Two workers are measured into the folder, and every endpoint that writes does."""
    workers = server.wait_for_workers(2)
    for path, pid in zip(("/r0", "/r1"), sorted(workers), strict=True):
        with server.only(pid, workers):
            assert server.get(path).status == 200
    health = server.get(f"{DASHBOARD}/health").json()
    report = server.refresh()
    taken = server.post(f"{DASHBOARD}/snapshot?label=first").json()

    assert Path(health["data_folder"]).is_relative_to(folder)
    for name in ("cache_dir", "snapshot_dir"):
        assert Path(health[name]).parent == Path(health["data_folder"])
    assert report["complete"]
    assert [each for each in report["warnings"] if "imported before" not in each] == []
    assert server.exported() == {routes.FILE: routes.of(["/r0", "/r1"])}
    assert [each["id"] for each in server.get(f"{DASHBOARD}/snapshots").json()] == [taken["id"]]
    assert server.get(f"{DASHBOARD}/html/index.html").status == 200
    assert server.reset().json()["complete"]
    server.get("/r2")
    server.refresh()
    assert server.exported() == {routes.FILE: routes.of(["/r2"])}
    assert "Traceback" not in server.output


def test_a_read_only_project_is_measured_into_the_private_folder(project, routes, password, mounts):
    routes.write(project)
    before = sorted(project.folder.iterdir())
    project.within = mounts.within(*mounts.read_only(project.folder))
    server = project.gunicorn("-w", "2", "served:application", env=password)

    check_that_everything_works(server, routes, project.private)

    assert sorted(project.folder.iterdir()) == before
    assert f"{project.folder} cannot be written to: measuring into" in server.output


def test_without_shared_memory_the_private_folder_is_in_the_temporary_folder(
    project, routes, password, mounts, tmp_path
):
    routes.write(project)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    project.within = mounts.within(*mounts.read_only(project.folder, SHARED_MEMORY))
    env = {**password, "TMPDIR": str(temporary)}
    server = project.gunicorn("-w", "2", "served:application", env=env)

    check_that_everything_works(server, routes, temporary)


@pytest.mark.parametrize("setting", ["cache_dir", "snapshot_dir"])
def test_a_named_folder_that_is_read_only_is_refused_at_construction(
    project, routes, password, mounts, setting
):
    routes.write(project)
    named = project.folder / "named"
    named.mkdir()
    project.within = mounts.within(*mounts.read_only(named))
    env = {**password, f"WSGI_COVERAGE_{setting.upper()}": str(named)}

    process = project.start("-c", "import served", env=env)

    assert process.popen.wait(30) == 1
    assert process.output.splitlines()[-1].endswith(
        f"SettingsError: environment variable WSGI_COVERAGE_{setting.upper()}: {setting} must be "
        f"a folder that can be made and written to, got {str(named)!r}"
    )


def test_a_named_folder_that_can_be_written_to_is_enough_for_reports_of_a_read_only_project(
    project, routes, password, mounts, tmp_path
):
    routes.write(project)
    named = tmp_path / "named"
    project.within = mounts.within(*mounts.read_only(project.folder))
    env = {**password, "WSGI_COVERAGE_CACHE_DIR": str(named)}
    server = project.gunicorn("-w", "2", "served:application", env=env)
    server.get("/r0")

    server.refresh()

    assert server.exported() == {routes.FILE: routes.of(["/r0"])}
    assert (named / "current").is_file()


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("named", ["served:application", "wsgi_coverage.wsgi:application"])
def test_where_nothing_can_be_written_to_the_application_serves_and_the_dashboard_says_why(
    project, routes, password, mounts, named, early
):
    routes.write(project, early=early)
    for_gunicorn = project.folder / "for-gunicorn"
    for_gunicorn.mkdir()
    project.within = mounts.within(
        *mounts.read_only(SHARED_MEMORY, *TEMPORARY, project.folder),
        *mounts.small_disk(for_gunicorn, "64k"),
    )
    options = ("-w", "1", "--worker-tmp-dir", str(for_gunicorn))
    env = {**password, "WSGI_COVERAGE_APP": "lines:app"}
    server = project.gunicorn(*options, named, env=env)

    assert server.get("/r0").text == "0"
    for answer in (server.get(f"{DASHBOARD}/health"), server.post(f"{DASHBOARD}/refresh")):
        assert (answer.status, answer.json()["error"]) == (503, "not-measuring")
        assert "temporary" in answer.json()["message"]
    assert "measuring could not be started; the application goes on without it" in server.output


SERVED_HERE = """
import sys
from wsgiref.simple_server import make_server

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"here"]

make_server("127.0.0.1", int(sys.argv[1]), app).serve_forever()
"""
CLIENT = """
import sys
from urllib.request import urlopen

assert urlopen(f"http://127.0.0.1:{sys.argv[1]}/").read() == b"here"
"""
SCRIPT = """
import pathlib, subprocess, sys
try:
    open("written", "w")
except OSError as error:
    print(error.strerror, flush=True)
if len(sys.argv) == 1:
    subprocess.run([sys.executable, __file__, "child"], check=True)
    print("waiting", flush=True), pathlib.Path("go").read_text()
else:
    print("child", flush=True)
"""


@pytest.mark.parametrize("where", ["shared memory", "temporary folder"])
def test_any_program_is_measured_where_only_a_folder_in_memory_can_be_written_to(
    project, mounts, tmp_path, where
):
    memory = SHARED_MEMORY if where == "shared memory" else tmp_path / "memory"
    memory.mkdir(exist_ok=True)
    project.coveragerc("source = .")
    project.write("script.py", SCRIPT)
    os.mkfifo(project.folder / "go")
    before = sorted(tmp_path.rglob("*"))
    project.within = mounts.within(*mounts.read_only_root(memory))

    side = project.run_measured("script.py", env={"TMPDIR": str(memory)})
    side.wait_for("waiting\n")

    assert side.output.count("Read-only file system") == 2
    assert side.output.count("cannot be written to: measuring into") == 1
    everything = {2, 3, 4, 5, 6, 7, 8, 9, 11}
    assert side.collected() == {"script.py": everything}
    data_folder = side.get("/health").json()["data_dir"]
    assert Path(data_folder).is_relative_to(memory)
    assert side.refresh()["warnings"] == []
    assert side.exported() == {"script.py": everything}
    assert side.get("/coverage/reset").json()["complete"]
    assert side.collected() == {}
    (project.folder / "go").write_text("")
    assert side.popen.wait(30) == 0
    assert [each for each in sorted(tmp_path.rglob("*")) if each.name[:6] != "output"] == before


def test_where_nothing_can_be_written_to_no_program_is_run(project, mounts, tmp_path):
    project.write("script.py", "print('ran')")
    memory = tmp_path / "memory"
    memory.mkdir()
    project.within = mounts.within(*mounts.read_only_root(memory))

    process = project.start("-m", "wsgi_coverage", "run", "--port", "0", "script.py")

    assert process.popen.wait(30) == 1
    assert process.output.startswith("wsgi-coverage: measuring cannot be started: ")
    assert "ran" not in process.output
    assert "Traceback" not in process.output


def test_the_test_command_reports_where_its_data_file_cannot_be_written(project, mounts):
    project.coveragerc("source = .")
    project.write("app.py", SERVED_HERE)
    project.write("client.py", CLIENT)
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = str(found.getsockname()[1])
    project.within = mounts.within(*mounts.read_only_root(SHARED_MEMORY))
    server = f"{sys.executable} app.py {port}"
    options = ("--server", server, "--url", f"http://127.0.0.1:{port}/")

    process = project.start(
        *("-m", "wsgi_coverage", "test", *options, "--", sys.executable, "client.py", port)
    )

    assert process.popen.wait(60) == 0, process.output
    assert re.search(r"^app.py +\d+ +0 +100%$", process.output, re.M)
    assert f"{project.folder}/.coverage cannot be written: Read-only file system" in process.output
