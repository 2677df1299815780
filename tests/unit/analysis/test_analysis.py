"""What is kept from one report to the next, and when it is not used."""

import errno
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import coverage
import pytest

from wsgi_coverage.analysis import analyst, parsing
from wsgi_coverage.analysis.cache import FIGURES, AnalysisCache
from wsgi_coverage.analysis.source import Rules, analysis_name, rules_of
from wsgi_coverage.compat.parsing import can_be_cached
from wsgi_coverage.data import regular_files, versions
from wsgi_coverage.data.packed import pack
from wsgi_coverage.model import Report
from wsgi_coverage.offload import progress
from wsgi_coverage.report import formats
from wsgi_coverage.system.own_files import replace

Build = Callable[..., Report]
MakeData = Callable[..., Path]


class Work(list[str]):
    """What was done, in order: `parse` and `count`."""

    def since(self) -> list[str]:
        done = list(self)
        self.clear()
        return done


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    done = Work()

    def noting(what: str, do: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any) -> Any:
            done.append(what)
            return do(*arguments)

        return noted

    monkeypatch.setattr(analyst, "analysed", noting("parse", parsing.analysed))
    monkeypatch.setattr(analyst, "figures_of", noting("count", analyst.figures_of))
    return done


@pytest.fixture
def again(tmp_path: Path, build_report: Build) -> Callable[..., Report]:
    """Build in a folder that is empty each time, as a refresh does."""

    def build(*data_files: Path, **keywords: Any) -> Report:
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        return build_report(*data_files, **keywords)

    return build


def test_what_has_not_changed_is_neither_parsed_nor_counted_again(
    data_file: MakeData, again: Build, work: Work, tmp_path: Path
) -> None:
    data = data_file(".coverage.a", {"app.py": [1, 2]})
    first = again(data)
    text = (tmp_path / "out" / "report.txt").read_text()
    assert work.since() == ["parse", "count"]

    second = again(data)

    assert work.since() == []
    assert second.summary == first.summary
    assert (tmp_path / "out" / "report.txt").read_text() == text


@pytest.mark.parametrize("edit", [False, True], ids=["unchanged", "edited"])
def test_the_next_report_reads_those_sources_that_were_edited(
    project: Path,
    data_file: MakeData,
    again: Build,
    monkeypatch: pytest.MonkeyPatch,
    edit: bool,
) -> None:
    monkeypatch.setattr(versions, "SETTLED", -10_000_000_000)  # ns; as if they were old
    data = data_file(".coverage.a", {"app.py": [1, 2]})
    again(data)
    monkeypatch.setattr(versions, "_known", {})  # another process
    opened: list[str] = []
    load = regular_files.load

    def noting(path: str | Path, *more: Any, **named: Any) -> Any:
        opened.append(str(path))
        return load(path, *more, **named)

    monkeypatch.setattr(regular_files, "load", noting)
    if edit:
        (project / "app.py").write_text("x = 1\ny = 2\n")

    report = again(data)

    assert (str(project / "app.py") in opened) == edit
    assert report.summary["statements"] == (2 if edit else 6)


def test_each_file_is_noted_once_however_many_formats_ask_for_it(
    project: Path, data_file: MakeData, again: Build
) -> None:
    (project / "other.py").write_text("x = 1\n")
    data = data_file(".coverage.a", {"app.py": [1, 2], "other.py": [1]})
    noted: list[tuple[int, int]] = []

    with progress.told_to(lambda done, total: noted.append((done, total))):
        again(data)

    assert noted == [(1, 2), (2, 2)]


def test_new_lines_are_counted_and_nothing_is_parsed(
    data_file: MakeData, again: Build, work: Work
) -> None:
    again(data_file(".coverage.a", {"app.py": [1, 2]}))
    work.since()

    report = again(data_file(".coverage.b", {"app.py": [1, 2, 5]}))

    assert work.since() == ["count"]
    assert report.summary["covered"] == 3


def test_the_same_lines_in_another_phase_are_counted_anew(
    project: Path, again: Build, work: Work
) -> None:
    again(in_phases(project / ".coverage.a", {"load": [1, 2]}))
    work.since()

    report = again(in_phases(project / ".coverage.b", {"runtime": [1, 2]}))

    assert (report.summary["load"], report.summary["runtime"]) == (0, 2)


def test_an_edited_source_is_parsed_again(
    project: Path, data_file: MakeData, again: Build, work: Work
) -> None:
    data = data_file(".coverage.a", {"app.py": [1, 2]})
    again(data)
    work.since()
    (project / "app.py").write_text("x = 1\ny = 2\n")

    report = again(data)

    assert work.since() == ["parse", "count"]
    assert report.summary["statements"] == 2


def test_other_exclusions_are_never_mixed_with_what_is_kept(
    data_file: MakeData, again: Build
) -> None:
    data = data_file(".coverage.a", {"app.py": [1, 2]})
    statements = [
        again(data, config=config).summary["statements"]
        for config in ("", "[report]\nexclude_also = def second\n", "")
    ]

    assert statements == [6, 2, 6]


def test_sources_of_the_same_content_are_parsed_once(
    project: Path, data_file: MakeData, again: Build, work: Work
) -> None:
    shutil.copy(project / "app.py", project / "twin.py")

    again(data_file(".coverage.a", {"app.py": [1, 2], "twin.py": [1]}))

    assert work.since() == ["parse", "count", "count"]


@pytest.mark.parametrize("content", [b"", b"garbage", None])
def test_a_damaged_cache_is_made_anew(
    data_file: MakeData, again: Build, work: Work, tmp_path: Path, content: bytes | None
) -> None:
    data = data_file(".coverage.a", {"app.py": [1, 2]})
    first = again(data)
    for path in (tmp_path / "analysis").iterdir():
        path.unlink()
        if content is not None:
            path.write_bytes(content)
    work.since()

    second = again(data)

    assert work.since() == ["parse", "count"]
    assert second.summary == first.summary
    assert again(data).summary == first.summary
    assert work.since() == []


@pytest.mark.parametrize(
    "kept",
    [None, [], {}, {"files": []}, {"files": {"app.py": {}}}, {"files": {"a": {"known_as": "x"}}}],
)
def test_figures_of_another_form_are_not_used(
    data_file: MakeData, again: Build, tmp_path: Path, kept: Any
) -> None:
    data = data_file(".coverage.a", {"app.py": [1, 2]})
    first = again(data)
    replace(tmp_path / "analysis" / FIGURES, pack(kept))

    assert again(data).summary == first.summary


def test_without_the_parts_of_coverage_pys_parser_reports_are_the_same(
    data_file: MakeData, again: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = data_file(".coverage.a", {"app.py": [1, 2, 5]})
    first = again(data)
    page = (tmp_path / "out" / "report.txt").read_text()
    monkeypatch.setattr(analyst, "can_be_cached", lambda: False)

    second = again(data)

    assert list((tmp_path / "out" / "sources").iterdir()) == []
    assert second.summary == first.summary
    assert (tmp_path / "out" / "report.txt").read_text() == page
    files = json.loads(formats.read(tmp_path / "out", formats.JSON))["files"]
    assert files["app.py"]["summary"]["covered_lines"] == 3
    assert b"second" in formats.read_page(tmp_path / "out", "app_py.html")


def test_the_parts_of_coverage_pys_parser_are_there() -> None:
    assert can_be_cached()


@pytest.mark.parametrize("broken", ["link_into", "take"])
def test_no_room_for_what_a_report_needs_is_no_report(
    data_file: MakeData, again: Build, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(AnalysisCache, broken, full)

    with pytest.raises(OSError, match="no room"):
        again(data_file(".coverage.a", {"app.py": [1, 2]}))


def test_a_source_in_a_zip_file_is_reported_and_kept(
    project: Path, data_file: MakeData, again: Build, tmp_path: Path
) -> None:
    with zipfile.ZipFile(project / "library.zip", "w") as library:
        library.writestr("inside.py", "x = 1\ny = 2\n")

    report = again(data_file(".coverage.a", {"library.zip/inside.py": [1]}))
    (project / "library.zip").unlink()

    assert report.summary["statements"] == 2
    files = json.loads(formats.read(tmp_path / "out", formats.JSON))["files"]
    assert files["library.zip/inside.py"]["executed_lines"] == [1]


def test_every_rule_is_part_of_the_name() -> None:
    def rules(**options: Any) -> Rules:
        cov = coverage.Coverage(config_file=False, data_file=None)
        for name, value in options.items():
            cov.set_option(f"report:{name}", value)
        return rules_of(cov.config, branch=False)

    names = {
        analysis_name("x = 1", rules()),
        analysis_name("x = 2", rules()),
        analysis_name("x = 1", rules(exclude_lines=["x"])),
        analysis_name("x = 1", rules(partial_branches=["x"])),
        analysis_name("x = 1", rules_of(coverage.Coverage(config_file=False).config, branch=True)),
    }

    assert len(names) == 5


@pytest.mark.parametrize("version", ["coverage.__version__", "sys.version"])
def test_the_versions_are_part_of_the_name(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    rules = Rules(exclude=(), partial="", branch=False)
    before = analysis_name("x = 1", rules)

    monkeypatch.setattr(version, "another")

    assert analysis_name("x = 1", rules) != before


# Load and runtime


def in_phases(path: Path, lines: dict[str, list[int]], *, branch: bool = False) -> Path:
    data = coverage.CoverageData(basename=str(path))
    for context, these in lines.items():
        data.set_context(context)
        if branch:
            data.add_arcs({str(path.parent / "app.py"): [(-1, each) for each in these]})
        else:
            data.add_lines({str(path.parent / "app.py"): these})
    data.close()
    return path


@pytest.mark.parametrize("branch", [False, True], ids=["statements", "branches"])
@pytest.mark.parametrize(
    ("lines", "load", "runtime", "percent"),
    [
        ({"load": [1, 5]}, 2, 0, 0.0),
        ({"load": [1, 5], "runtime": [2]}, 2, 1, 25.0),
        ({"load": [1, 2, 5], "runtime": [2, 6]}, 3, 2, 50.0),
        ({"nightly|load": [1], "nightly|runtime": [2, 6]}, 1, 2, 40.0),
        ({"load": [1, 2, 5, 6, 7, 8]}, 6, 0, None),
        ({"runtime": [1, 2, 5, 6, 7, 8]}, 0, 6, 100.0),
    ],
)
def test_load_and_runtime_are_told_apart(
    project: Path,
    again: Build,
    tmp_path: Path,
    branch: bool,
    lines: dict[str, list[int]],
    load: int,
    runtime: int,
    percent: float | None,
) -> None:
    report = again(in_phases(project / ".coverage.a", lines, branch=branch), branch=branch)

    (file,) = json.loads((tmp_path / "out" / "files.json").read_text())
    for figures in (file, report.summary):
        assert (figures["load"], figures["runtime"]) == (load, runtime)
        assert figures["runtime_percent"] == percent
        assert ("runtime_reason" in figures) == (percent is None)


def test_one_line_of_an_unknown_phase_takes_the_figures_of_its_file_and_of_all(
    project: Path, again: Build, tmp_path: Path
) -> None:
    data = in_phases(project / ".coverage.a", {"load": [1], "a test": [2]})

    report = again(data, could_run=[(str(project / "other.py"), None)])

    (file,) = json.loads((tmp_path / "out" / "files.json").read_text())[:1]
    for figures in (file, report.summary):
        assert [figures[key] for key in ("load", "runtime", "runtime_percent")] == [None] * 3
        assert "'a test' does not tell load from runtime" in figures["runtime_reason"]
    assert file["covered"] == 2


def test_a_context_that_tells_no_phase_does_no_harm_while_it_has_no_lines(
    project: Path, again: Build
) -> None:
    report = again(in_phases(project / ".coverage.a", {"load": [1], "a test": []}))

    assert report.summary["load"] == 1
