"""What is made is for nobody but the own user, whatever the umask; what is asked for is not."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

import pytest

DASHBOARD = "/debug/coverage"
APP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"here"]
"""
CLIENT = """
import sys
from urllib.request import urlopen

assert urlopen(f"http://127.0.0.1:{sys.argv[1]}/").read() == b"here"
"""
SERVER = """
import sys
from wsgiref.simple_server import make_server
from app import app

make_server("127.0.0.1", int(sys.argv[1]), app).serve_forever()
"""
RENDERED = (
    *("html/app_py.html", "html/function_index.html"),
    *(f"export?format={name}" for name in ("coverage", "json", "xml", "lcov", "html")),
)


@pytest.fixture(params=["000", "022", "777"])
def umask(project, request):
    project.within = ["sh", "-c", f'umask {request.param}; exec "$@"', "sh"]
    return int(request.param, 8)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def open_ones(folder: Path, but: set[Path]) -> list[str]:
    """What is in a folder, but for what was there before, and has another mode than it should."""
    return [
        f"{mode(path):o} {path}"
        for path in sorted(folder.rglob("*"))
        if path not in but and mode(path) != (0o700 if path.is_dir() else 0o600)
    ]


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("branch", ["false", "true"])
def test_a_server_makes_nothing_that_others_may_read(project, password, branch, until):
    project.coveragerc("source = .", f"branch = {branch}")
    project.write("app.py", APP)
    before = set(project.folder.rglob("*"))
    server = project.gunicorn(
        *("-w", "2", "wsgi_coverage.wsgi:application"),
        env={
            **password,
            "WSGI_COVERAGE_APP": "app:app",
            "WSGI_COVERAGE_AUTOSAVE_INTERVAL": "0.5",
            "WSGI_COVERAGE_CACHE_DIR": str(project.folder / "made" / "cache"),
        },
    )

    server.get("/")
    for verb in ("snapshot", "pause", "resume", "snapshot?reset=1"):
        assert server.post(f"{DASHBOARD}/{verb}").status == 200, verb
    server.get("/")
    server.refresh()
    for path in RENDERED:
        assert server.get(f"{DASHBOARD}/{path}").status == 200, path
    until(project.data_files, "the lines are saved")

    assert open_ones(project.folder, but=before) == []
    assert open_ones(project.private, but=set()) == []
    assert mode(project.folder / "made") == mode(project.private) == 0o700


@pytest.mark.usefixtures("umask")
def test_the_test_command_s_data_file_is_the_user_s_alone(project, held_port):
    project.coveragerc("source = .")
    for name, text in {"app.py": APP, "server.py": SERVER, "client.py": CLIENT}.items():
        project.write(name, text)
    port = str(held_port)
    options = (
        "--server",
        f"{sys.executable} server.py {port}",
        "--url",
        f"http://127.0.0.1:{port}/",
    )

    process = project.start(
        *("-m", "wsgi_coverage", "test", *options, "--", sys.executable, "client.py", port)
    )

    assert process.popen.wait(60) == 0, process.output
    assert mode(project.folder / ".coverage") == 0o600


def test_what_is_collected_is_the_user_s_alone_but_for_a_file_that_is_named(
    project, password, umask
):
    project.coveragerc("source = .")
    project.write("app.py", APP)
    server = project.gunicorn(
        "wsgi_coverage.wsgi:application", env={**password, "WSGI_COVERAGE_APP": "app:app"}
    )
    server.get("/")

    def run(*arguments: str) -> None:
        process = project.start("-m", "wsgi_coverage", *arguments, env=password)
        assert process.popen.wait(60) == 0, process.output

    url = f"http://127.0.0.1:{server.port}{DASHBOARD}"
    run("collect", url, "--format", "html")
    run("collect", url, "-o", "named")
    run("export", url, "--format", "json", "-o", "named.json")

    assert mode(project.folder / ".coverage") == 0o600
    assert mode(project.folder / "htmlcov") == 0o700
    assert mode(project.folder / "named") == 0o666 & ~umask
    assert mode(project.folder / "named.json") == 0o666 & ~umask
    assert json.loads((project.folder / "named.json").read_text())["files"]
