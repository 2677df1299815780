"""Files that were imported before measuring began are listed, and say what was not seen."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wsgi_coverage.analysis.functions import functions
from wsgi_coverage.data import imported
from wsgi_coverage.data.imported import Unseen
from wsgi_coverage.model import Report
from wsgi_coverage.report import pages

Build = Callable[..., Report]

SHOP = """\
import os

RATE = 2


def price(n):
    return n * RATE


def never():
    return 1


if RATE > 5:
    RATE = 5
"""
ENDED = Unseen(True, None)
NOT_SEEN = Unseen(False, None)


def begun(line: int) -> Unseen:
    return Unseen(False, line, frozenset())  # no function had run


@pytest.fixture
def shop(project: Path) -> str:
    path = project / "shop.py"
    path.write_text(SHOP)
    return str(path)


@pytest.fixture
def files(tmp_path: Path) -> Callable[[], dict[str, Any]]:
    """The report's list of files, by name without folders."""

    def read() -> dict[str, Any]:
        found = json.loads((tmp_path / "out" / "files.json").read_text())
        return {Path(each["file"]).name: each for each in found}

    return read


def test_files_are_listed_at_0_where_nothing_has_run_yet(build_report, shop, files, tmp_path):
    report = build_report(could_run=[(shop, None)])

    assert (files()["shop.py"]["percent"], files()["shop.py"]["ran"]) == (0.0, "never")
    assert (report.summary["percent"], report.summary["statements"]) == (0.0, 8)
    assert "TOTAL" in (tmp_path / "out" / "report.txt").read_text()
    assert report.size > 0
    assert report.summary["imported_early_files"] == 0
    assert report.warnings == ()


def test_one_that_was_imported_early_says_so_at_0(build_report, shop, files):
    report = build_report(could_run=[(shop, None)], imported_early={shop: ENDED})

    found = files()["shop.py"]
    assert (found["percent"], found["load"], found["runtime"]) == (0.0, 0, 0)
    assert found["ran"] == "at load only"  # when it was imported, which nobody saw
    assert found["imported_early"] == imported.reason(ENDED)
    summary = report.summary
    assert (summary["imported_early_files"], summary["unused_files"]) == (1, 0)
    [warning] = report.warnings
    assert warning.startswith(f"1 file was imported before measuring began ({shop})")
    assert "start_early()" in warning


def test_its_functions_that_run_are_exact_and_the_others_say_so_too(
    build_report, data_file, shop, files, tmp_path
):
    build_report(data_file(".coverage.a", {"shop.py": [7]}), imported_early={shop: ENDED})

    assert files()["shop.py"]["covered"] == 1
    told = {each["name"]: each.get("imported_early") for each in functions_of(tmp_path)}
    assert told == {"price": None, "never": imported.reason(ENDED)}


def test_what_may_have_run_is_not_counted_among_the_functions_that_never_did(
    build_report, data_file, shop, tmp_path
):
    data = data_file(".coverage.a", {"shop.py": [7]})

    report = build_report(data, imported_early={shop: ENDED})

    out, summary = tmp_path / "out", report.summary
    assert functions(out, unused=True) == []
    assert [each["name"] for each in functions(out, unused="runtime")] == ["never"]
    assert (summary["functions"], summary["unused_functions"]) == (2, None)
    assert (summary["load_only_functions"], summary["largest_unused"]) == (None, [])


ALL_BUT_FUNCTIONS = [1, 3, 6, 10, 14, 15]


@pytest.mark.parametrize(
    ("first_lines", "uncertain"),
    [
        (None, {"price", "never"}),
        ((), set()),
        ((5,), {"price"}),  # a decorator's line
        ((10,), {"never"}),
        ((6, 8), {"price", "never"}),
        ((11,), set()),
    ],
)
def test_of_a_module_that_had_begun_those_functions_are_uncertain_that_may_have_run(
    build_report, data_file, shop, files, tmp_path, first_lines, uncertain
):
    unseen = Unseen(False, 16, None if first_lines is None else frozenset(first_lines))
    lines = [1, 3, 6, 10] if first_lines is None else ALL_BUT_FUNCTIONS
    data = data_file(".coverage.a", {"shop.py": lines})

    report = build_report(data, imported_early={shop: unseen})

    told = {each["name"] for each in functions_of(tmp_path) if "imported_early" in each}
    assert told == uncertain
    ran = {each["name"] for each in functions_of(tmp_path) if each["ran"] is None}
    assert ran == uncertain
    assert ("imported_early" in files()["shop.py"]) == bool(uncertain)
    assert report.summary["unused_functions"] == (None if uncertain else 2)


def functions_of(tmp_path: Path) -> list[dict[str, Any]]:
    return functions(tmp_path / "out", unused=False)


@pytest.mark.parametrize(
    ("lines", "unseen", "is_exact"),
    [
        ([1, 3, 6, 7, 10, 11, 14, 15], ENDED, True),  # another process saw its module run
        ([1, 3, 6, 10, 14, 15], ENDED, False),  # there, but not which functions ran here
        ([1, 3, 6, 7, 10, 11, 14], ENDED, False),
        ([1, 3, 6, 10, 14], begun(14), True),
        ([1, 3, 6, 10, 14], begun(15), True),
        ([1, 3, 6, 10, 14], begun(16), False),
        ([1, 6, 10, 14, 15], begun(4), False),
        ([7], NOT_SEEN, False),
    ],
)
def test_its_figures_are_exact_if_nothing_is_missing_of_what_ran_before(
    build_report, data_file, shop, files, lines, unseen, is_exact
):
    data = data_file(".coverage.a", {"shop.py": lines})

    report = build_report(data, imported_early={shop: unseen})

    assert files()["shop.py"].get("imported_early") == (
        None if is_exact else imported.reason(unseen)
    )
    assert report.summary["imported_early_files"] == (not is_exact)


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (ENDED, begun(4), ENDED),
        (Unseen(False, 4, frozenset({1})), Unseen(False, 7, frozenset({6})), (False, 7, {1, 6})),
        (begun(4), Unseen(False, None, frozenset({1})), (False, None, {1})),
        (begun(4), NOT_SEEN, NOT_SEEN),
    ],
)
def test_of_a_file_that_is_two_modules_is_seen_what_was_seen_of_both(one, other, both):
    assert imported.either(one, other) == imported.either(other, one) == both


def test_each_reason_says_what_was_not_seen():
    assert "imported before measuring began" in imported.reason(ENDED)
    assert "while it was imported, at line 14" in imported.reason(begun(14))
    assert "the engine in use does not see a module that runs" in imported.reason(NOT_SEEN)


def test_figures_that_an_older_version_kept_are_worked_out_anew(
    build_report, data_file, shop, files, monkeypatch
):
    data = data_file(".coverage.a", {"shop.py": [7, 11]})
    monkeypatch.setattr("wsgi_coverage.analysis.analyst.FORM", b"older")
    monkeypatch.setattr("wsgi_coverage.analysis.figures._outside_of_functions", lambda *_: set())
    build_report(data, imported_early={shop: ENDED})
    assert "imported_early" not in files()["shop.py"]
    monkeypatch.undo()
    monkeypatch.chdir(Path(shop).parent)

    build_report(data, imported_early={shop: ENDED})

    assert "imported_early" in files()["shop.py"]


def test_its_page_and_the_index_say_so_below_the_figure(build_report, data_file, shop, tmp_path):
    data = data_file(".coverage.a", {"shop.py": [7], "app.py": [1]})
    build_report(data, imported_early={shop: ENDED})
    site = tmp_path / "site"

    pages.render_site(tmp_path / "out", site)

    reason = html.escape(imported.reason(ENDED))
    assert reason in (site / "shop_py.html").read_text()
    assert "imported before measuring" not in (site / "app_py.html").read_text()
    warning = html.escape(imported.warning({"shop.py"}))
    assert warning in (site / "index.html").read_text()
