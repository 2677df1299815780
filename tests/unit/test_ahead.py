"""What is parsed before anybody asks for a report, and when."""

import dataclasses
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import coverage
import pytest

from wsgi_coverage import ahead as ahead_module
from wsgi_coverage.ahead import DONE, LOCK, Ahead, is_worth, parse, plan
from wsgi_coverage.analysis import parsing
from wsgi_coverage.analysis.cache import FIGURES, AnalysisCache
from wsgi_coverage.analysis.source import analysis_name, rules_of
from wsgi_coverage.data.reading import Claim, Place, Reading
from wsgi_coverage.data.stamp import fingerprint_of
from wsgi_coverage.offload import capacity, child
from wsgi_coverage.settings import Settings
from wsgi_coverage.store.file_lock import locked

CONFIG = """
[run]
source = shop, ledger
omit = */skipped.py
[report]
omit = */unreported.py
"""
TEXT = "def f(x):\n    if x:\n        return 1\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `shop`, and a package `ledger` elsewhere, neither of which may be imported."""
    folder = tmp_path / "project"
    for name in ("shop/app.py", "shop/below/deep.py", "shop/skipped.py", "shop/unreported.py"):
        write(folder / name, f"# {name}\n{TEXT}")
    for name in ("ledger/__init__.py", "ledger/book.py"):
        write(tmp_path / "library" / name, f"raise AssertionError('{name} is imported')\n")
    write(folder / "shop/below/__init__.py", "")
    write(folder / "lazy.py", f"# lazy.py\n{TEXT}")
    write(folder / ".coveragerc", CONFIG)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(tmp_path / "library")
    return folder


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def ahead(project: Path, tmp_path: Path) -> Ahead:
    config = coverage.Coverage().config
    return Ahead(
        folder=tmp_path / "cache" / "analysis",
        load=0.5,
        config=pickle.dumps(config),
        branch=False,
        source=tuple(config.source or ()),
    )


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What is had parsed: each time the names of files that have been executed. It is worth it."""
    calls: list[list[str]] = []

    def call(
        function: Callable[..., None], ahead: Ahead, reading: Reading, *more: Any, tick: Any
    ) -> None:
        assert function is parse
        calls.append(sorted(Path(name).name for name in reading.names()))
        parse(ahead, reading, *more)

    monkeypatch.setattr(child, "call", call)
    monkeypatch.setattr(os, "nice", lambda _: 0)
    monkeypatch.setattr(ahead_module, "WORTH", 1)
    return calls


def reading(*names: Path) -> Reading:
    """What is read of a memory that has these sources."""
    claims = tuple(
        Claim(str(name), str(hash(name.read_bytes())), Place(0, 0, 10)) for name in names
    )
    return Reading(id="h.1.a", host="h", epoch=0, sources=claims, by_phase={})


def kept(ahead: Ahead, *paths: Path) -> list[Any]:
    rules = rules_of(pickle.loads(ahead.config), branch=ahead.branch)
    return [
        AnalysisCache(ahead.folder).get(analysis_name(fingerprint_of(path.read_bytes()), rules))
        for path in paths
    ]


def go_on() -> None:
    """Nobody needs this process for anything else."""


def test_what_a_report_will_be_about_is_parsed_and_nothing_is_imported(
    ahead: Ahead, project: Path, tmp_path: Path, parsed: list[list[str]]
) -> None:
    ahead(reading(project / "lazy.py"), go_on)

    library = tmp_path / "library" / "ledger"
    wanted = [project / name for name in ("lazy.py", "shop/app.py", "shop/below/deep.py")]
    unwanted = [project / "shop" / name for name in ("skipped.py", "unreported.py")]
    assert parsed == [["lazy.py"]]
    assert None not in kept(ahead, *wanted, library / "__init__.py", library / "book.py")
    assert kept(ahead, *unwanted) == [None, None]
    assert "ledger" not in sys.modules


def test_branches_are_parsed_where_they_are_measured(
    ahead: Ahead, project: Path, parsed: list[list[str]]
) -> None:
    ahead = dataclasses.replace(ahead, branch=True)

    ahead(reading(), go_on)

    [found] = kept(ahead, project / "shop/app.py")
    assert found["arcs"]


def test_it_is_done_once_and_again_where_there_are_other_sources(
    ahead: Ahead, project: Path, parsed: list[list[str]]
) -> None:
    for _ in range(2):
        ahead(reading(), go_on)
    lazily = [reading(project / "lazy.py")] * 2
    write(project / "shop/app.py", "x = 1\n")
    for each in (*lazily, reading(project / "lazy.py", project / "shop/app.py")):
        ahead(each, go_on)

    assert parsed == [[], ["lazy.py"], ["app.py", "lazy.py"]]


def test_what_was_not_finished_is_tried_again(
    ahead: Ahead, parsed: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(parsing, "fill", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            ahead(reading(), go_on)
    ahead(reading(), go_on)

    assert len(parsed) == 2


def test_nothing_is_started_for_a_small_application(
    ahead: Ahead, parsed: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead_module, "WORTH", 1_000_000)

    ahead(reading(), go_on)

    assert parsed == []
    assert not ahead.folder.parent.exists()


@pytest.mark.parametrize("place", ["shop", "shop/app.py"])
def test_source_is_worth_it_by_its_size_wherever_it_is_named(project: Path, place: str) -> None:
    place = str(project / place)
    assert not is_worth([place], [str(project / "shop/app.py")])

    os.truncate(project / "shop/app.py", ahead_module.WORTH)

    assert is_worth([place], [])
    assert is_worth([], [str(project / "shop/app.py")])


def test_each_source_counts_once(project: Path) -> None:
    os.truncate(project / "shop/app.py", ahead_module.WORTH * 2 // 3)

    app = str(project / "shop/app.py")
    assert not is_worth([str(project / "shop"), app], [app])


def test_the_waiting_process_does_not_look_through_a_large_tree(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead_module, "FOLDERS", 2)

    assert is_worth([str(project / "shop")], [])


def test_one_process_of_a_host_parses(ahead: Ahead, parsed: list[list[str]]) -> None:
    ahead.folder.mkdir(parents=True)
    with locked(ahead.folder.parent / LOCK, 0.0):
        ahead(reading(), go_on)
    assert parsed == []

    ahead(reading(), go_on)
    assert parsed == [[]]


def test_it_has_the_lowest_priority(
    ahead: Ahead, parsed: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[int] = []
    monkeypatch.setattr(os, "nice", given.append)

    ahead(reading(), go_on)

    assert given == [19]


def test_what_a_tick_raises_ends_it(ahead: Ahead, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead_module, "WORTH", 1)
    monkeypatch.setattr(ahead_module, "parse", None)

    class EndError(Exception):
        pass

    def end() -> None:
        raise EndError

    with pytest.raises(EndError):
        ahead(reading(), end)

    assert AnalysisCache(ahead.folder).get(DONE) is None


def test_a_source_that_takes_more_memory_than_there_is_is_left_to_the_report(
    ahead: Ahead, project: Path, parsed: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    size = (project / "shop/app.py").stat().st_size
    monkeypatch.setattr(capacity, "room", lambda: parsing.PER_BYTE * size)
    write(project / "shop/large.py", "#" * size + "\n")

    ahead(reading(), go_on)

    app, large = kept(ahead, project / "shop/app.py", project / "shop/large.py")
    assert app is not None
    assert large is None
    assert AnalysisCache(ahead.folder).get(FIGURES) is None


def test_what_has_been_executed_so_far_is_counted_and_no_report_is_left(
    ahead: Ahead, project: Path, parsed: list[list[str]]
) -> None:
    ahead(reading(project / "lazy.py"), go_on)

    files = AnalysisCache(ahead.folder).get(FIGURES)["files"]
    cache = ahead.folder.parent
    assert {Path(name).name for name in files} >= {"lazy.py", "app.py", "deep.py", "book.py"}
    assert all(each["known_as"] for each in files.values())
    assert list((cache / "reports").iterdir()) == []
    assert not (cache / "current").exists()


def test_where_no_report_can_be_written_the_sources_are_parsed_all_the_same(
    ahead: Ahead, project: Path, parsed: list[list[str]]
) -> None:
    ahead.folder.parent.mkdir()
    (ahead.folder.parent / "reports").write_text("in the way")

    ahead(reading(), go_on)

    assert kept(ahead, project / "shop/app.py") != [None]


@pytest.mark.parametrize(
    ("load", "room", "is_time"),
    [(0.0, 1 << 30, True), (0.49, 1 << 30, True), (0.5, 1 << 30, False), (0.0, 1 << 20, False)],
)
def test_it_is_time_where_the_host_is_idle_and_has_the_memory(
    ahead: Ahead, monkeypatch: pytest.MonkeyPatch, load: float, room: int, is_time: bool
) -> None:
    monkeypatch.setattr(capacity, "load", lambda: load)
    monkeypatch.setattr(capacity, "room", lambda: room)

    assert ahead.is_time() is is_time


class Worker:
    """As much of one as is asked."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.engine = self
        self.measuring = self
        self.branch = True
        self.coverage = coverage.Coverage()
        self.config: Any = self.coverage.config


def test_what_is_planned_is_by_the_settings_and_by_what_measures(
    project: Path, tmp_path: Path
) -> None:
    worker: Any = Worker(tmp_path)

    planned = plan(worker, Settings(parse_ahead_load=0.25))
    elsewhere = plan(worker, Settings(cache_dir=tmp_path / "there"))

    assert planned is not None
    assert elsewhere is not None
    assert (planned.load, planned.branch, planned.source) == (0.25, True, ("shop", "ledger"))
    assert planned.folder == tmp_path / ".wsgi-coverage-cache" / "analysis"
    assert elsewhere.folder == tmp_path / "there" / "analysis"
    assert pickle.loads(pickle.dumps(planned)) == planned


def test_the_setting_turns_it_off(project: Path, tmp_path: Path) -> None:
    worker: Any = Worker(tmp_path)

    assert plan(worker, Settings(parse_ahead_load=0.0)) is None


def test_a_configuration_that_cannot_be_handed_over_does_not_keep_the_autosave(
    project: Path, tmp_path: Path
) -> None:
    worker: Any = Worker(tmp_path)
    worker.config.odd = lambda: None

    assert plan(worker, Settings()) is None
