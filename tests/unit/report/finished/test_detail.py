"""coverage.py's JSON report for one answer, of a finished report or of nothing but the data."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wsgi_coverage.compat import names, needs
from wsgi_coverage.model import Report
from wsgi_coverage.report import formats
from wsgi_coverage.report.build import build_detail
from wsgi_coverage.report.finished import detail

Build = Callable[..., Report]
MakeData = Callable[..., Path]


@pytest.fixture
def only(build_report: Build, tmp_path: Path) -> Build:
    """Build nothing but the detail, into a folder of its own; return it."""

    def make(*data_files: Path, **more: Any) -> Any:
        build_report(*data_files, by=build_detail, **more)
        (tmp_path / "out").rename(tmp_path / "only")
        return detail.read(tmp_path / "only")

    return make


@pytest.fixture(params=[False, True], ids=["statements", "branches"])
def data(request: pytest.FixtureRequest, data_file: MakeData) -> tuple[Path, bool]:
    if request.param:
        return data_file(".coverage.a", arcs={"app.py": [(-5, 6), (6, 7), (7, -5)]}), True
    return data_file(".coverage.a", {"app.py": [1, 2, 5]}), False


def without_contexts(found: dict[str, Any]) -> dict[str, Any]:
    for file in found["files"].values():
        file.pop("contexts")
    return {name: found[name] for name in ("files", "totals")}


def test_it_is_coverages_json_report_whichever_way_it_is_made(
    only: Build, build_report: Build, data: tuple[Path, bool], tmp_path: Path
) -> None:
    path, branch = data
    alone = only(path, branch=branch)
    build_report(path, branch=branch)
    exported = json.loads(formats.read(tmp_path / "out", formats.JSON))

    finished = detail.of_finished(tmp_path / "out")

    assert finished is not None
    finished = json.loads(json.dumps(finished))  # lines are text as names of JSON, tuples lists
    assert alone["files"] == finished["files"]
    assert without_contexts(finished) == {name: exported[name] for name in ("files", "totals")}
    assert {*alone["meta"]} == {*exported["meta"]}
    assert alone["meta"]["branch_coverage"] is branch


def test_each_file_tells_in_which_contexts_its_lines_ran(
    only: Build, data_file: MakeData, project: Path
) -> None:
    found = only(data_file(".coverage.a", {"app.py": [1, 2]}))

    assert found["files"]["app.py"]["contexts"] == {"1": [""], "2": [""]}


def test_without_data_there_is_none(only: Build, build_report: Build, tmp_path: Path) -> None:
    assert only() is None
    build_report()
    assert detail.of_finished(tmp_path / "out") is None


def test_another_json_reporter_than_expected_gives_the_same(
    only: Build, data_file: MakeData, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = data_file(".coverage.a", {"app.py": [1, 2]})
    expected = only(path)
    (tmp_path / "only").rename(tmp_path / "before")
    monkeypatch.setattr(names, "missing", lambda need: ("x",) if need == needs.DETAIL else ())

    found = only(path)

    assert found["files"]["app.py"]["contexts"] == expected["files"]["app.py"]["contexts"]
    assert without_contexts(found)["totals"] == expected["totals"]
    assert found["files"]["app.py"]["executed_lines"] == [1, 2]


def test_what_was_analysed_once_is_kept_for_the_next_time(
    only: Build, data_file: MakeData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = data_file(".coverage.a", {"app.py": [1, 2]})
    first = only(path)
    (tmp_path / "only").rename(tmp_path / "before")
    monkeypatch.setattr("wsgi_coverage.analysis.analyst.analysed", None)

    assert only(path)["files"] == first["files"]
