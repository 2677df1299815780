"""The commands that ask real servers: the same as curl gets, and three instances as one report."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading

import pytest
from coverage import CoverageData

from wsgi_coverage.client import Client, FailedError, UnreachableError

DASHBOARD = "/debug/coverage"
TIMEOUT = 60  # seconds
LETTERS = "abcd"
CART = "".join(f"def {letter}():\n    return '{letter}'\n\n\n" for letter in LETTERS)
BODIES = {letter: 2 + 4 * number for number, letter in enumerate(LETTERS)}
DEFS = {line - 1 for line in BODIES.values()}
WEB = """\
from shop import cart


def app(environ, start_response):
    start_response("200 OK", [])
    return [getattr(cart, environ["PATH_INFO"][1:])().encode()]
"""
SHOP = {"shop/__init__.py": "NAME = 'shop'\n", "shop/cart.py": CART, "shop/web.py": WEB}


@pytest.fixture
def command(project, password, tmp_path):
    """Run `wsgi-coverage` in a folder, with the password in the environment."""

    def run(*arguments, cwd=tmp_path, within=(), **more):
        return project.command(
            [*within, sys.executable, "-m", "wsgi_coverage", *map(str, arguments)],
            cwd=cwd,
            env={**password, "NETRC": os.devnull, **more},
            text=False,
            timeout=TIMEOUT,
        )

    return run


@pytest.fixture
def curl(password):
    """What curl gets from an address."""
    if shutil.which("curl") is None:
        pytest.skip("no curl")

    def get(url, *options):
        user = f"admin:{password['WSGI_COVERAGE_PASSWORD']}"
        done = subprocess.run(
            ["curl", "--silent", "--show-error", "--noproxy", "*", "--user", user, *options, url],
            capture_output=True,
            timeout=TIMEOUT,
            check=True,
        )
        return done.stdout

    return get


@pytest.fixture
def server(project, routes, password):
    routes.write(project)
    server = project.gunicorn("-w", "2", "served:application", env=password)
    server.wait_for_workers(2)
    server.get("/r0")
    server.url = f"http://127.0.0.1:{server.port}"
    return server


class Deployment:
    """Instances of one application, and a checkout of it; a server runs once it is asked for."""

    def __init__(self, checkout, instances, password):
        self.checkout = checkout
        self.instances = instances
        self._password = password

    @functools.cached_property
    def server(self):
        """That of the first instance."""
        return start(self.instances[0], self._password)

    @functools.cached_property
    def servers(self):
        """Those of all instances."""
        return [self.server, *(start(each, self._password) for each in self.instances[1:])]


@pytest.fixture
def deployment(project, password, tmp_path):
    """Three instances of one application, each in a folder of its own, and a checkout of it."""
    checkout = tmp_path / "checkout"
    for name, text in SHOP.items():
        (checkout / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / "src" / name).write_text(text)
    (checkout / "other").mkdir()
    (checkout / "other/__init__.py").touch()
    (checkout / ".coveragerc").write_text("[report]\nshow_missing = true\n")
    instances = []
    for number, folder in enumerate(["srv/app", "opt/x/code", "venv/lib/python3/site-packages"]):
        (tmp_path / f"instance-{number}").mkdir()
        each = type(project)(tmp_path / f"instance-{number}")
        each.folder = each.folder / folder
        each.folder.mkdir(parents=True)
        shutil.copytree(checkout / "src/shop", each.folder / "shop")
        each.coveragerc("source = .")
        instances.append(each)
    with contextlib.ExitStack() as stack:
        for each in instances:
            stack.callback(each.close)
        yield Deployment(checkout, instances, password)


def start(instance, password):
    env = {**password, "WSGI_COVERAGE_APP": "shop.web:app"}
    server = instance.gunicorn("-w", "2", "wsgi_coverage.wsgi:application", env=env)
    server.wait_for_workers(2)
    server.url = f"http://127.0.0.1:{server.port}"
    return server


def lines_in(path, checkout):
    data = CoverageData(basename=str(path))
    data.read()
    out = {
        os.path.relpath(name, checkout): set(data.lines(name) or ())
        for name in data.measured_files()
    }
    data.close(force=True)
    return out


def error_of(done):
    """The one line that a command ends with."""
    text = done.stderr.decode()
    assert text.startswith("wsgi-coverage: ")
    assert text.count("\n") == 1, text
    return text


# As curl


def test_what_is_read_is_the_same_by_curl_and_by_command(server, command, curl, tmp_path):
    assert command("refresh", server.url).returncode == 0
    identity = command("snapshot", server.url, "--label", "one").stdout.decode().strip()
    root = f"{server.url}{DASHBOARD}"

    for below, option in {"": (), f"/snapshots/{identity}": ("--snapshot", identity)}.items():
        for wanted in ("coverage", "json", "xml", "lcov", "html"):
            done = command("export", server.url, "--format", wanted, "-o", "exported", *option)
            assert done.returncode == 0, done.stderr
            expected = curl(f"{root}{below}/export?format={wanted}")
            assert (tmp_path / "exported").read_bytes() == expected, wanted
            piped = command("export", server.url, "--format", wanted, *option)
            assert piped.stdout == expected
        for verb in ("files", "functions"):
            done = command(verb, server.url, "--json", *option)
            assert json.loads(done.stdout) == json.loads(curl(f"{root}{below}/{verb}"))
        assert command("report", server.url, *option).stdout == curl(f"{root}{below}/report")
    unused = command("functions", server.url, "--unused", "--json")
    assert json.loads(unused.stdout) == json.loads(curl(f"{root}/functions?unused=1"))
    listed = command("snapshots", server.url, "--json")
    assert json.loads(listed.stdout) == json.loads(curl(f"{root}/snapshots"))
    diff = command("diff", server.url, identity, "--json")
    assert json.loads(diff.stdout) == json.loads(curl(f"{root}/diff?a={identity}&b=current"))


@pytest.mark.parametrize("verb", ["refresh", "snapshot", "reset", "pause", "resume"])
def test_what_is_changed_is_answered_alike_by_curl_and_by_command(server, command, curl, verb):
    done = command(verb, server.url, "--json")

    by_curl = curl(
        f"{server.url}{DASHBOARD}/{verb}", "-X", "POST", "-H", "Accept: application/json"
    )
    assert done.returncode == 0, done.stderr
    assert shape(json.loads(done.stdout)) == shape(json.loads(by_curl))


def shape(answer):
    """An answer without what differs from one time to the next."""
    times = {"refreshed_at", "taken_at", "published_at", "duration_seconds", "id", "size"}
    if isinstance(answer, dict):
        return {key: None if key in times else shape(value) for key, value in answer.items()}
    return sorted(map(str, map(shape, answer))) if isinstance(answer, list) else answer


def test_a_reset_a_pause_and_a_deletion_do_what_they_say(server, command):
    command("refresh", server.url)
    [identity] = [command("snapshot", server.url).stdout.decode().strip()]

    assert command("reset", server.url).stdout == b"reset in 2 workers\n"
    assert error_of(command("report", server.url)).count("no-report") == 1
    assert command("pause", server.url).stdout == b"paused in 2 workers\n"
    assert {each["state"] for each in server.get(f"{DASHBOARD}/health").json()["workers"]} == {
        "paused"
    }
    assert command("resume", server.url).stdout == b"measuring in 2 workers\n"
    assert command("snapshots", server.url, "--delete", identity).returncode == 0
    assert server.get(f"{DASHBOARD}/snapshots").json() == []


def test_a_worker_that_does_not_take_part_is_named_and_is_exit_code_4(
    project, routes, password, command
):
    routes.write(project)
    # What is marked in memory is there without anybody's taking part.
    env = {**password, "COVERAGE_CORE": "ctrace"}
    server = project.gunicorn("-w", "2", "served:application", env=env)
    server.wait_for_workers(2)
    server.url = f"http://127.0.0.1:{server.port}"
    stopped, other = sorted(server.worker_pids())
    with server.only(other, {stopped, other}):
        done = command("refresh", server.url, "--wait", "0.2")

    assert done.returncode == 4
    assert f"worker {stopped} on ".encode() in done.stderr
    assert b"not complete: 1 of 2 workers did not take part" in done.stderr


def test_the_library_answers_with_the_dashboards_json(server, password):
    client = Client(server.url, password=password["WSGI_COVERAGE_PASSWORD"])

    refreshed = client.refresh()

    assert refreshed["complete"] is True
    assert client.url == f"{server.url}{DASHBOARD}"
    assert client.files() == server.get(f"{DASHBOARD}/files").json()
    assert client.report() == server.get(f"{DASHBOARD}/report").text
    with pytest.raises(FailedError, match="unknown-snapshot"):
        client.report(snapshot="none")


# What goes wrong


@pytest.mark.parametrize("verb", ["refresh", "report", "health", "export", "collect"])
def test_a_wrong_password_is_one_line_and_exit_code_3(server, command, tmp_path, verb):
    done = command(verb, server.url, "--password", "wrong")

    assert done.returncode == 3
    assert done.stdout == b""
    assert "refuses (401): the dashboard needs a user name and a password" in error_of(done)
    assert not (tmp_path / ".coverage").exists()


def test_a_server_that_has_ended_is_one_line_and_exit_code_3(server, command):
    server.end()

    done = command("refresh", server.url, "--retries", "1")

    assert done.returncode == 3
    assert "cannot be reached: Connection refused" in error_of(done)


@pytest.mark.parametrize("verb", ["export", "collect"])
def test_a_full_disk_is_one_line_and_leaves_what_was_there(server, command, mounts, tmp_path, verb):
    small = tmp_path / "small"
    small.mkdir()
    command("refresh", server.url)
    target = small / "target"
    fill = f"printf before > '{target}'"
    show = f"code=$?; cat '{target}'; ls -A '{small}'; exit $code"
    within = [
        *mounts.within(*mounts.small_disk(small, "16k"), fill),
        *("sh", "-c", f'"$@"; {show}', "sh"),
    ]

    done = command(verb, server.url, "-o", target, within=within)

    assert done.returncode == 1, done.stderr
    *said, error = done.stderr.decode().splitlines()
    assert error.startswith("wsgi-coverage: ")
    assert "no room on the disk" in error
    # Of what is collected it is said, too, that the application was imported early.
    assert ["imported before" in each for each in said] == [True] * (verb == "collect")
    assert done.stdout == b"beforetarget\n"


@pytest.mark.parametrize("verb", ["report", "export"])
def test_stdout_that_is_full_is_one_line(server, verb):
    server.refresh()
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "wsgi_coverage", verb, server.url],
            env={**os.environ, "WSGI_COVERAGE_PASSWORD": server.password},
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=TIMEOUT,
            check=False,
        )

    assert done.returncode == 1
    assert "no room on the disk" in error_of(done)


def that_first(end: str, *statements: str) -> str:
    """A module with an application that first does something where the path ends so."""
    return "\n".join(
        [
            "import os, signal, threading",
            "from wsgi_coverage import CoverageMiddleware",
            "def app(environ, start_response):",
            "    start_response('200 OK', [])",
            "    return [b'']",
            "measured = CoverageMiddleware(app)",
            "def application(environ, start_response):",
            f"    if environ['PATH_INFO'].endswith({end!r}):",
            *(f"        {each}" for each in statements),
            "    return measured(environ, start_response)",
        ]
    )


def test_a_worker_that_dies_while_it_answers_does_not_have_a_change_sent_again(project, password):
    project.write(
        "dying.py",
        that_first(
            "/reset",
            "with open('asked', 'a') as file:",
            "    file.write('x')",
            "os.kill(os.getpid(), signal.SIGKILL)",
        ),
    )
    server = project.gunicorn("-w", "1", "dying:application", env=password)
    server.wait_for_workers(1)
    client = Client(f"http://127.0.0.1:{server.port}", password=server.password)

    with pytest.raises(UnreachableError) as raised:
        client.reset()

    assert raised.value.arrived is True
    assert (project.folder / "asked").read_text() == "x"


# Together


def test_three_instances_in_folders_of_their_own_are_one_report_on_the_checkout(
    deployment, command
):
    for letter, server in zip(LETTERS, deployment.servers, strict=False):
        server.get(f"/{letter}")
    urls = [server.url for server in deployment.servers]

    done = command("collect", *urls, "--format", "text", cwd=deployment.checkout)

    assert done.returncode == 0, done.stderr
    lines = lines_in(deployment.checkout / ".coverage", deployment.checkout)
    assert lines == {
        "src/shop/__init__.py": {1},
        "src/shop/cart.py": DEFS | {BODIES[letter] for letter in "abc"},
        "src/shop/web.py": {1, 4, 5, 6},
    }
    assert done.stderr == b"wsgi-coverage: 3 files in .coverage, of 3 instances\n"
    [row] = [line for line in done.stdout.decode().splitlines() if "cart.py" in line]
    assert row.split() == ["src/shop/cart.py", "8", "1", "88%", str(BODIES["d"])]
    assert sorted(each.name for each in deployment.checkout.iterdir()) == [
        ".coverage",
        ".coveragerc",
        "other",
        "src",
    ]


def test_an_instance_that_fails_does_not_keep_the_others_out(deployment, command):
    for letter, server in zip(LETTERS, deployment.servers, strict=False):
        server.get(f"/{letter}")
    deployment.servers[1].end()
    urls = [server.url for server in deployment.servers]

    done = command("collect", *urls, "--retries", "0", cwd=deployment.checkout)

    assert done.returncode == 3
    assert f"{urls[1]}{DASHBOARD}/health cannot be reached".encode() in done.stderr
    lines = lines_in(deployment.checkout / ".coverage", deployment.checkout)
    assert lines["src/shop/cart.py"] == DEFS | {BODIES["a"], BODIES["c"]}


def test_more_is_appended_under_a_label(deployment, command):
    one, two, _ = deployment.servers
    one.get("/a")
    command("collect", one.url, "--label", "first", cwd=deployment.checkout)
    two.get("/b")

    done = command("collect", two.url, "--label", "second", "--append", cwd=deployment.checkout)

    assert done.returncode == 0, done.stderr
    data = CoverageData(basename=str(deployment.checkout / ".coverage"))
    data.read()
    by_line = data.contexts_by_lineno(str(deployment.checkout / "src/shop/cart.py"))
    data.close(force=True)
    assert by_line[BODIES["a"]] == ["first|runtime"]
    assert by_line[BODIES["b"]] == ["second|runtime"]
    assert set(by_line[1]) == {"first|load", "second|load"}


def test_what_is_collected_with_a_reset_is_forgotten_there_and_nothing_is_lost(deployment, command):
    one, two, _ = deployment.servers
    urls = [one.url, two.url]
    one.get("/a")
    two.get("/b")

    first = command("collect", *urls, "--reset", "--label", "first", cwd=deployment.checkout)
    assert first.returncode == 0, first.stderr
    one.get("/c")
    more = ("--reset", "--append", "--label", "second")
    second = command("collect", *urls, *more, cwd=deployment.checkout)

    assert second.returncode == 0, second.stderr
    data = CoverageData(basename=str(deployment.checkout / ".coverage"))
    data.read()
    by_line = data.contexts_by_lineno(str(deployment.checkout / "src/shop/cart.py"))
    data.close(force=True)
    bodies = {letter: by_line.get(BODIES[letter]) for letter in LETTERS}
    assert bodies == {
        "a": ["first|runtime"],
        "b": ["first|runtime"],
        "c": ["second|runtime"],
        "d": None,
    }
    assert set(by_line[1]) == {"first|load", "second|load"}
    for server in (one, two):
        assert server.get(f"{DASHBOARD}/snapshots").json() == []
        server.refresh()
        assert server.exported()["cart.py"] == DEFS


def test_what_is_collected_into_a_pipe_is_written_into_it_and_reported_on(deployment, command):
    pipe = deployment.checkout / "pipe"
    os.mkfifo(pipe)
    deployment.server.get("/a")
    url = deployment.server.url

    received = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()), daemon=True)
    reader.start()

    done = command("collect", url, "-o", "pipe", "--format", "text", cwd=deployment.checkout)

    assert done.returncode == 0, done.stderr
    assert b"cart.py" in done.stdout
    reader.join(TIMEOUT)
    assert received[0].startswith(b"SQLite format 3")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert [each for each in os.listdir(deployment.checkout) if each.startswith(".wsgi")] == []


def test_while_requests_run_every_line_is_in_one_collection_or_in_the_next(deployment, command):
    server = deployment.server
    ended = threading.Event()
    answered = []

    def requests():
        while not ended.is_set():
            answered.append(server.get("/d").status)

    busy = threading.Thread(target=requests)
    busy.start()
    try:
        for letter in "abc":
            server.get(f"/{letter}")
            more = ("--reset", "--append")
            done = command("collect", server.url, *more, cwd=deployment.checkout)
            assert done.returncode == 0, done.stderr
    finally:
        ended.set()
        busy.join()

    lines = lines_in(deployment.checkout / ".coverage", deployment.checkout)
    assert lines["src/shop/cart.py"] == DEFS | set(BODIES.values())
    assert set(answered) == {200}


def test_with_a_full_disk_here_what_was_reset_stays_there_as_a_snapshot(
    deployment, command, mounts, tmp_path
):
    server = deployment.server
    server.get("/a")
    small = tmp_path / "small"
    small.mkdir()
    within = mounts.within(*mounts.small_disk(small, "16k"))

    failed = command("collect", server.url, "--reset", "-o", small / "x", within=within)

    assert failed.returncode == 1
    [taken] = server.get(f"{DASHBOARD}/snapshots").json()
    said = f"no data is lost: it is in snapshot {taken['id']} of {server.url}{DASHBOARD}"
    assert said in error_of(failed)
    done = command("export", server.url, "--snapshot", taken["id"], "-o", tmp_path / "kept")
    assert done.returncode == 0, done.stderr
    kept = lines_in(tmp_path / "kept", deployment.instances[0].folder)
    assert kept["shop/cart.py"] == DEFS | {BODIES["a"]}


@pytest.mark.parametrize("wanted", ["json", "xml", "lcov", "html"])
def test_any_format_is_about_the_checkouts_files(deployment, command, wanted):
    server = deployment.server
    server.get("/a")

    done = command(
        "collect", server.url, "--format", wanted, "--to", "report", cwd=deployment.checkout
    )

    assert done.returncode == 0, done.stderr
    report = deployment.checkout / "report"
    text = (report / "index.html" if wanted == "html" else report).read_text()
    if wanted == "html":  # a slash has markup of its own
        text = re.sub("<[^>]*>", "", text)
    assert "src/shop/cart.py" in text


def test_a_source_of_another_version_is_left_out_by_name(deployment, command):
    deployment.server.get("/a")
    (deployment.checkout / "src/shop/cart.py").write_text("# new\n" + CART)

    done = command("collect", deployment.server.url, cwd=deployment.checkout)

    assert done.returncode == 0
    assert b"measured another version of" in done.stderr
    assert "src/shop/cart.py" not in lines_in(
        deployment.checkout / ".coverage", deployment.checkout
    )


# Only what has changed


@pytest.fixture
def git(deployment, monkeypatch):
    """Git in the checkout, whose `main` lacks the last function of the cart."""
    if shutil.which("git") is None:
        pytest.skip("no git")
    names = {"NAME": "somebody", "EMAIL": "somebody@example.org"}
    env = {
        **{k: v for k, v in os.environ.items() if not k.startswith("GIT_")},
        **{f"GIT_{who}_{key}": v for who in ("AUTHOR", "COMMITTER") for key, v in names.items()},
        "GIT_CONFIG_GLOBAL": os.devnull,
    }

    def run(*arguments):
        subprocess.run(["git", *arguments], cwd=deployment.checkout, env=env, check=True)

    cart = deployment.checkout / "src/shop/cart.py"
    run("init", "-q", "-b", "main")
    cart.write_text(CART.partition("def c")[0])
    run("add", ".")
    run("commit", "-qm", "one")
    cart.write_text(CART)
    return run


def gate(command, deployment, *more):
    urls = [server.url for server in deployment.servers]
    done = command("gate", *urls, "--base", "main", "--json", *more, cwd=deployment.checkout)
    return done, json.loads(done.stdout) if done.stdout else None


def test_the_lines_that_changed_are_judged_by_what_all_instances_executed(deployment, command, git):
    deployment.server.get("/a")
    deployment.servers[1].get("/c")

    done, verdict = gate(command, deployment, "--fail-under", "75")

    assert done.returncode == 0, done.stderr
    assert verdict == {
        "percent": 75.0,
        "statements": 4,
        "covered": 3,
        "fail_under": 75.0,
        "passed": True,
        "files": [
            {
                "file": "src/shop/cart.py",
                "state": "judged",
                "statements": 4,
                "covered": 3,
                "missing": [BODIES["d"]],
            }
        ],
    }
    assert not (deployment.checkout / ".coverage").exists()


def test_below_the_threshold_is_exit_code_5(deployment, command, git):
    deployment.servers[1].get("/c")

    done, verdict = gate(command, deployment, "--fail-under", "75.1")

    assert (done.returncode, verdict["passed"]) == (5, False)

    urls = [server.url for server in deployment.servers]
    to = ("--format", "github", "-o", "annotations")
    done = command("gate", *urls, "--base", "main", *to, cwd=deployment.checkout / "src")

    line = BODIES["d"]
    assert (done.returncode, done.stdout) == (5, b"")
    assert f"::warning file=src/shop/cart.py,line={line},endLine={line}," in (
        (deployment.checkout / "src" / "annotations").read_text()
    )


def test_a_changed_source_of_another_version_is_unknown_and_exit_code_6(deployment, command, git):
    deployment.servers[1].get("/c")
    cart = deployment.checkout / "src/shop/cart.py"
    cart.write_text(CART + "e = 1\n")

    done, verdict = gate(command, deployment, "--fail-under", "100")

    assert done.returncode == 6
    assert verdict["percent"] is None
    [file] = verdict["files"]
    assert (file["state"], file["statements"]) == ("unknown", 0)
    assert "measured another version of it" in file["reason"]


def test_a_source_that_was_edited_under_the_server_is_unknown(deployment, command, git):
    for server, instance in zip(deployment.servers, deployment.instances, strict=True):
        server.get("/c")
        (instance.folder / "shop/cart.py").write_text(CART + "e = 1\n")
    (deployment.checkout / "src/shop/cart.py").write_text(CART + "e = 1\n")

    done, verdict = gate(command, deployment)

    assert done.returncode == 6
    assert [each["state"] for each in verdict["files"]] == ["unknown"]


def test_where_nothing_changed_the_gate_is_open(deployment, command, git):
    deployment.server.get("/a")
    git("commit", "-qam", "two")

    done, verdict = gate(command, deployment)

    assert (done.returncode, verdict["percent"], verdict["files"]) == (0, None, [])


def test_a_base_that_git_does_not_know_is_one_line(deployment, command, git):
    done = command("gate", deployment.server.url, "--base", "nowhere", cwd=deployment.checkout)

    assert done.returncode == 1
    assert "Git knows no revision 'nowhere'" in error_of(done)


@pytest.mark.parametrize("verb", ["export", "collect"])
def test_ctrl_c_is_exit_code_130_at_once_and_leaves_no_file(
    project, tmp_path, password, until, verb
):
    project.write(
        "slow.py",
        that_first("/export", "open('asked', 'w').close()", "threading.Event().wait(60)"),
    )
    server = project.gunicorn("-w", "1", "--timeout", "90", "slow:application", env=password)
    server.wait_for_workers(1)
    server.refresh()
    url = f"http://127.0.0.1:{server.port}"
    target = tmp_path / "target"
    target.mkdir()
    asking = project.start("-m", "wsgi_coverage", verb, url, "-o", f"{target}/x", env=password)
    until((project.folder / "asked").exists, "the download has begun")

    assert asking.end(signal.SIGINT) == 130
    assert asking.output == ""
    assert list(target.iterdir()) == []
