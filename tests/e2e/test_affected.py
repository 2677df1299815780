"""Tests that are to run for a change: of a real suite, all that fail are among those selected."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.version_info < (3, 12), reason="needs sys.monitoring")

COUNT = 12
SUITE = """
import os
import urllib.request

import pytest


def get(path):
    with urllib.request.urlopen(f"http://127.0.0.1:{os.environ['PORT']}{path}") as answer:
        return answer.read().decode()


@pytest.mark.parametrize("number", range(12))
def test_route(number):
    assert get(f"/r{number}") == str(number)


def test_two():
    assert get("/r1") + get("/r2") == "12"


def test_without_the_application():
    pass
"""
NAMES = {f"test_shop.py::test_route[{number}]" for number in range(COUNT)}
ALL = {*NAMES, "test_shop.py::test_two"}


class Suite:
    """A checkout with an application and its tests, of which one run was recorded."""

    def __init__(self, project, routes, password) -> None:
        self.project, self.routes, self.password = project, routes, password
        self.data = project.folder.parent / "recorded"
        routes.write(project, early=True)
        project.write("test_shop.py", SUITE)
        project.write("pytest.ini", "[pytest]\naddopts = -p no:cacheprovider -p no:randomly\n")
        self.git("init", "-q", "-b", "main")
        self.git("add", "-A")
        self.git("commit", "-qm", "one")
        server = self.serve()
        self.pytest(server)
        server.refresh()
        self.data.write_bytes(server.get("/debug/coverage/export").body)
        self.server = server

    def git(self, *arguments: str) -> None:
        names = {f"GIT_{who}_{what}": "x@example.org" for who in ("AUTHOR", "COMMITTER")
                 for what in ("NAME", "EMAIL")}  # fmt: skip
        nowhere = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        subprocess.run(
            ["git", "-C", self.project.folder, *arguments],
            env={**os.environ, **names, **nowhere},
            check=True,
            capture_output=True,
        )

    def serve(self):
        env = {**self.password, "WSGI_COVERAGE_CONTEXTS": "header"}
        return self.project.gunicorn("-w", "2", "--threads", "4", "served:application", env=env)

    def pytest(self, server, *options: str) -> tuple[dict[str, str], str, int]:
        """Run the tests; return the outcome of each, what was printed, and the exit code."""
        done = self.project.command(
            [sys.executable, "-m", "pytest", "-rA", "--wsgi-coverage",
             f"http://127.0.0.1:{server.port}", *options],
            cwd=self.project.folder,
            env={**self.password, "PORT": str(server.port)},
            timeout=120,
        )  # fmt: skip
        words = (line.split(" - ")[0].split(" ", 1) for line in done.stdout.splitlines())
        outcomes = {each[1]: each[0] for each in words if each[0] in ("PASSED", "FAILED")}
        return outcomes, done.stdout + done.stderr, done.returncode

    def affected(self, *options: str | Path) -> tuple[set[str], str, int]:
        """Ask by the command; return the labels, what was said, and the exit code."""
        done = self._ask(*options)
        return {*done.stdout.splitlines()}, done.stderr, done.returncode

    def affected_as_json(self, *options: str | Path) -> Any:
        return json.loads(self._ask("--json", *options).stdout)

    def _ask(self, *options: str | Path) -> subprocess.CompletedProcess[str]:
        return self.project.command(
            [sys.executable, "-m", "wsgi_coverage", "affected", "--diff", "main", *options],
            cwd=self.project.folder,
            env=self.password,
            timeout=60,
        )

    def change(self, before: str, after: str, file: str | None = None) -> None:
        path = self.project.folder / (file or self.routes.FILE)
        text = path.read_text()
        assert before in text
        path.write_text(text.replace(before, after))


@pytest.fixture
def suite(project, routes, password):
    return Suite(project, routes, password)


def test_the_tests_of_a_changed_line_are_selected_and_no_others(suite):
    assert suite.affected("--data", suite.data) == (set(), "", 0)  # nothing has changed

    suite.change("return '1'", "return 'one'")
    wanted = {"test_shop.py::test_route[1]", "test_shop.py::test_two"}
    url = f"http://127.0.0.1:{suite.server.port}"

    assert suite.affected("--data", suite.data) == (wanted, "", 0)
    assert suite.affected(url) == (wanted, "", 0)
    assert suite.affected_as_json("--data", suite.data) == {
        "every": False,
        "reasons": [],
        "labels": sorted(wanted),
        "of": len(ALL),
    }
    suite.server.end()

    server = suite.serve()
    everything, _, _ = suite.pytest(server)
    assert {test for test, outcome in everything.items() if outcome == "FAILED"} == wanted
    for options in ((), ("-n", "2")):
        outcomes, text, code = suite.pytest(
            server, "--wsgi-coverage-affected", "main", f"--wsgi-coverage-data={suite.data}",
            *options,
        )  # fmt: skip
        # One of which it is not known what it runs is run, too.
        assert outcomes == {
            **dict.fromkeys(wanted, "FAILED"),
            "test_shop.py::test_without_the_application": "PASSED",
        }, text
        assert code == 1


def test_a_change_that_may_concern_all_selects_all_and_says_why(suite):
    suite.change("app.testing = False", "app.testing = True")
    suite.project.write("page.html", "new")

    labels, said, code = suite.affected("--data", suite.data)
    assert (labels, code) == (ALL, 5)
    assert "lines.py: line 4 is in no function" in said
    assert "page.html: it is new" in said

    outcomes, text, _ = suite.pytest(
        suite.server, "--wsgi-coverage-affected", "main", "--wsgi-coverage-ignore", "page.html"
    )
    assert len(outcomes) == len(ALL) + 1
    assert "since main: all tests were run:" in text
    assert "page.html" not in text


def test_a_changed_module_of_tests_is_run_and_concerns_no_other(suite):
    suite.change('assert get("/r1")', 'assert 1 and get("/r1")', "test_shop.py")
    suite.project.write("test_more.py", "def test_more():\n    pass\n")
    suite.git("add", "test_more.py")

    labels, said, code = suite.affected("--data", suite.data)
    assert (labels, code) == (ALL, 5)
    assert "test_shop.py: nothing of it ran in the application" in said

    outcomes, text, code = suite.pytest(
        suite.server, "--wsgi-coverage-affected", "main", f"--wsgi-coverage-data={suite.data}"
    )
    assert {*outcomes} == {*ALL, "test_shop.py::test_without_the_application",
                           "test_more.py::test_more"}, text  # fmt: skip
    assert "since main: 15 of 15 tests were run" in text


def test_wrong_usage_is_said(suite):
    assert suite.affected()[2] == 2
    nowhere = suite.affected("--data", suite.data.with_name("nowhere"))
    assert nowhere[2] == 1
    assert "there is no data file" in nowhere[1]
    _, text, code = suite.pytest(suite.server, "--wsgi-coverage-affected", "none-such")
    assert code == 4
    assert "Git knows no revision 'none-such'" in text


def test_tests_that_have_something_from_a_changed_module_are_run(suite):
    suite.project.write("test_base.py", BASE)
    suite.project.write("test_derived.py", DERIVED)
    suite.project.write("test_other.py", OTHER)
    suite.git("add", "test_base.py", "test_derived.py", "test_other.py")
    suite.git("commit", "-qm", "two")
    suite.pytest(suite.server)
    suite.server.refresh()
    suite.change("assert self.path", "assert 1 and self.path", "test_base.py")

    outcomes, text, _ = suite.pytest(suite.server, "--wsgi-coverage-affected", "main")
    assert {*outcomes} == {
        "test_base.py::TestBase::test_it",
        "test_derived.py::TestDerived::test_it",
        "test_shop.py::test_without_the_application",
    }, text


BASE = """
from test_shop import get


class TestBase:
    path = "/r3"

    def test_it(self):
        assert self.path
        assert get(self.path)

"""
DERIVED = """
import test_base


class TestDerived(test_base.TestBase):
    path = "/r4"
"""
OTHER = """
import test_shop


def test_other():
    assert test_shop.get("/r5")
"""
