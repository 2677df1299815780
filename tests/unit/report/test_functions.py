"""Functions of a report: how large they are, and which of them never ran."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import coverage
import pytest

from wsgi_coverage.model import Report
from wsgi_coverage.report.functions import FUNCTIONS, functions
from wsgi_coverage.report.publish import read_meta

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


def named(project: Path, folder: Path, *, unused: bool = False) -> list[dict[str, Any]]:
    return [
        {**each, "file": str(Path(each["file"]).relative_to(project))}
        for each in functions(folder, unused=unused)
    ]


def test_every_function_is_there_with_what_ran_of_it_the_largest_first(
    ran: Callable[..., Path], project: Path
) -> None:
    folder = ran({"load": LOAD, "runtime": [2, 3, 4, 10]})

    assert named(project, folder) == [
        {**TOTAL, "covered": 3, "runtime": 3},
        {**ADD, "covered": 0, "runtime": 0},
        {**INIT, "covered": 1, "runtime": 1},
        {**CHECK, "covered": 0, "runtime": 0},
        {**NEVER, "covered": 1, "runtime": 0},
    ]


def test_unused_is_what_never_ran_at_runtime_whatever_ran_at_load(
    ran: Callable[..., Path], project: Path
) -> None:
    folder = ran({"load": [*LOAD, 2, 3, 5], "runtime": [10]})

    assert named(project, folder, unused=True) == [
        {**TOTAL, "covered": 3, "runtime": 0},
        {**ADD, "covered": 0, "runtime": 0},
        {**CHECK, "covered": 0, "runtime": 0},
        {**NEVER, "covered": 1, "runtime": 0},
    ]


def test_where_load_is_not_told_from_runtime_that_is_null_and_has_a_reason(
    ran: Callable[..., Path], project: Path
) -> None:
    folder = ran({"": [*LOAD, 10]})
    unknown = {
        "runtime": None,
        "reason": "a context without a name does not tell load from runtime",
    }

    assert named(project, folder, unused=True) == [
        {**TOTAL, "covered": 0, **unknown},
        {**ADD, "covered": 0, **unknown},
        {**CHECK, "covered": 0, **unknown},
    ]
    assert {**NEVER, "covered": 1, **unknown} in named(project, folder)


def test_functions_of_files_that_were_never_imported_are_there_too(
    ran: Callable[..., Path], project: Path
) -> None:
    (project / "more.py").write_text("def more():\n    a = 1\n    b = 2\n")

    folder = ran({"runtime": [10]}, unexecuted=[(str(project / "more.py"), None)])

    more = {"file": "more.py", "name": "more", "line": 1, "statements": 2}
    assert {**more, "covered": 0, "runtime": 0} in named(project, folder, unused=True)


def test_without_data_there_are_no_functions(build_report: Build, tmp_path: Path) -> None:
    build_report()

    assert functions(tmp_path / "out", unused=False) == []


def test_where_there_is_no_report_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        functions(tmp_path, unused=False)


def test_the_summary_counts_functions_and_names_the_largest_that_never_ran(
    ran: Callable[..., Path],
) -> None:
    folder = ran({"load": LOAD, "runtime": [2, 3, 4, 5]})

    summary = read_meta(folder).summary

    assert summary["functions"] == len(functions(folder, unused=False))
    assert summary["unused_functions"] == len(functions(folder, unused=True))
    assert summary["largest_unused"] == functions(folder, unused=True)


def test_a_report_of_an_older_version_without_a_list_of_functions_still_has_them(
    ran: Callable[..., Path],
) -> None:
    folder = ran({"load": LOAD, "runtime": [2, 3, 4, 5]})
    with_list = functions(folder, unused=False)
    (folder / FUNCTIONS).unlink()

    assert functions(folder, unused=False) == with_list != []
