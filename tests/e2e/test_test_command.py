"""`wsgi-coverage test`: the server is measured, the command's exit code handed on, nothing left."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import sys
from pathlib import Path

import pytest

APP = """
import os
from flask import Flask

app = Flask(__name__)

@app.get("/")
def index():
    return "index"

@app.get("/half")
def half():
    return "half"

@app.get("/bye")
def bye():
    os._exit(int(os.environ.get("BYE", "0")))
"""
GET = "import sys, urllib.request as u; u.urlopen(sys.argv[1] + '/half').read(); sys.exit({code})"


@pytest.fixture
def command(project, held_port):
    """Make the arguments of a `wsgi-coverage test`, in a project with an application."""
    project.coveragerc("source = .")
    project.write("app.py", APP)

    def command(*tests, server=None, options=()):
        python = shlex.quote(sys.executable)
        server = server or f"{python} -m gunicorn -w 2 -b 127.0.0.1:{held_port} app:app"
        url = f"http://127.0.0.1:{held_port}/"
        tests = tests or (sys.executable, "-c", GET.format(code=0), url.rstrip("/"))
        named = ("--server", server, "--url", url, *options)
        return ("-m", "wsgi_coverage", "test", *named, "--", *tests)

    return command


@pytest.fixture
def test(project, command):
    """Run a `wsgi-coverage test` to its end."""

    def test(*tests, env=None, **more):
        return project.command(
            [sys.executable, *command(*tests, **more)],
            cwd=project.folder,
            env={"NO_COLOR": "1", **(env or {})},
            timeout=60,
        )

    return test


def processes_in(folder: Path) -> list[str]:
    """The command lines of the processes that run in a folder; one that ends has none any more."""
    found = []
    for each in Path("/proc").iterdir():
        try:
            if each.name.isdigit() and Path(os.readlink(each / "cwd")) == folder:
                found.append((each / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return [command for command in found if command]


def test_what_the_tests_reached_is_reported_and_saved(project, test, until):
    done = test()

    assert done.returncode == 0, done.stderr
    assert re.search(r"^app\.py +12 +2 +83%$", done.stdout, re.M)
    assert project.saved("app.py") == {2, 3, 5, 7, 8, 11, 12, 13, 15, 16}
    assert [path.name for path in project.data_files()] == [".coverage"]
    until(lambda: not processes_in(project.folder), "everything that was started has ended")


def test_the_exit_code_is_the_command_s(test, held_port):
    done = test(sys.executable, "-c", GET.format(code=5), f"http://127.0.0.1:{held_port}")

    assert done.returncode == 5
    assert "app.py" in done.stdout


def test_too_little_gives_exit_code_2_and_the_command_s_own_goes_before_it(test, held_port):
    options = ("--fail-under", "95")

    succeeded = test(options=options)
    failed = test(
        *(sys.executable, "-c", GET.format(code=5), f"http://127.0.0.1:{held_port}"),
        options=options,
    )

    assert (succeeded.returncode, failed.returncode) == (2, 5)
    assert succeeded.stderr.endswith("wsgi-coverage: 83 % was executed, and 95 % is required\n")


def test_enough_is_enough(test):
    assert test(options=("--fail-under", "83")).returncode == 0


def test_fail_under_in_the_configuration_holds_where_no_option_is_given(project, test):
    project.coveragerc("source = .", "[report]", "fail_under = 83.34", "precision = 2")

    done = test()

    assert done.returncode == 2
    assert done.stderr.endswith("wsgi-coverage: 83.33 % was executed, and 83.34 % is required\n")
    assert test(options=("--fail-under", "83.33")).returncode == 0


def test_html_is_written_where_it_is_asked_for(project, test):
    assert test(options=("--html", "pages")).returncode == 0

    assert "app.py" in (project.folder / "pages" / "index.html").read_text()


def test_a_server_that_ends_at_once_is_said_with_its_last_lines(project, test):
    code = "print('no such setting'); raise SystemExit(4)"
    server = f"{sys.executable} -c {shlex.quote(code)}"

    done = test(server=server)

    assert done.returncode == 3
    assert done.stdout == ""
    assert re.fullmatch(
        r"wsgi-coverage: the server ended with exit code 4 before it answered at http://\S+; "
        r"its last lines:\n  no such setting\n",
        done.stderr,
    )


def test_a_server_that_never_answers_is_said_and_ended(project, test, until):
    project.write("deaf.py", "import time\nprint('deaf', flush=True)\ntime.sleep(60)\n")

    done = test(server=f"{sys.executable} deaf.py", options=("--timeout", "5"))

    assert done.returncode == 3
    assert "the server did not answer at http://127.0.0.1:" in done.stderr
    assert "within 5 seconds; its last lines:\n  deaf\n" in done.stderr
    until(lambda: not processes_in(project.folder), "everything that was started has ended")


def test_a_server_that_cannot_be_started_is_said(test):
    done = test(server="no-such-server --port 1")

    assert done.returncode == 3
    assert done.stderr == (
        "wsgi-coverage: the server 'no-such-server' cannot be started: No such file or directory\n"
    )


@pytest.mark.parametrize(("bye", "code"), [("0", 0), ("9", 3)])
def test_a_server_may_end_by_itself_in_order_but_not_otherwise(project, test, held_port, bye, code):
    server = f"{sys.executable} -m flask --app app run --port {held_port}"
    client = (
        "import sys, urllib.request as u\nu.urlopen(sys.argv[1] + '/half').read()\n"
        "try:\n    u.urlopen(sys.argv[1] + '/bye').read()\nexcept OSError:\n    pass"
    )

    done = test(
        *(sys.executable, "-c", client, f"http://127.0.0.1:{held_port}"),
        server=server,
        env={"BYE": bye},
    )

    assert done.returncode == code, done.stderr
    assert ("the server ended with exit code 9 while it was tested" in done.stderr) == bool(code)
    assert project.saved("app.py") >= {13, 17}


def test_what_nobody_imported_counts_however_the_server_ends(project, test, held_port):
    (project.folder / "kiosk").mkdir()
    project.write("kiosk/__init__.py", APP)
    project.write("kiosk/attic.py", "def never():\n    return 1\n")
    project.coveragerc("source = kiosk")
    server = f"{sys.executable} -m flask --app kiosk run --port {held_port}"
    ending = (
        "import sys, urllib.request as u\n"
        "try:\n    u.urlopen(sys.argv[1] + '/bye').read()\nexcept OSError:\n    pass"
    )

    for client in (GET.format(code=0), ending):
        done = test(sys.executable, "-c", client, f"http://127.0.0.1:{held_port}", server=server)

        assert done.returncode == 0, done.stderr
        assert re.search(r"^kiosk/attic\.py +2 +2 +0%$", done.stdout, re.M), done.stdout


def test_a_server_that_does_not_end_is_killed_and_said_and_its_lines_are_there(
    project, test, held_port, until
):
    project.write(
        "stubborn.py",
        "import signal\nfor number in (signal.SIGINT, signal.SIGTERM):\n"
        "    signal.signal(number, signal.SIG_IGN)\n"
        f"from app import app\nprint('stubborn', flush=True)\napp.run(port={held_port})\n",
    )

    done = test(server=f"{sys.executable} stubborn.py", options=("--timeout", "3"))

    assert done.returncode == 3
    assert (
        "the server did not end within 3 seconds, neither by SIGINT nor by SIGTERM" in done.stderr
    )
    assert "was killed; its last lines:\n" in done.stderr
    assert "stubborn" in done.stderr
    assert project.saved("app.py") == {2, 3, 5, 7, 8, 11, 12, 13, 15, 16}
    until(lambda: not processes_in(project.folder), "everything that was started has ended")


PICKY = """
import socket, sys
listening = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    connection, _ = listening.accept()
    with connection:
        if connection.recv(1000).startswith(b"GET / "):
            connection.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\nhello")
"""


def test_a_server_that_says_nothing_to_what_is_no_http_is_asked_for_the_url(
    project, test, held_port
):
    project.write("picky.py", PICKY)

    done = test(
        sys.executable, "-c", "print('tested')", server=f"{sys.executable} picky.py {held_port}"
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("tested\n")
    assert project.saved("picky.py") == set(range(2, 9))


def test_somebody_else_at_the_address_is_an_error(test, held_port):
    with socket.create_server(("127.0.0.1", held_port)):
        done = test()

    assert done.returncode == 3
    assert done.stderr == (
        f"wsgi-coverage: another program listens at http://127.0.0.1:{held_port}/ already\n"
    )


def test_a_server_of_which_nothing_is_measured_is_said(project, test):
    project.coveragerc("include = nothing.py")

    done = test()

    assert done.returncode == 3
    assert "wsgi-coverage: nothing was measured" in done.stderr


def test_a_command_that_is_not_there_is_127_as_in_a_shell(test, project, until):
    done = test("no-such-command")

    assert done.returncode == 127
    assert "'no-such-command' cannot be started: No such file or directory" in done.stderr
    until(lambda: not processes_in(project.folder), "everything that was started has ended")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("when", ["starting", "testing"])
def test_after_a_signal_nothing_is_left_running(project, command, until, number, when):
    project.write("deaf.py", "import time\nopen('deaf', 'w').close()\ntime.sleep(60)\n")
    sleeping = "import time\nopen('testing', 'w').close()\ntime.sleep(60)\n"
    server = f"{sys.executable} deaf.py" if when == "starting" else None
    process = project.start(*command(sys.executable, "-c", sleeping, server=server))
    there = project.folder / ("deaf" if when == "starting" else "testing")
    until(there.exists, "it is under way")

    assert process.end(number) == 128 + number

    until(lambda: not processes_in(project.folder), "everything that was started has ended")
    assert project.data_files() == set()
    assert "Traceback" not in process.output


def test_ctrl_c_while_the_server_is_ended_kills_it_and_blames_nobody(
    project, command, held_port, until
):
    project.write(
        "stubborn.py",
        "import signal\n"
        "signal.signal(signal.SIGINT, lambda *_: open('ending', 'w').close())\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"from app import app\napp.run(port={held_port})\n",
    )
    process = project.start(
        *command(sys.executable, "-c", "", server=f"{sys.executable} stubborn.py")
    )
    until((project.folder / "ending").exists, "the server is asked to end")

    assert process.end(signal.SIGINT) == 130

    until(lambda: not processes_in(project.folder), "everything that was started has ended")
    assert "did not end" not in process.output


def test_what_is_wrong_with_the_usage_is_said(project, test, command):
    assert test(server="coverage run app.py").returncode == 2
    assert test(server="'").returncode == 2
    assert test(options=("--timeout", "0")).returncode == 2
    assert test(options=("--fail-under", "101")).returncode == 2
    assert "--url" in test(options=("--url", "localhost:8000")).stderr
