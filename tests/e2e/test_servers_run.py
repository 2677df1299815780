"""Servers under `wsgi-coverage run`: every process exactly, and one owner of the side port."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

FASTAPI = """
import asyncio
from fastapi import FastAPI

app = FastAPI()

@app.get("/")
async def index():
    value = await later()
    return {"value": value}

async def later():
    await asyncio.sleep(0)
    return 42

@app.get("/thread")
def in_a_thread():
    return {"thread": True}

@app.get("/never")
async def never():
    value = 1
    return {"never": value}
"""


@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["one", "workers"])
def test_fastapi_under_uvicorn_is_measured_exactly(project, options):
    pytest.importorskip("fastapi", reason="FastAPI is not installed")
    pytest.importorskip("uvicorn", reason="uvicorn is not installed")
    project.coveragerc("source = .")
    project.write("app.py", FASTAPI)
    server, side = project.serve_measured(
        "-m", "uvicorn", "--fd", "{fd}", "--log-level", "warning", *options, "app:app"
    )

    assert server.get("/").json() == {"value": 42}
    assert server.get("/thread").json() == {"thread": True}

    loaded = {2, 3, 5, 7, 8, 12, 16, 17, 20, 21}
    assert side.collected() == {"app.py": loaded | {9, 10, 13, 14, 18}}
    server.send(signal.SIGTERM)
    server.popen.wait(30)
    assert project.saved("app.py") == loaded | {9, 10, 13, 14, 18}


@pytest.mark.parametrize("options", [(), ("--preload",), ("--worker-class", "gthread")])
def test_every_worker_of_gunicorn_is_measured_exactly(project, routes, password, options):
    routes.write(project)
    project.coveragerc("source = .", "omit = served.py, sitecustomize.py, gunicorn.conf.py")
    server, side = project.serve_measured(
        *("-m", "gunicorn", "--bind", "fd://{fd}", "-w", "4", *options, "served:application"),
        env=password,
    )
    side.password = password["WSGI_COVERAGE_PASSWORD"]
    workers = side.wait_for_workers(4)
    paths = [f"/r{number}" for number in range(4)]
    for path, pid in zip(paths, sorted(workers), strict=True):
        with server.only(pid, workers):
            assert server.get(path).headers["x-pid"] == str(pid)

    side.refresh()

    assert side.exported() == {routes.FILE: routes.load | routes.of(paths)}
    ports = {socket_of(side.port)}
    assert ports & open_sockets(side.pid)
    for pid in workers:
        assert not ports & open_sockets(pid)
    assert server.end(signal.SIGTERM) == 0
    assert project.saved(routes.FILE) == routes.load | routes.of(paths)


def socket_of(port: int) -> str:
    """What /proc shows of the socket that listens on this port."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1].rpartition(":")[2], 16) == port and fields[3] == "0A":
            return f"socket:[{fields[9]}]"
    raise AssertionError(f"nobody listens on {port}")


def open_sockets(pid: int) -> set[str]:
    return {os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir()}


DJANGO = """
import sys
from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpResponse
from django.urls import path

def index(request):
    return HttpResponse("django")

def never(request):
    return HttpResponse("never")

urlpatterns = [path("", index), path("never", never)]
settings.configure(ROOT_URLCONF=__name__, DEBUG=True, SECRET_KEY="x", ALLOWED_HOSTS=["*"])
if __name__ == "__main__":
    execute_from_command_line(sys.argv)
"""


def test_django_s_development_server_is_measured_behind_its_reloader(project, until):
    project.coveragerc("source = .")
    project.write("manage.py", DJANGO)
    side = project.run_measured("manage.py", "runserver", "127.0.0.1:0", "--skip-checks")
    side.wait_for("Quit the server")
    client = project.side_port(side)
    client.port = until(lambda: port_of_a_child(side.pid, but=side.port), "Django listens")

    assert client.get("/").text == "django"

    assert side.collected()["manage.py"] == {2, 3, 4, 5, 6, 8, 9, 11, 14, 15, 16, 17}


def port_of_a_child(pid: int, *, but: int) -> int | None:
    """The port that a child of this process listens on."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    theirs = {each for child in children for each in open_sockets(int(child))}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        port = int(fields[1].rpartition(":")[2], 16)
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in theirs and port != but:
            return port
    return None


GEVENT = """
from gevent import monkey
monkey.patch_all()
import sys
from gevent.pywsgi import WSGIServer

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"greenlet"]

def never():
    return 1

WSGIServer(("127.0.0.1", int(sys.argv[1])), app, log=None).serve_forever()
"""


@pytest.mark.every_server
def test_a_program_that_gevent_has_patched_is_asked_as_any_other(project, until, held_port):
    pytest.importorskip("gevent", reason="gevent is not installed")
    project.coveragerc("source = .", "concurrency = gevent, thread")
    project.write("app.py", GEVENT)
    side = project.run_measured("app.py", str(held_port))
    client = project.side_port(side)
    client.port = held_port
    client.wait_until_it_listens()

    assert client.get("/").text == "greenlet"

    expected = {2, 3, 4, 5, 7, 8, 9, 11, 14}
    assert side.collected() == {"app.py": expected}
    assert side.refresh()["complete"]
    assert side.exported() == {"app.py": expected}
    assert side.end(signal.SIGTERM) == -signal.SIGTERM
    assert project.saved("app.py") == expected
