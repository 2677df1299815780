"""A Python by which nothing is measured right is refused; other workers that cannot be reached are
not passed over."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import wsgi_coverage
from wsgi_coverage import CoverageMiddleware, UnsupportedPythonError
from wsgi_coverage.collect import children
from wsgi_coverage.collect.engines import core
from wsgi_coverage.store import private


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"hello"]


@pytest.fixture(params=["PyPy", "no GIL"])
def unsupported(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """This Python says that it is another one; gives what the refusal has to name."""
    if request.param == "PyPy":
        monkeypatch.setattr(sys.implementation, "name", "pypy")
        return "this is pypy"
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    return "PYTHON_GIL=1"


def test_a_python_that_cannot_measure_is_refused_at_construction(unsupported: str) -> None:
    with pytest.raises(UnsupportedPythonError, match=unsupported):
        CoverageMiddleware(application, debug=True)


def test_it_is_refused_by_start_early_and_by_the_test_command(unsupported: str) -> None:
    with pytest.raises(UnsupportedPythonError, match=unsupported):
        wsgi_coverage.start_early()
    with pytest.raises(UnsupportedPythonError, match=unsupported):
        children.announce_only({}, config_file=None, branch=None, data_file=Path("x"), interval=0.0)


@pytest.mark.usefixtures("unsupported")
def test_an_application_that_is_not_measured_runs_by_it() -> None:
    app = CoverageMiddleware(application, disabled=True)

    assert app({"PATH_INFO": "/"}, lambda *_: None) == [b"hello"]


@pytest.mark.usefixtures("unsupported")
def test_a_child_goes_on_unmeasured_and_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    env: dict[str, str] = {}
    children._announce(env, "", 1.0)
    monkeypatch.setenv(children.VARIABLE, env[children.VARIABLE])
    monkeypatch.setattr(children.forks, "_worker", None)
    monkeypatch.setattr(children.own_coverage, "inherited", None)

    assert children.start() is None

    (record,) = caplog.records
    assert record.exc_info is None
    assert "this process is not measured" in record.getMessage()


def test_a_free_threaded_build_with_its_gil_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: True, raising=False)

    core.check_python()


@pytest.fixture
def no_proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(private, "OWN_FILES", tmp_path / "none")


@pytest.mark.usefixtures("no_proc")
def test_sockets_lie_in_a_short_place_where_the_temporary_folder_s_name_is_long(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    long = tmp_path / ("long" * 15)
    short = tmp_path.with_name("s")
    long.mkdir()
    monkeypatch.setattr(private, "SHARED_MEMORY", tmp_path / "none")
    monkeypatch.setattr(private, "SHORT", short)
    monkeypatch.setattr(private.tempfile, "gettempdir", lambda: str(long))

    with_none = private.private_folder(tmp_path / ".coverage")
    short.mkdir()
    with_one = private.private_folder(tmp_path / ".coverage")

    assert with_none.is_relative_to(long)
    assert not private.takes_sockets(with_none)
    assert with_one.is_relative_to(short)


ASKING = """
import json, tempfile
from werkzeug.test import Client
from wsgi_coverage import CoverageMiddleware
from wsgi_coverage.store import private, processes

def application(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]

def ask(client):
    answers = {}
    for verb in ("refresh", "snapshot", "reset", "pause", "resume"):
        answer = client.post(f"/debug/coverage/{verb}?wait=0.1", headers=ACCEPT)
        answers[verb] = answer.json.get("complete"), answer.status_code
    answer = client.post("/debug/coverage/snapshot?reset=1&keep=0&wait=0.1", headers=ACCEPT)
    answers["collect"] = answer.json["complete"], answer.status_code
    health = client.get("/debug/coverage/health").json
    report = client.get("/debug/coverage/", headers=ACCEPT)
    return answers, [each["name"] for each in health["diagnoses"]], health["status"]

ACCEPT = {"Accept": "application/json"}
"""
CUT_OFF = """
private.SHARED_MEMORY = private.SHORT = Path("nowhere")
private.OWN_FILES = processes.OWN_STAT = Path("nowhere").absolute()
long = Path.cwd() / ("long" * 15)
long.mkdir()
tempfile.tempdir = str(long)
client = Client(CoverageMiddleware(application, debug=True))
client.get("/")
answers, names, status = ask(client)
tell(answers=answers, names=names, status=status)
"""
HIDING = """
processes.OWN_STAT = Path("nowhere").absolute()
client = Client(CoverageMiddleware(application, debug=True))
client.get("/")
before, _, _ = ask(client)
child = os.fork()
if not child:
    time.sleep(60)
    os._exit(0)
os.kill(child, 9)
os.waitpid(child, 0)
answers, names, status = ask(client)
tell(before=before, answers=answers, names=names, status=status)
"""
EACH = ("refresh", "snapshot", "reset", "pause", "resume", "collect")


def test_where_workers_cannot_reach_each_other_no_answer_is_complete(
    measure: Callable[..., dict[str, Any]], core: str
) -> None:
    told = measure(ASKING + CUT_OFF, core=core)

    assert told["answers"] == {verb: [False, 200] for verb in EACH}
    assert "no-channel" in told["names"]
    assert told["status"] == "degraded"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="no child is late there")
def test_where_children_cannot_be_found_what_they_have_to_hear_of_is_not_complete(
    measure: Callable[..., dict[str, Any]],
) -> None:
    told = measure(ASKING + HIDING, core=None)

    assert told["before"] == {verb: [True, 200] for verb in EACH}
    assert told["answers"] == {verb: [verb in ("refresh", "snapshot"), 200] for verb in EACH}
    assert "hidden-children" in told["names"]
