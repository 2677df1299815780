"""Commands with `--pod` instead of a URL, from a developer's machine to servers in pods."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TIMEOUT = 60.0  # seconds
PASSWORD = {"WSGI_COVERAGE_PASSWORD": "open sesame"}
SHOP = """\
from flask import Flask
from flask_coverage import FlaskCoverage

app = Flask(__name__)
FlaskCoverage(app)


@app.get("/buy")
def buy():
    return "bought"


@app.get("/sell")
def sell():
    return "sold"
"""
BUY, SELL = SHOP.splitlines().index('    return "bought"') + 1, len(SHOP.splitlines())
LOADED = {n for n, line in enumerate(SHOP.splitlines(), start=1) if line} - {BUY, SELL}

# What a command makes of a forward does not depend on how kubectl speaks to the cluster.
by_both_clients = pytest.mark.parametrize("how", ["kubectl", "kubernetes"], indirect=True)

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    folder = tmp_path / "desk"
    folder.mkdir()
    (folder / "shop.py").write_text(SHOP)
    return folder


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "wsgi_coverage", *arguments]


@pytest.fixture
def run(desk: Path, project: Any) -> Run:
    """Run a command in the developer's folder, to its end."""

    def run_it(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        done: subprocess.CompletedProcess[str] = project.command(
            command(*arguments), cwd=desk, env={**PASSWORD, **env}, timeout=TIMEOUT
        )
        return done

    return run_it


@pytest.fixture
def shops(cluster: Any, a_pod: Any, project: Any, tmp_path: Path) -> Any:
    """Two pods whose sources are in different folders: one has sold, one has bought."""
    folders = [tmp_path / name for name in ("one", "other")]
    with contextlib.ExitStack() as stack:
        for number, (folder, path) in enumerate(zip(folders, ("/buy", "/sell"), strict=True)):
            folder.mkdir()
            there = type(project)(folder)
            stack.callback(there.close)
            there.write("shop.py", SHOP)
            there.coveragerc("source = .")
            server = there.gunicorn("-w", "1", "shop:app", env=PASSWORD)
            assert server.get(path).status == 200
            cluster.pods.append(a_pod(f"web-{number}", port=server.port))
        yield cluster


def options(how: str) -> list[str]:
    return ["-n", "shop", *(["--kubernetes"] if how == "kubernetes" else [])]


def one_line(stderr: str) -> str:
    [line] = stderr.splitlines()
    return line.removeprefix("wsgi-coverage: ")


def test_all_matching_pods_are_collected_into_one_report_about_the_checkout(
    shops: Any, how: str, run: Run, desk: Path, lines_in: Any
) -> None:
    done = run("collect", "--pod", "app=shop", *options(how), "--format", "text")

    assert (done.returncode, done.stderr) == (
        0,
        "wsgi-coverage: 1 file in .coverage, of 2 instances\n",
    )
    assert lines_in((desk / ".coverage").read_bytes()) == {"shop.py": LOADED | {BUY, SELL}}
    assert re.search(r"^shop\.py +10 +0 +100%$", done.stdout, re.M)


@by_both_clients
def test_with_first_it_is_one_pod(
    shops: Any, how: str, run: Run, desk: Path, lines_in: Any
) -> None:
    done = run("collect", "--pod", "app=shop", "--first", *options(how))

    assert done.returncode == 0
    assert lines_in((desk / ".coverage").read_bytes()) == {"shop.py": LOADED | {BUY}}


@by_both_clients
def test_other_commands_ask_a_pod_too(shops: Any, how: str, run: Run) -> None:
    refreshed = run("refresh", "--pod", "web-1", *options(how))
    listed = run("files", "--pod", "pod/web-1", "--json", *options(how))

    assert (refreshed.returncode, listed.returncode) == (0, 0)
    [figures] = json.loads(listed.stdout)
    assert Path(figures["file"]).parts[-3:] == ("other", "project", "shop.py")
    assert figures["covered"] == len(LOADED) + 1


@by_both_clients
def test_a_command_for_one_dashboard_refuses_two_pods(
    cluster: Any, a_pod: Any, program: Any, how: str, run: Run
) -> None:
    cluster.pods = [a_pod(name, port=program.server_port) for name in ("web-0", "web-1")]

    done = run("reset", "--pod", "app=shop", *options(how))

    assert done.returncode == 2
    assert one_line(done.stderr) == "2 pods match: web-0, web-1; name one, or say --first"


@by_both_clients
def test_a_wrong_password_is_one_line_that_names_the_pod(
    shops: Any, how: str, run: Run, desk: Path
) -> None:
    shops.pods.pop()

    done = run("collect", "--pod", "app=shop", *options(how), WSGI_COVERAGE_PASSWORD="open barley")

    assert done.returncode == 3
    line = one_line(done.stderr)
    assert line.startswith("pod web-0: http://127.0.0.1:")
    assert "refuses (401)" in line
    assert not (desk / ".coverage").exists()


@by_both_clients
def test_a_dead_pod_is_one_line(cluster: Any, a_pod: Any, how: str, run: Run, desk: Path) -> None:
    cluster.pods = [a_pod("web-0", phase="Failed")]

    done = run("collect", "--pod", "app=shop", *options(how))

    assert done.returncode == 3
    assert one_line(done.stderr) == (
        "no pod with 'app=shop' in namespace shop is running: web-0 is Failed"
    )
    assert [*desk.iterdir()] == [desk / "shop.py"]


def test_a_half_open_forward_is_one_line_in_time(
    cluster: Any, a_pod: Any, how: str, run: Run
) -> None:
    cluster.pods = [a_pod("web-0", silent=True)]

    done = run("collect", "--pod", "web-0", "--timeout", "2", *options(how))

    assert done.returncode == 3
    assert one_line(done.stderr) == "nothing answers on port 9095 of pod web-0 within 2 s"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either a URL or --pod"),
        (["http://127.0.0.1:1", "--pod", "web-0"], "give either a URL or --pod"),
        (["--pod", ""], "must be a pod's name or a label selector such as app=shop, got ''"),
        (["--pod=--all"], "must be a pod's name or a label selector such as app=shop, got '--all'"),
        (["--pod=web-0", "--namespace=--all"], "no namespace can be called '--all'"),
    ],
)
@pytest.mark.parametrize("name", ["collect", "report"])
def test_wrong_usage_is_one_line_and_asks_nobody(
    cluster: Any, run: Run, name: str, arguments: list[str], message: str
) -> None:
    done = run(name, *arguments)

    assert done.returncode == 2
    assert one_line(done.stderr) == message
    assert cluster.requests == []


@pytest.mark.parametrize("port", ["0", "65536", "web", "-1"])
def test_what_can_be_no_port_is_refused(run: Run, port: str) -> None:
    done = run("collect", "--pod", "web-0", f"--container-port={port}")

    assert done.returncode == 2
    assert f"must be a port from 1 to 65535, got '{port}'" in done.stderr


@by_both_clients
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
def test_a_signal_ends_the_command_and_leaves_no_process(
    cluster: Any,
    a_pod: Any,
    how: str,
    project: Any,
    desk: Path,
    until: Any,
    number: int,
    code: int,
) -> None:
    cluster.pods = [a_pod("web-0", silent=True)]
    with subprocess.Popen(
        command("collect", "--pod", "web-0", *options(how)),
        cwd=desk,
        env=project.environment(None),
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        until(lambda: cluster.connected, "the forward is there")
        # A terminal sends Ctrl-C to all; the others reach the one process that somebody names.
        (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)

        _, error = process.communicate(timeout=TIMEOUT)

    assert (process.returncode, error) == (code, b"")
    assert of_session(process.pid) == []


def of_session(session: int) -> list[str]:
    """The command lines of the processes of a session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] != "Z":
                found.append((stat.parent / "cmdline").read_text())
        except OSError:
            continue
    return found
