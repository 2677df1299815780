"""Every entry point, with the server that it is meant for."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path

import pytest

HELLO = """
def hello():
    return [b"hello"]


def unused():
    return [b"never"]


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return hello()
"""
IMPORTED = {2, 6, 10}  # the lines of HELLO that run when it is imported
CALLED = {3, 11, 12}  # those that a request runs
WAITRESS = """
import socket
import sys
import waitress
from wsgi_coverage import CoverageMiddleware
from myapp import app

server = waitress.create_server(
    CoverageMiddleware(app), sockets=[socket.socket(fileno=int(sys.argv[1]))], threads=8
)
server.run()
"""
WERKZEUG = """
import socket
import sys
from werkzeug.serving import make_server
from wsgi_coverage import CoverageMiddleware
from myapp import app

app = CoverageMiddleware(app)
bound = socket.socket(fileno=int(sys.argv[1]))
bound.listen()  # the werkzeug server expects that
make_server("127.0.0.1", 0, app, threaded=True, fd=bound.fileno()).serve_forever()
"""
PASTE = """
[pipeline:main]
pipeline = coverage hello

[filter:coverage]
use = egg:wsgi-coverage
password = open sesame
url_prefix = /cov
autosave_interval = 0.5

[app:hello]
paste.app_factory = myapp:make
"""
ASGI = """
async def app(scope, receive, send):
    pass


class App:
    async def __call__(self, scope, receive, send):
        pass
"""
FLASK = """
from flask import Flask
from flask_coverage import FlaskCoverage

app = Flask(__name__)
FlaskCoverage(app, debug=True)


@app.get("/")
def index():
    return "index"
"""
MOODY = """
import signal
import sys


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/raises":
        raise LookupError("the application's own")
    if path == "/late":
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "9")])
        return late()
    if path == "/signals":
        names = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
        text = " ".join(getattr(each, "__qualname__", str(each)) for each in names)
    else:
        print("to stdout", path)
        print("to stderr", path, file=sys.stderr)
        text = "plain"
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [text.encode()]


def late():
    yield b"half"
    raise LookupError("in the middle of the body")


def wrapped():
    from wsgi_coverage import CoverageMiddleware

    return CoverageMiddleware(app)
"""
MOODS = ["/raises", "/signals", "/plain", "/debug", "/debug/coveragex", "/raises"]


def test_an_application_named_in_the_environment_can_be_a_factory(project, password):
    project.coveragerc("source = .")
    project.write("myapp.py", f"{HELLO}\n\ndef create_app(greeting='hello'):\n    return app\n")
    env = {**password, "WSGI_COVERAGE_APP": "myapp:create_app()"}
    server = project.gunicorn("-w", "2", "wsgi_coverage.wsgi:application", env=env)

    assert server.get("/").body == b"hello"

    server.refresh()
    assert server.exported() == {"myapp.py": IMPORTED | CALLED | {15, 16}}


@pytest.mark.parametrize("named", ["myapp:app", "myapp:App()"])
def test_an_asgi_application_is_refused_at_the_start_and_told_of_run(project, password, named):
    project.write("myapp.py", ASGI)
    project.write("gunicorn.conf.py", "control_socket_disable = True")
    env = {**password, "WSGI_COVERAGE_APP": named}
    server = project.start(
        "-m", "gunicorn", "-b", "127.0.0.1:0", "wsgi_coverage.wsgi:application", env=env
    )

    said = server.wait_for("`wsgi-coverage run`")
    server.port = int(re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", said)[1])

    assert "SettingsError: environment variable WSGI_COVERAGE_APP must lead to a WSGI " in said
    assert f"got {named!r}: it is async, an ASGI application" in said
    assert server.popen.wait(30) == 3  # gunicorn's, where a worker cannot be booted


def test_gunicorn_paste_takes_the_filter_from_the_installed_egg(project, password):
    pytest.importorskip("paste.deploy", reason="PasteDeploy is not installed")
    project.coveragerc("source = .")
    project.write("myapp.py", f"{HELLO}\n\ndef make(global_conf):\n    return app\n")
    ini = project.write("paste.ini", PASTE)
    server = project.gunicorn("-w", "2", "--paste", str(ini))
    authorization = {"Authorization": "Basic YWRtaW46b3BlbiBzZXNhbWU=", "Accept": "*/json"}

    assert server.get("/").body == b"hello"

    refreshed = server.request(
        "POST", "/cov/refresh", headers={**authorization, "Accept": "application/json"}
    )
    assert refreshed.status == 200
    assert refreshed.json()["autosave_interval_seconds"] == 0.5
    assert server.get("/cov/files").status == 401
    [entry] = server.get("/cov/files", headers=authorization).json()
    assert entry["covered"] >= len(CALLED)


@pytest.mark.parametrize("script", [WAITRESS, WERKZEUG], ids=["waitress", "werkzeug"])
def test_a_wrapped_application_is_measured_in_every_thread_of_a_server(
    project, password, lines_in, script
):
    if script is WAITRESS:
        pytest.importorskip("waitress", reason="waitress is not installed")
    project.coveragerc("source = .", "omit = script.py")
    project.write("myapp.py", HELLO)
    project.write("script.py", script)
    server = project.serve("script.py", "{fd}", env=password)

    answers = server.together(["/"] * 8)

    assert {answer.body for answer in answers} == {b"hello"}
    server.refresh()
    assert server.exported() == {"myapp.py": CALLED}
    assert server.end(signal.SIGTERM) == -signal.SIGTERM
    assert project.saved("myapp.py") == CALLED
    assert project.left_over() == []


@pytest.mark.parametrize("name", ["flask-coverage", "wsgi-coverage"])
def test_the_command_exists_beside_the_interpreter_and_shows_help(project, name):
    command = Path(sys.executable).with_name(name)

    assert "usage" in project.run(str(command), "--help").lower()


def test_flask_coverage_run_measures_the_load_and_ends_by_ctrl_c(project):
    project.coveragerc("source = .")
    project.write("shop.py", FLASK)
    command = Path(sys.executable).with_name("flask-coverage")
    server = project.start(str(command), "--app", "shop", "run", "--port", "0")
    said = server.wait_for("Running on http://127.0.0.1:")
    server.port = int(re.search(r"Running on http://127\.0\.0\.1:(\d+)", said)[1])
    assert server.get("/").text == "index"

    server.refresh()

    assert server.exported() == {"shop.py": {2, 3, 5, 6, 9, 10, 11}}
    assert server.end(signal.SIGINT) in (0, -signal.SIGINT)
    assert "Traceback" not in server.output
    assert project.saved("shop.py") == {2, 3, 5, 6, 9, 10, 11}
    assert project.left_over() == []


def test_before_the_first_refresh_every_get_answers_404_and_says_how(project, password):
    project.coveragerc("source = .")
    project.write("myapp.py", HELLO)
    env = {**password, "WSGI_COVERAGE_APP": "myapp:app"}
    server = project.gunicorn("-w", "1", "wsgi_coverage.wsgi:application", env=env)
    server.get("/")

    for path in ("report", "files", "export", "export?format=json", "html/", "html/index.html"):
        answer = server.get(f"/debug/coverage/{path}")
        assert (answer.status, answer.json()["error"]) == (404, "no-report"), path
        assert "POST" in answer.json()["message"]

    page = server.get("/debug/coverage/", headers={"Accept": "text/html"})
    assert page.status == 200
    assert re.search(r'<form method="post" action="[^"]*refresh"', page.text)
    assert not (project.folder / ".wsgi-coverage-cache" / "current").exists()


def test_the_applications_errors_signals_and_output_are_as_without_us(project, password):
    project.coveragerc("source = .")
    project.write("moody.py", MOODY)
    bare = project.gunicorn("-w", "1", "moody:app", env=password)
    wrapped = project.gunicorn("-w", "1", "moody:wrapped()", env=password)

    seen = [
        [(answer.status, answer.body) for answer in map(server.get, MOODS)]
        for server in (bare, wrapped)
    ]
    codes = [server.end(signal.SIGTERM) for server in (bare, wrapped)]

    assert [status for status, _ in seen[0]] == [500, 200, 200, 200, 200, 500]
    assert seen[0] == seen[1]
    assert codes == [0, 0]
    assert "LookupError: the application's own" in bare.output
    assert without_numbers(bare.output) == without_numbers(wrapped.output)


def without_numbers(output: str) -> list[str]:
    """The lines of a log, but for times, pids and the frames of our own in a traceback."""
    kept, skip = [], False
    for line in output.splitlines():
        if line.lstrip().startswith("File "):
            skip = "wsgi_coverage" in line
        elif not line.startswith("    "):
            skip = False
        if not skip:
            kept.append(re.sub(r"\d+", "N", line))
    return kept
