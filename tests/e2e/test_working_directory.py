"""An application that leaves the folder in which measuring began: names stay about that folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from coverage import CoverageData

APP = """\
import os
import used


def app(environ, start_response):
    os.chdir(environ['PATH_INFO'])
    used.work()
    start_response('200 OK', [])
    return [b'ok']
"""
USED = """\
def work():
    return 1


def never():
    return 2
"""
CONFIG = """\
[run]
source = .
relative_files = {relative}
[report]
omit = omitted.py
"""


@pytest.mark.parametrize("core", ["", "ctrace"])
@pytest.mark.parametrize("relative", ["true", "false"])
def test_figures_and_names_are_as_where_measuring_began(
    project, password, tmp_path: Path, core: str, relative: str
):
    (project.folder / ".coveragerc").write_text(CONFIG.format(relative=relative))
    project.write("app.py", APP)
    project.write("used.py", USED)
    project.write("unused.py", "x = 1\n")
    project.write("omitted.py", "x = 1\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "used.py").write_text("another = 1\n")  # which relative names would lead to
    env = {**password, "WSGI_COVERAGE_APP": "app:app", **({"COVERAGE_CORE": core} if core else {})}
    server = project.gunicorn("-w", "1", "wsgi_coverage.wsgi:application", env=env)
    assert server.get(str(elsewhere)).status == 200
    percents = {"app.py": 100.0, "unused.py": 0.0, "used.py": 75.0}
    folder = "" if relative == "true" else f"{project.folder}/"

    for _ in range(2):
        answer = server.refresh()
        assert answer["warnings"] == []
        files = server.get("/debug/coverage/files").json()
        found = {each["file"]: each["percent"] for each in files}
        assert found == {f"{folder}{name}": percent for name, percent in percents.items()}
        assert shown_in(server.get("/debug/coverage/report").text) == list(percents)
        server.get(str(elsewhere))
    assert server.end() == 0

    assert lines_under(f"{folder}used.py", project.data_files()) == {1, 2, 5}


STAYING = """\
import used


def app(environ, start_response):
    used.work()
    start_response('200 OK', [])
    return [b'ok']
"""


@pytest.mark.parametrize("core", ["", "ctrace"])
def test_where_it_was_removed_reports_are_made_and_nothing_is_lost(project, password, core: str):
    """As that of an old release is, which serves its last requests."""
    release = project.folder / "release"
    release.mkdir()
    project.write("app.py", STAYING)
    project.write("used.py", USED)
    env = {
        **password,
        "WSGI_COVERAGE_APP": "app:app",
        "COVERAGE_FILE": str(project.folder / ".coverage"),
        **({"COVERAGE_CORE": core} if core else {}),
    }
    server = project.gunicorn(
        *("-w", "1", "--chdir", str(release), "--pythonpath", str(project.folder)),
        "wsgi_coverage.wsgi:application",
        env=env,
    )
    assert server.get("/").status == 200
    release.rmdir()

    assert server.refresh()["warnings"] == []
    files = server.get("/debug/coverage/files").json()
    names = [str(project.folder / name) for name in ("app.py", "used.py")]
    assert {each["file"]: each["percent"] for each in files} == dict(
        zip(names, [100.0, 75.0], strict=True)
    )
    for wanted in ("coverage", "json", "html"):
        assert server.get(f"/debug/coverage/export?format={wanted}").status == 200
    assert server.end() == 0

    assert lines_under(names[1], project.data_files()) == {1, 2, 5}


def shown_in(report: str) -> list[str]:
    """The files of a text report."""
    return [line.split()[0] for line in report.splitlines() if ".py" in line]


def lines_under(name: str, data_files: set[Path]) -> set[int]:
    """The lines that data files have under this very name."""
    lines: set[int] = set()
    for path in data_files:
        data = CoverageData(basename=str(path))
        data.read()
        lines.update(data.lines(name) or ())
        data.close(force=True)
    return lines
