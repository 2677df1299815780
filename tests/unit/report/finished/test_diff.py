"""The difference of two reports is set arithmetic on what was exported of them."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from wsgi_coverage.model import Report
from wsgi_coverage.report import formats
from wsgi_coverage.report.finished import diff as module
from wsgi_coverage.report.finished.diff import diff

Build = Callable[..., Report]
MakeData = Callable[..., Path]
Arcs = Iterable[tuple[int, int]]
Make = Callable[..., Path]

FIRST = [(-1, 2), (2, -1)]  # first() of app.py, called
SECOND = [(-5, 6), (6, 7), (7, -5)]  # second(True)
SECOND_ELSE = [(-5, 6), (6, 8), (8, -5)]  # second(False)


@pytest.fixture
def report(data_file: MakeData, build_report: Build, tmp_path: Path) -> Make:
    """Build a report of lines or arcs of files; its folder."""

    def make(
        name: str,
        lines: Mapping[str, Iterable[int]] | None = None,
        arcs: Mapping[str, Arcs] | None = None,
        **more: Any,
    ) -> Path:
        data = data_file(f".coverage.{name}", lines, arcs)
        build_report(data, branch=arcs is not None, **more)
        return (tmp_path / "out").rename(tmp_path / name)

    return make


def by_file(found: dict[str, Any]) -> dict[str, Any]:
    return {Path(each.pop("file")).name: each for each in found["files"]}


def exported(folder: Path, key: str) -> dict[str, set[Any]]:
    files = json.loads(formats.read(folder, formats.JSON))["files"]
    return {
        name: {tuple(item) if isinstance(item, list) else item for item in file.get(key, ())}
        for name, file in files.items()
    }


def test_lines_that_only_one_of_two_has_are_named_for_each_file(report: Make) -> None:
    a = report("a", {"app.py": [1, 2, 5]})
    b = report("b", {"app.py": [1, 5, 6, 8]})

    found = diff(a, b)

    assert not found["branch"]
    assert by_file(found) == {"app.py": {"only_a": {"lines": [2]}, "only_b": {"lines": [6, 8]}}}


def test_branches_that_only_one_of_two_has_are_named_too(report: Make) -> None:
    a = report("a", arcs={"app.py": [*FIRST, *SECOND]})
    b = report("b", arcs={"app.py": [*FIRST, *SECOND_ELSE]})

    found = diff(a, b)

    assert found["branch"]
    assert by_file(found) == {
        "app.py": {
            "only_a": {"lines": [7], "branches": [[6, 7]]},
            "only_b": {"lines": [8], "branches": [[6, 8]]},
        }
    }


def test_a_difference_is_set_arithmetic_on_the_exported_files(report: Make, project: Path) -> None:
    for name in ("other.py", "same.py", "empty.py"):
        (project / name).write_text((project / "app.py").read_text())
    a = report("a", arcs={"app.py": FIRST, "same.py": SECOND, "other.py": SECOND})
    b = report("b", arcs={"app.py": SECOND, "same.py": SECOND, "empty.py": SECOND_ELSE})

    found = by_file(diff(a, b))

    assert set(found) == {"app.py", "other.py", "empty.py"}
    for key, shown in (("executed_lines", "lines"), ("executed_branches", "branches")):
        in_a, in_b = exported(a, key), exported(b, key)
        for name, each in found.items():
            only_a = in_a.get(name, set()) - in_b.get(name, set())
            only_b = in_b.get(name, set()) - in_a.get(name, set())
            as_sets = [{tuple(x) if isinstance(x, list) else x for x in each[side][shown]}
                       for side in ("only_a", "only_b")]  # fmt: skip
            assert as_sets == [only_a, only_b]


def test_lines_are_compared_where_only_one_of_two_has_branches(report: Make) -> None:
    a = report("a", arcs={"app.py": SECOND})
    b = report("b", {"app.py": [6, 8]})

    found = diff(a, b)

    assert not found["branch"]
    assert by_file(found) == {"app.py": {"only_a": {"lines": [7]}, "only_b": {"lines": [8]}}}


def test_two_reports_of_the_same_have_no_difference(report: Make) -> None:
    a, b = report("a", {"app.py": [1, 2]}), report("b", {"app.py": [1, 2]})

    assert diff(a, b)["files"] == []
    assert diff(a, a)["files"] == []


def test_a_file_whose_source_has_changed_between_the_two_is_not_compared(
    report: Make, project: Path
) -> None:
    a = report("a", {"app.py": [1, 2]})
    (project / "app.py").write_text("x = 1\ny = 2\nz = 3\n")
    b = report("b", {"app.py": [1, 2, 3]})

    assert by_file(diff(a, b)) == {
        "app.py": {
            "only_a": None,
            "only_b": None,
            "reason": "its source has changed between the two",
        }
    }


def test_reports_under_other_rules_are_compared_by_what_each_counts(report: Make) -> None:
    a = report("a", {"app.py": [1, 2, 5]})
    b = report("b", {"app.py": [1, 2, 5]}, config="[report]\nexclude_also = def first\n")

    assert by_file(diff(a, b)) == {"app.py": {"only_a": {"lines": [1, 2]}, "only_b": {"lines": []}}}


def test_a_source_that_one_of_them_could_not_read_is_not_compared(
    report: Make, project: Path
) -> None:
    a = report("a", {"app.py": [1, 2]})
    (project / "app.py").write_text("def broken(:\n")
    b = report("b", {"app.py": [1]})

    found = by_file(diff(a, b))["app.py"]

    assert (found["only_a"], found["only_b"]) == (None, None)
    assert "app.py" in found["reason"]


def test_all_of_a_report_is_what_a_report_without_data_lacks(
    report: Make, build_report: Build, tmp_path: Path
) -> None:
    a = report("a", {"app.py": [1, 2]})
    (tmp_path / "project" / ".coverage.a").unlink()
    build_report()

    assert by_file(diff(a, tmp_path / "out")) == {
        "app.py": {"only_a": {"lines": [1, 2]}, "only_b": {"lines": []}}
    }


def test_large_reports_are_compared_in_another_process(
    report: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = report("a", {"app.py": [1, 2]}), report("b", {"app.py": [1, 5]})
    here = diff(a, b)
    monkeypatch.setattr(formats, "LARGE", 0)
    monkeypatch.setattr(module, "open_report", None)

    assert diff(a, b) == here


def test_a_report_that_is_not_there_is_said(report: Make, tmp_path: Path) -> None:
    a = report("a", {"app.py": [1, 2]})

    with pytest.raises(FileNotFoundError):
        diff(a, tmp_path / "nothing")
