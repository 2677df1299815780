"""Sources parsed by several processes."""

import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import coverage
import pytest

from wsgi_coverage.analysis import analyst, parsing
from wsgi_coverage.analysis.cache import FIGURES, AnalysisCache
from wsgi_coverage.analysis.source import Rules, rules_of
from wsgi_coverage.errors import BuildFailedError
from wsgi_coverage.model import Report
from wsgi_coverage.offload import capacity, child

Build = Callable[..., Report]
MakeData = Callable[..., Path]
NUMBER = 12


@pytest.fixture
def rules() -> Rules:
    return rules_of(coverage.Coverage(config_file=False).config, branch=False)


@pytest.fixture
def names(project: Path) -> list[str]:
    """Some sources, each of which is another, in the order of reports."""
    made = [project / f"module_{number:02}.py" for number in range(NUMBER)]
    for number, path in enumerate(made):
        path.write_text(f"x = {number}\n" * 50)
    return [*map(str, made)]


@pytest.fixture
def data(data_file: MakeData, names: list[str]) -> Path:
    return data_file(".coverage.a", {Path(name).name: [1] for name in names})


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Say how many processes there is room for; any source is worth one."""
    monkeypatch.setattr(parsing, "ALONE", 0)
    monkeypatch.setattr(parsing, "SHARE", 1)
    return lambda number: monkeypatch.setattr(capacity, "processes", lambda _: number)


@pytest.fixture
def helped(monkeypatch: pytest.MonkeyPatch, cores: Callable[[int], None]) -> list[list[str]]:
    """What is dealt out to others, which get done before this process goes on."""
    dealt: list[list[str]] = []
    cores(2)

    class Now(threading.Thread):
        def start(self) -> None:
            super().start()
            self.join()

    def call(function: Callable[..., None], share: list[str], *more: Any, tick: Any) -> None:
        dealt.append([Path(name).name for name in share])
        parsing._parse(share, more[0], AnalysisCache(more[1]), None)

    monkeypatch.setattr(parsing.threading, "Thread", Now)
    monkeypatch.setattr(child, "call", call)
    return dealt


@pytest.fixture
def parsed_here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sources that a report had to parse itself."""
    noted: list[str] = []
    analysed = parsing.analysed

    def noting(filename: str, content: bytes, rules: Rules) -> dict[str, Any]:
        noted.append(Path(filename).name)
        return analysed(filename, content, rules)

    monkeypatch.setattr(analyst, "analysed", noting)
    return noted


def test_a_large_report_has_others_parse_from_the_last_source_on(
    build_report: Build, data: Path, helped: list[list[str]], parsed_here: list[str]
) -> None:
    report = build_report(data)

    assert helped == [[f"module_{number:02}.py" for number in reversed(range(NUMBER))]]
    assert parsed_here == ["module_00.py"]
    assert report.summary["statements"] == 50 * NUMBER
    assert report.warnings == ()


def test_where_all_is_kept_nobody_helps(
    build_report: Build, data: Path, helped: list[list[str]], parsed_here: list[str], tmp_path: Path
) -> None:
    first = build_report(data)
    helped.clear()
    parsed_here.clear()
    (tmp_path / "analysis" / FIGURES).unlink()

    again = build_report(data)

    assert (helped, parsed_here) == ([], [])
    assert again.summary == first.summary


def test_nobody_helps_with_what_is_not_reported(
    build_report: Build, data: Path, helped: list[list[str]]
) -> None:
    build_report(data, config="[report]\ninclude = */module_0*\nomit = */module_03.py\n")

    assert helped == [[f"module_{number:02}.py" for number in (9, 8, 7, 6, 5, 4, 2, 1, 0)]]


def test_little_is_parsed_by_one_process(
    build_report: Build, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(child, "call", refuse)
    monkeypatch.setattr(parsing.ParsingProcesses, "_parse_share", refuse)

    assert build_report(data).summary["files"] == NUMBER


def test_a_report_does_not_depend_on_those_who_help(
    build_report: Build,
    data: Path,
    cores: Callable[[int], None],
    parsed_here: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise BuildFailedError("it was killed")

    cores(3)
    monkeypatch.setattr(child, "call", fail)

    report = build_report(data)

    assert len(parsed_here) == NUMBER
    assert report.summary["statements"] == 50 * NUMBER
    assert report.warnings == ()


def test_nobody_helps_after_the_report_is_made(
    build_report: Build,
    data: Path,
    cores: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended = []

    def work(*_: Any, tick: Callable[[], object], **__: Any) -> None:
        stopped = threading.Event()
        try:
            while not stopped.wait(0.01):
                tick()
        finally:
            ended.append(threading.current_thread())

    cores(3)
    monkeypatch.setattr(child, "call", work)

    build_report(data)

    assert len(ended) == 2
    assert not any(thread.is_alive() for thread in ended)


def test_other_processes_keep_what_this_one_would(
    names: list[str],
    rules: Rules,
    cores: Callable[[int], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cores(1)
    alone = parsing.fill(names, rules, tmp_path / "alone")
    cores(3)
    calls: list[object] = []
    call = child.call

    def noting(*arguments: Any, **keywords: Any) -> None:
        calls.append(call(*arguments, **keywords))  # None: it got done

    monkeypatch.setattr(child, "call", noting)
    monkeypatch.setattr(parsing.ParsingProcesses, "__exit__", lambda self, *_: wait(self._threads))

    together = parsing.fill(names, rules, tmp_path / "together")

    assert calls == [None, None]
    assert together == alone == {path.name for path in (tmp_path / "together").iterdir()}
    assert all(
        (tmp_path / "alone" / name).read_bytes() == (tmp_path / "together" / name).read_bytes()
        for name in alone
    )


def wait(threads: Iterable[threading.Thread]) -> None:
    for thread in threads:
        thread.join()


def test_each_process_gets_enough_to_do_and_the_largest_stay(tmp_path: Path) -> None:
    sizes = {"a": parsing.SHARE, "b": parsing.SHARE, "c": parsing.SHARE, "d": 1}
    sizes["large"] = parsing.LARGEST + 1
    for name, size in sizes.items():
        (tmp_path / name).touch()
        os.truncate(tmp_path / name, size)
    a, b, c, d, large = (str(tmp_path / name) for name in sizes)

    assert parsing.shares([a, large, b, c, d], 2) == [[a, c], [b, d]]
    assert parsing.shares([a, large, b, c, d], 8) == [[a, d], [b], [c]]
    assert parsing.shares([large, d], 8) == []
    assert parsing.shares([a, b], 0) == []
    assert parsing.shares([a, b], -1) == []


def test_what_cannot_be_parsed_is_left_to_the_report(
    names: list[str], rules: Rules, tmp_path: Path
) -> None:
    Path(names[0]).write_text("no Python at all")
    Path(names[1]).unlink()

    assert len(parsing.fill(names, rules, tmp_path / "kept")) == NUMBER - 2


def test_a_report_is_made_where_no_thread_can_be_started(
    build_report: Build,
    data: Path,
    cores: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    cores(2)
    monkeypatch.setattr(threading.Thread, "start", refuse)

    report = build_report(data)

    assert report.summary["statements"] == 50 * NUMBER
    assert report.warnings == ()
