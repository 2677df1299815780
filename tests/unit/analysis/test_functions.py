"""Functions of a report: how large they are, and when they ran."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import coverage
import pytest

from wsgi_coverage.analysis.functions import Unused, functions
from wsgi_coverage.model import Report
from wsgi_coverage.report.publish import read_meta
from wsgi_coverage.report.render import FILES

Build = Callable[..., Report]

SHOP = """\
def total(items):
    out = 0
    for item in items:
        out += item
    return out


class Basket:
    def __init__(self):
        self.items = []

    def add(self, item):
        def check():
            assert item
        check()
        self.items.append(item)


def never(): return 1


def left_out():  # pragma: no cover
    return 2
"""
LOAD = [1, 8, 9, 12, 19]  # the `def` and `class` lines, one with a body
TOTAL = {"file": "shop.py", "name": "total", "line": 1, "statements": 4}
ADD = {"file": "shop.py", "name": "Basket.add", "line": 12, "statements": 3}
INIT = {"file": "shop.py", "name": "Basket.__init__", "line": 9, "statements": 1}
NOTHING_RAN = {"covered": 0, "runtime": 0, "load_only": 0, "ran": "never"}
CHECK = {"file": "shop.py", "name": "Basket.add.check", "line": 13, "statements": 1}
NEVER = {"file": "shop.py", "name": "never", "line": 19, "statements": 1}


@pytest.fixture
def ran(project: Path, build_report: Build, tmp_path: Path) -> Callable[..., Path]:
    """Build a report of what ran of shop.py, by context; its folder."""
    (project / "shop.py").write_text(SHOP)

    def make(by_context: Mapping[str, Iterable[int]], **more: Any) -> Path:
        data = coverage.CoverageData(str(project / ".coverage.a"))
        for context, lines in by_context.items():
            data.set_context(context)
            data.add_lines({str(project / "shop.py"): list(lines)})
        data.close()
        build_report(project / ".coverage.a", **more)
        return tmp_path / "out"

    return make


def named(project: Path, folder: Path, *, unused: Unused = False) -> list[dict[str, Any]]:
    return [
        {**each, "file": str(Path(each["file"]).relative_to(project))}
        for each in without_days(folder, unused=unused)
    ]


def without_days(folder: Path, *, unused: Unused = False) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in each.items() if "seen" not in key}
        for each in functions(folder, unused=unused)
    ]


def test_every_function_is_there_with_what_ran_of_it_the_largest_first(
    ran: Callable[..., Path], project: Path
) -> None:
    folder = ran({"load": LOAD, "runtime": [2, 3, 4, 10]})

    assert named(project, folder) == [
        {**TOTAL, "covered": 3, "runtime": 3, "load_only": 0, "ran": "at runtime"},
        {**ADD, **NOTHING_RAN},
        {**INIT, "covered": 1, "runtime": 1, "load_only": 0, "ran": "at runtime"},
        {**CHECK, **NOTHING_RAN},
        {**NEVER, "covered": 1, "runtime": 0, "load_only": 1, "ran": "at load only"},
    ]


def test_unused_is_what_never_ran_and_what_ran_at_load_only_is_told_apart(
    ran: Callable[..., Path], project: Path
) -> None:
    folder = ran({"load": [*LOAD, 2, 3, 5], "runtime": [10]})

    never = [{**ADD, **NOTHING_RAN}, {**CHECK, **NOTHING_RAN}]
    assert named(project, folder, unused=True) == never
    assert named(project, folder, unused="runtime") == [
        {**TOTAL, "covered": 3, "runtime": 0, "load_only": 3, "ran": "at load only"},
        *never,
        {**NEVER, "covered": 1, "runtime": 0, "load_only": 1, "ran": "at load only"},
    ]


def test_what_ran_at_load_and_at_runtime_has_run_at_runtime(
    ran: Callable[..., Path], project: Path
) -> None:
    folder = ran({"load": [*LOAD, 2, 3], "runtime": [3, 4]})

    told = {each["name"]: each for each in named(project, folder)}["total"]

    assert (told["runtime"], told["load_only"], told["ran"]) == (2, 1, "at runtime")


def test_where_load_is_not_told_from_runtime_that_is_null_and_has_a_reason(
    ran: Callable[..., Path], project: Path
) -> None:
    folder = ran({"": [*LOAD, 10]})
    unknown = {
        "runtime": None,
        "load_only": None,
        "reason": "a context without a name does not tell load from runtime",
    }

    never = [{**each, "covered": 0, "ran": "never", **unknown} for each in (TOTAL, ADD, CHECK)]
    assert named(project, folder, unused=True) == never
    assert named(project, folder, unused="runtime") == never  # of the others nobody knows
    assert {**NEVER, "covered": 1, "ran": None, **unknown} in named(project, folder)


def test_where_nobody_tells_phases_nothing_is_0_at_load_or_runtime_files_that_never_ran_included(
    ran: Callable[..., Path], project: Path
) -> None:
    (project / "more.py").write_text("def more():\n    a = 1\n    b = 2\n")

    folder = ran({"": [*LOAD, 10]}, could_run=[(str(project / "more.py"), None)])

    shop_file, more_file = sorted(
        json.loads((folder / FILES).read_bytes()), key=lambda each: -each["statements"]
    )
    summary = read_meta(folder).summary
    for figures in (shop_file, more_file, summary):
        assert {figures[key] for key in ("load", "load_only", "runtime")} == {None}
        assert "does not tell load from runtime" in figures["runtime_reason"]
    assert (shop_file["ran"], more_file["ran"]) == (None, "never")
    assert {each["runtime"] for each in functions(folder, unused=False)} == {None}
    assert (summary["unused_files"], summary["load_only_files"]) == (1, None)
    assert (summary["unused_functions"], summary["load_only_functions"]) == (4, None)
    assert summary["runtime_reason"].startswith(str(project / "shop.py"))


def test_a_file_that_never_ran_is_told_anew_once_others_tell_phases(
    ran: Callable[..., Path], project: Path
) -> None:
    (project / "more.py").write_text("def more():\n    a = 1\n    b = 2\n")
    more = [(str(project / "more.py"), None)]

    before = named(project, ran({"": LOAD}, could_run=more), unused=True)
    (project / ".coverage.a").unlink()
    after = named(project, ran({"load": LOAD}, could_run=more), unused=True)

    assert [each["runtime"] for each in before if each["name"] == "more"] == [None]
    assert [each["runtime"] for each in after if each["name"] == "more"] == [0]


def test_files_are_counted_by_when_they_ran(ran: Callable[..., Path], project: Path) -> None:
    (project / "more.py").write_text("def more():\n    a = 1\n    b = 2\n")

    folder = ran({"load": LOAD}, could_run=[(str(project / "more.py"), None)])

    told = {Path(each["file"]).name: each for each in json.loads((folder / FILES).read_bytes())}
    assert {name: each["ran"] for name, each in told.items()} == {
        "shop.py": "at load only", "more.py": "never"
    }  # fmt: skip
    summary = read_meta(folder).summary
    assert (summary["unused_files"], summary["load_only_files"]) == (1, 1)
    for each in (*told.values(), summary):
        assert each["missing"] + each["load_only"] + each["runtime"] == each["statements"]


def test_functions_of_files_that_were_never_imported_are_there_too(
    ran: Callable[..., Path], project: Path
) -> None:
    (project / "more.py").write_text("def more():\n    a = 1\n    b = 2\n")

    folder = ran({"runtime": [10]}, could_run=[(str(project / "more.py"), None)])

    more = {"file": "more.py", "name": "more", "line": 1, "statements": 2}
    assert {**more, **NOTHING_RAN} in named(project, folder, unused=True)


def test_without_data_there_are_no_functions(build_report: Build, tmp_path: Path) -> None:
    build_report()

    assert functions(tmp_path / "out", unused=False) == []


def test_where_there_is_no_report_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        functions(tmp_path, unused=False)


def test_the_summary_counts_functions_and_names_the_largest_that_never_ran(
    ran: Callable[..., Path],
) -> None:
    folder = ran({"load": [*LOAD, 10], "runtime": [2, 3, 4, 5]})

    summary = read_meta(folder).summary

    assert summary["load_only_functions"] == 2  # Basket.__init__, and never with its `def`
    assert summary["functions"] == len(functions(folder, unused=False))
    assert summary["unused_functions"] == len(functions(folder, unused=True))
    assert summary["largest_unused"] == without_days(folder, unused=True)
