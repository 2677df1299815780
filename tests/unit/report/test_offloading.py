"""Offloading: a report is built in this process if it is little work, else in a child process."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import coverage
import pytest

from wsgi_coverage import clock
from wsgi_coverage.errors import BuildFailedError
from wsgi_coverage.model import Gathering, Report
from wsgi_coverage.offload import interpreter, process
from wsgi_coverage.offload.progress import BuildProgress
from wsgi_coverage.report import offloading
from wsgi_coverage.report.build import BuildInputs, build

MakeData = Callable[..., Path]
Somewhere = Callable[..., Report]

BUILDS = """
import gc
import os
from wsgi_coverage.report.build import build

def noting(inputs, folder):
    (folder / "pid").write_text(str(os.getpid()))
    return build(inputs, folder)

def collecting(inputs, folder):
    report = build(inputs, folder)
    gc.collect()
    return report

def leaking(inputs, folder):
    open(os.devnull)
    return collecting(inputs, folder)

def dying(inputs, folder):
    if os.getpid() != int((folder / "not-in").read_text()):
        os._exit(1)
"""


@pytest.fixture
def builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (tmp_path / "builds_of_the_test.py").write_text(BUILDS)
    monkeypatch.syspath_prepend(tmp_path)
    import builds_of_the_test  # type: ignore[import-not-found]

    yield builds_of_the_test
    del sys.modules["builds_of_the_test"]


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offloading, "_why_inside", None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def somewhere(project: Path, data_file: MakeData, folder: Path, tmp_path: Path) -> Somewhere:
    """Build a report of app.py and of files that never ran.

    They are `large.py`, of `size` bytes, and as many that are not here as `missing` says.
    """

    def make(function: Callable[..., Report], *, size: int = 0, missing: int = 0) -> Report:
        (project / "large.py").write_text("x = 1\n" + "#" * size + "\n")
        gone = [(str(project / f"gone{number}.py"), None) for number in range(missing)]
        inputs = BuildInputs(
            config=coverage.Coverage(config_file=False).config,
            branch=False,
            data_files=[data_file(".coverage.a", {"app.py": [1, 2]})],
            could_run=iter([(str(project / "large.py"), None), *gone]),
            gathering=Gathering(workers=(), ended_at=clock.now()),
            collected=clock.now(),
            autosave_interval=30.0,
            analysis_dir=tmp_path / "analysis",
        )
        return offloading.build_somewhere(
            function, inputs, folder, progress=BuildProgress(tmp_path)
        )

    return make


def built_here(folder: Path) -> bool:
    return (folder / "pid").read_text() == str(os.getpid())


def test_a_small_report_is_built_here(builds: Any, somewhere: Somewhere, folder: Path) -> None:
    somewhere(builds.noting)

    assert built_here(folder)


def test_a_large_report_is_built_in_another_process(
    builds: Any, somewhere: Somewhere, folder: Path
) -> None:
    somewhere(builds.noting, size=offloading.LARGE)

    assert not built_here(folder)
    assert offloading.problem() is None


def test_a_report_is_the_same_wherever_it_is_built(somewhere: Somewhere, folder: Path) -> None:
    here = somewhere(build)
    files = {path.name: path.read_bytes() for path in folder.glob("*.txt")}
    there = somewhere(build, size=offloading.LARGE)

    assert there.summary == here.summary
    assert (there.collected.boot, there.size) == (here.collected.boot, here.size)
    assert {path.name: path.read_bytes() for path in folder.glob("*.txt")} == files


def test_sources_that_are_not_here_count_too(
    builds: Any, somewhere: Somewhere, folder: Path
) -> None:
    somewhere(builds.noting, missing=offloading.LARGE // offloading.UNKNOWN + 1)

    assert not built_here(folder)


def test_without_a_python_to_start_it_is_built_here_and_that_is_said(
    builds: Any, somewhere: Somewhere, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interpreter, "candidates", lambda: ["/nowhere/python"])

    somewhere(builds.noting, size=offloading.LARGE)

    assert built_here(folder)
    assert "/nowhere/python does not start" in (offloading.problem() or "")


def test_why_reports_are_built_here_is_logged_once_for_each_reason(
    somewhere: Somewhere, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for reason in ["/one/python", "/one/python", "/two/python", "/two/python"]:
        monkeypatch.setattr(interpreter, "candidates", lambda reason=reason: [reason])
        somewhere(build, size=offloading.LARGE)

    assert ["/one/python" in line for line in caplog.messages] == [True, False]
    assert "/two/python does not start" in (offloading.problem() or "")


def test_a_python_that_is_found_again_is_no_problem_any_more(
    builds: Any, somewhere: Somewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(interpreter, "candidates", list)
        somewhere(builds.noting, size=offloading.LARGE)
        assert offloading.problem() is not None

    somewhere(builds.noting, size=offloading.LARGE)

    assert offloading.problem() is None


def test_a_child_that_dies_is_an_error_and_nothing_is_built_here(
    builds: Any, somewhere: Somewhere, folder: Path
) -> None:
    (folder / "not-in").write_text(str(os.getpid()))

    with pytest.raises(BuildFailedError, match="exit code 1"):
        somewhere(builds.dying, size=offloading.LARGE)


@pytest.mark.parametrize("leaks", [False, True])
def test_the_process_that_builds_leaves_nothing_open(
    builds: Any, somewhere: Somewhere, monkeypatch: pytest.MonkeyPatch, leaks: bool
) -> None:
    written: list[str] = []
    command, close = interpreter.command, process.Process.close

    def warning(executable: str, script: Path) -> list[str]:
        python, *more = command(executable, script)
        return [python, "-W", "always::ResourceWarning", *more]

    def noting(self: process.Process) -> None:
        written.append(self.last_words())
        close(self)

    monkeypatch.setattr(interpreter, "command", warning)
    monkeypatch.setattr(process.Process, "close", noting)

    somewhere(builds.leaking if leaks else builds.collecting, size=offloading.LARGE)

    [text] = written
    assert ("ResourceWarning" in text) == bool(text) == leaks
