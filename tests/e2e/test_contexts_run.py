"""Labelled requests where nobody wraps the application: under `wsgi-coverage run` and `test`."""

from __future__ import annotations

import re
import shlex
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from coverage import CoverageData
from e2e_servers import beside, each_in_turn

from wsgi_coverage.data import stamp

DASHBOARD = "/debug/coverage"
HEADER = "X-Coverage-Context"
HANDLERS = 12
ROUNDS = 4  # in which each handler is called once
FILE = "app.py"
NO_LABELS = sys.version_info < (3, 12)
SHARED = """\
from time import sleep

HANDLERS = {}


def counted(number):
    total = 0
    for each in range(40):
        total += each
        if each == number:
            sleep(0)
    return total


def in_parts(body):
    yield body
    sleep(0)
    yield b"."


def app(environ, start_response):
    body = HANDLERS[environ["PATH_INFO"]]()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return in_parts(body)


"""
# Each is started by its own module, or in a script with these lines.
WSGIREF = """
import sys
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIServer, make_server
from app import app

class Server(ThreadingMixIn, WSGIServer):
    pass

make_server("127.0.0.1", int(sys.argv[1]), app, Server).serve_forever()
"""
GEVENT = """
import sys
from gevent import monkey
monkey.patch_all()
from gevent.pywsgi import WSGIServer
from app import app

WSGIServer(("127.0.0.1", int(sys.argv[1])), app).serve_forever()
"""
WERKZEUG = """
import sys
from werkzeug.serving import run_simple
from app import app

if __name__ == "__main__":
    run_simple("127.0.0.1", int(sys.argv[1]), app, threaded=True, use_reloader="reload" in sys.argv)
"""
MANAGE = """
import sys
from django.conf import settings
from django.core.management import execute_from_command_line

settings.configure(DEBUG=True, ROOT_URLCONF="urls", WSGI_APPLICATION="app.app", USE_TZ=True)
execute_from_command_line(sys.argv)
"""
SCRIPTS = {
    "run_wsgiref.py": WSGIREF,
    "run_gevent.py": GEVENT,
    "run_werkzeug.py": WERKZEUG,
    "manage.py": MANAGE,
    "urls.py": "urlpatterns = []\n",
}
GUNICORN = ("-m", "gunicorn", "--bind", "127.0.0.1:{port}", "-w", "2")
SERVERS: dict[str, tuple[str, tuple[str, ...]]] = {  # the module that is needed, and the command
    "wsgiref": ("wsgiref", ("run_wsgiref.py", "{port}")),
    "werkzeug": ("werkzeug", ("run_werkzeug.py", "{port}")),
    "werkzeug-reloader": ("werkzeug", ("run_werkzeug.py", "{port}", "reload")),
    "django": ("django", ("manage.py", "runserver", "--noreload", "127.0.0.1:{port}")),
    "gunicorn-sync": ("gunicorn", (*GUNICORN, "app:app")),
    "gunicorn-preload": ("gunicorn", (*GUNICORN, "--preload", "app:app")),
    "gunicorn-gthread": ("gunicorn", (*GUNICORN, "--threads", "4", "app:app")),
    "gunicorn-gevent": ("gevent", (*GUNICORN, "-k", "gevent", "app:app")),
    "gunicorn-pywsgi": ("gevent", (*GUNICORN, "-k", "gevent_pywsgi", "app:app")),
    "waitress": ("waitress", ("-m", "waitress", "--listen=127.0.0.1:{port}", "app:app")),
    "cheroot": ("cheroot", ("-m", "cheroot", "--bind", "127.0.0.1:{port}", "app:app")),
    "gevent": ("gevent", ("run_gevent.py", "{port}")),
}


def write(project: Any) -> dict[str, set[int]]:
    """Put an application into a project; the lines that a request runs, by path."""
    text = SHARED.splitlines()
    shared = {number for number, line in enumerate(text, 1) if line.startswith("    ")}
    ran = {}
    for number in range(HANDLERS):
        text += [f"def r{number}():", f"    counted({number})", f"    return b'{number}'"]
        ran[f"/r{number}"] = shared | {len(text) - 1, len(text)}
        text += [f"HANDLERS['/r{number}'] = r{number}"]
    project.write(FILE, "\n".join([*text, ""]))
    for name, script in SCRIPTS.items():
        project.write(name, script)
    project.coveragerc("source = .", f"omit = {', '.join(SCRIPTS)}")
    return ran


def lines_of(side: Any) -> dict[str, set[int]]:
    """Lines of the application by label: none of other files."""
    found = side.ran_for_labels()
    assert all([*files] == [FILE] for files in found.values()), found
    return {label: files[FILE] for label, files in found.items()}


def saved(folder: Path) -> dict[str, set[int]]:
    """Executed lines by context, of the data file that `test` has written."""
    data = CoverageData(basename=str(folder / ".coverage"))
    data.read()
    found = {}
    for context in data.measured_contexts():
        data.set_query_context(context)
        found[context] = {n for name in data.measured_files() for n in data.lines(name) or ()}
    data.close(force=True)
    return found


@pytest.fixture
def serve(project):
    """Run a server of the table by `wsgi-coverage run`: clients for it, and for its side port."""

    def serve(name, env=None):
        needs, command = SERVERS[name]
        pytest.importorskip(needs, reason=f"{needs} is not installed")
        return project.serve_measured(*command, env=env)

    return serve


@pytest.mark.skipif(NO_LABELS, reason="needs sys.monitoring")
@pytest.mark.parametrize("name", SERVERS)
def test_labelled_requests_under_run_have_their_own_lines_beside_all_else(project, serve, name):
    ran = write(project)
    server, side = serve(name)

    def labelled(number: int) -> tuple[int, str | None]:
        path = list(ran)[number % HANDLERS]
        answer = server.get(path, headers={HEADER: f"{number // HANDLERS}{path}"})
        return answer.status, answer.headers.get(HEADER.lower())

    with beside(each_in_turn(server, ran)), ThreadPoolExecutor(5) as pool:
        answers = set(pool.map(labelled, range(ROUNDS * HANDLERS)))
    report = side.refresh()

    assert report["complete"], report
    assert answers == {(200, None)}
    assert lines_of(side) == {
        f"{turn}{path}": lines for turn in range(ROUNDS) for path, lines in ran.items()
    }
    health = side.get(f"{DASHBOARD}/health").json()
    assert health["problems"] == []
    assert health["contexts"]["labelled"] == "header"
    files = side.get(f"{DASHBOARD}/files").json()
    assert [each["runtime"] for each in files] == [None]  # a side port tells no phases


@pytest.mark.skipif(NO_LABELS, reason="needs sys.monitoring")
@pytest.mark.parametrize(
    ("contexts", "labels"),
    [("off", set()), ("route", {"GET /r0", "GET /r1"})],
)
def test_the_setting_decides_which_requests_are_labelled(project, serve, contexts, labels):
    ran = write(project)
    server, side = serve("gunicorn-sync", {"WSGI_COVERAGE_CONTEXTS": contexts})
    for path in ("/r0", "/r1"):
        assert server.get(path, headers={HEADER: "mine"}).status == 200

    side.refresh()

    assert lines_of(side) == {label: ran[label.removeprefix("GET ")] for label in labels}


@pytest.mark.skipif(NO_LABELS, reason="needs sys.monitoring")
def test_requests_to_the_side_port_are_not_the_program_s(project, serve):
    write(project)
    _, side = serve("werkzeug")

    for path in ("/health", f"{DASHBOARD}/", f"{DASHBOARD}/health"):
        answer = side.get(path, headers={HEADER: "mine"})
        assert answer.status == 200
        assert HEADER.lower() not in answer.headers
    side.refresh()

    assert lines_of(side) == {}


@pytest.mark.skipif(NO_LABELS, reason="needs sys.monitoring")
@pytest.mark.parametrize("contexts", ["", ", contexts='off'"])
def test_a_wrapped_application_labels_its_requests_itself(project, serve, password, contexts):
    ran = write(project)
    text = (project.folder / FILE).read_text()
    wraps = f"from wsgi_coverage import CoverageMiddleware\napp = CoverageMiddleware(app{contexts})"
    project.write(FILE, f"{text}{wraps}\n")
    server, side = serve("gunicorn-gthread", password)
    side.password = server.password
    assert server.get("/r0", headers={HEADER: "mine"}).status == 200

    side.refresh()

    assert lines_of(side) == ({} if contexts else {"mine": ran["/r0"]})
    requests = [each["requests"] for each in side.get(f"{DASHBOARD}/contexts").json()]
    assert requests == ([] if contexts else [1])


@pytest.mark.skipif(not NO_LABELS, reason="there are labels")
def test_where_requests_cannot_be_told_apart_the_response_says_so(project, serve):
    write(project)
    server, _ = serve("gunicorn-sync")

    answer = server.get("/r0", headers={HEADER: "mine"})

    assert (answer.status, answer.body) == (200, b"0.")
    assert answer.headers[HEADER.lower()] == "unsupported"
    assert HEADER.lower() not in server.get("/r0").headers


def test_a_traceback_that_a_server_logs_is_as_without(project):
    write(project)
    project.write(FILE, "def app(environ, start_response):\n    raise LookupError('mine')\n")

    def traceback(server: Any) -> str:
        assert server.get("/", headers={HEADER: "mine"}).status == 500
        found = re.search(r"Traceback .*LookupError: mine", server.wait_for("mine"), re.S)
        assert found
        return found[0]

    plain = project.serve("run_wsgiref.py", "{port}")
    server, _ = project.serve_measured("run_wsgiref.py", "{port}")

    assert traceback(server) == traceback(plain)


def test_an_asgi_application_of_gunicorn_is_left_as_it_is(project):
    pytest.importorskip("uvicorn", reason="uvicorn is not installed")
    pytest.importorskip("gunicorn", reason="gunicorn is not installed")
    project.coveragerc("source = .")
    project.write(
        FILE,
        "async def app(scope, receive, send):\n"
        "    if scope['type'] != 'http':\n"
        "        return\n"
        "    await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
        "    await send({'type': 'http.response.body', 'body': b'asgi'})\n",
    )
    server, side = project.serve_measured(
        *GUNICORN, "-k", "uvicorn.workers.UvicornWorker", "app:app"
    )

    answer = server.get("/", headers={HEADER: "mine"})

    assert (answer.status, answer.body) == (200, b"asgi")
    assert HEADER.lower() not in answer.headers
    assert side.get(f"{DASHBOARD}/health").json()["problems"] == []


def test_a_server_that_is_not_as_expected_serves_and_health_says_so(project):
    write(project)
    (project.folder / "waitress").mkdir()
    project.write("waitress/__init__.py", "")
    project.write("waitress/server.py", "NEW = True\n")
    project.write("run_wsgiref.py", f"import waitress.server\n{WSGIREF}")
    server, side = project.serve_measured("run_wsgiref.py", "{port}")

    assert server.get("/r0", headers={HEADER: "mine"}).status == 200

    (problem,) = side.get(f"{DASHBOARD}/health").json()["problems"]
    assert "requests to waitress.server are not labelled: AttributeError: " in problem


SENDS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from urllib.request import Request, urlopen

url, *paths = sys.argv[1:]

def get(number):
    path = paths[number % len(paths)]
    label = {"X-Coverage-Context": f"tests{path}"} if number // len(paths) else {}
    with urlopen(Request(url + path, headers=label)) as answer:
        assert answer.status == 200, answer.status
        assert (answer.headers["X-Coverage-Context"] or "unsupported") == "unsupported"
        answer.read()

with ThreadPoolExecutor(4) as pool:
    list(pool.map(get, range(4 * len(paths))))
"""


@pytest.mark.parametrize("options", [(), ("--threads", "4")], ids=["sync", "gthread"])
def test_the_data_file_of_test_has_the_lines_of_each_label(project, held_port, options):
    pytest.importorskip("gunicorn", reason="gunicorn is not installed")
    ran = write(project)
    project.write("sends.py", SENDS)
    project.coveragerc("source = app")
    address = f"127.0.0.1:{held_port}"
    server = [sys.executable, "-m", "gunicorn", "-w", "2", "-b", address, *options, "app:app"]
    command = ("--server", shlex.join(server), "--url", f"http://{address}/")
    sends = (sys.executable, "sends.py", f"http://{address}", *ran)

    def test(**env: str) -> tuple[str, dict[str, set[int]]]:
        done = project.command(
            [sys.executable, "-m", "wsgi_coverage", "test", *command, "--", *sends],
            cwd=project.folder,
            env={"NO_COLOR": "1", **env},
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout, saved(project.folder)

    report, found = test()
    report_without, without = test(WSGI_COVERAGE_CONTEXTS="off")

    assert report == report_without
    assert re.search(r"^app\.py +\d+ +0 +100%$", report, re.M)
    assert list(without) == [""]
    assert found.pop("") == without[""]
    labels = {} if NO_LABELS else {f"runtime|tests{path}": ran[path] for path in ran}
    assert found == labels
    with stamp.reading(project.folder / ".coverage") as connection:
        assert stamp.read_fingerprints(connection) == {
            str(project.folder / "app.py"): stamp.fingerprint(project.folder / "app.py")
        }


STARTS = """
import os, subprocess, sys

how, port = sys.argv[1:]
command = [sys.executable, "-m", "waitress", f"--listen=127.0.0.1:{port}", "app:app"]
if how == "becomes":
    os.execv(sys.executable, command)
subprocess.run(command)
"""


@pytest.mark.skipif(NO_LABELS, reason="needs sys.monitoring")
@pytest.mark.parametrize("how", ["starts", "becomes"])
def test_labels_reach_a_program_that_another_one_starts_or_becomes(project, how):
    pytest.importorskip("waitress", reason="waitress is not installed")
    ran = write(project)
    project.write("starts.py", STARTS)
    server, side = project.serve_measured("starts.py", how, "{port}")
    assert server.get("/r1", headers={HEADER: "mine"}).status == 200

    side.wait_until_it_listens()
    side.refresh()

    assert lines_of(side) == {"mine": ran["/r1"]}
    labelled = side.get(f"{DASHBOARD}/health").json()["contexts"]["labelled"]
    assert labelled == "header"
