"""What a report says of data files, good and bad."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import coverage
import pytest

from wsgi_coverage.data import stamp
from wsgi_coverage.model import Report
from wsgi_coverage.report import formats

Build = Callable[..., Report]
MakeData = Callable[..., Path]

# What these data files, which know no phases, say of load and runtime.
UNTOLD = {
    "load": None,
    "load_only": None,
    "runtime": None,
    "runtime_percent": None,
    "ran": None,
    "runtime_reason": "a context without a name does not tell load from runtime",
    "first_seen": None,
    "last_seen": None,
    "seen_reason": "days are not recorded",
}


@pytest.fixture
def files(tmp_path: Path) -> Callable[[], dict[str, Any]]:
    def read() -> dict[str, Any]:
        entries = json.loads((tmp_path / "out" / "files.json").read_text())
        for entry in entries:
            entry.pop("html", None)  # test_page_names.py
        return {Path(entry.pop("file")).name: entry for entry in entries}

    return read


def test_the_union_of_all_data_files_is_reported(
    data_file: MakeData, build_report: Build, files: Callable[[], dict[str, Any]]
) -> None:
    report = build_report(
        data_file(".coverage.a", {"app.py": [1, 2]}),
        data_file(".coverage.b", {"app.py": [5, 6]}),
        data_file(".coverage", {"app.py": [8]}),
    )

    assert files()["app.py"] == {
        "statements": 6,
        "missing": 1,
        "covered": 5,
        "percent": 83.33,
        **UNTOLD,
    }
    assert report.summary["covered"] == 5
    assert report.warnings == ()


def test_combining_changes_no_data_file(data_file: MakeData, build_report: Build) -> None:
    paths = [data_file(f".coverage.{each}", {"app.py": [each]}) for each in (1, 2)]
    before = [path.read_bytes() for path in paths]

    build_report(*paths)

    assert [path.read_bytes() for path in paths] == before


def test_text_files_html_and_data_agree(
    data_file: MakeData,
    build_report: Build,
    files: Callable[[], dict[str, Any]],
    tmp_path: Path,
    project: Path,
) -> None:
    report = build_report(data_file(".coverage.a", {"app.py": [1, 2, 5]}))

    out = tmp_path / "out"
    exported = coverage.CoverageData(str(out / "data.coverage"))
    exported.read()
    assert sorted(exported.lines(str(project / "app.py")) or ()) == [1, 2, 5]
    assert files()["app.py"]["covered"] == 3
    assert "app.py       6      3    50%" in (out / "report.txt").read_text()
    assert b"50%" in formats.read_page(out, "index.html")
    assert report.summary["percent"] == 50.0
    assert json.loads(formats.read(out, formats.JSON))["totals"]["covered_lines"] == 3


def test_branch_figures_are_coverage_pys_own(
    data_file: MakeData, build_report: Build, files: Callable[[], dict[str, Any]]
) -> None:
    arcs = [(-1, 1), (1, 5), (5, -1), (-5, 6), (6, 7), (7, -5)]

    build_report(data_file(".coverage.a", arcs={"app.py": arcs}), branch=True)

    assert files()["app.py"] == {
        "statements": 6,
        "missing": 2,
        "covered": 4,
        "percent": 62.5,
        "branches": 2,
        "partial_branches": 1,
        "covered_branches": 1,
        "missing_branches": 1,
        **UNTOLD,
    }


def test_no_data_is_null_and_not_a_percentage(build_report: Build, tmp_path: Path) -> None:
    report = build_report()

    assert report.summary["percent"] is None
    assert report.summary["reason"] == "no data yet"
    assert report.size == 0
    assert "no data yet" in (tmp_path / "out" / "report.txt").read_text()
    assert json.loads((tmp_path / "out" / "files.json").read_text()) == []


def test_a_file_without_statements_has_no_percentage(
    project: Path,
    data_file: MakeData,
    build_report: Build,
    files: Callable[[], dict[str, Any]],
) -> None:
    (project / "empty.py").write_text("")

    build_report(data_file(".coverage.a", {"app.py": [1], "empty.py": []}))

    assert files()["empty.py"]["percent"] is None
    assert files()["empty.py"]["reason"] == "no statements"


@pytest.mark.parametrize(("covered", "shown"), [(1, 0.01), (19_999, 99.99), (20_000, 100.0)])
def test_only_an_exact_hundred_or_zero_is_shown_as_one(
    project: Path,
    data_file: MakeData,
    build_report: Build,
    files: Callable[[], dict[str, Any]],
    covered: int,
    shown: float,
) -> None:
    (project / "long.py").write_text("x = 1\n" * 20_000)

    report = build_report(data_file(".coverage.a", {"long.py": range(1, covered + 1)}))

    assert files()["long.py"]["percent"] == shown
    assert report.summary["percent"] == shown


def test_files_that_never_ran_are_reported_at_zero(
    project: Path,
    data_file: MakeData,
    build_report: Build,
    files: Callable[[], dict[str, Any]],
) -> None:
    (project / "never.py").write_text("x = 1\n")

    build_report(
        data_file(".coverage.a", {"app.py": [1]}), could_run=[(str(project / "never.py"), None)]
    )

    assert files()["never.py"] == {
        "statements": 1,
        "missing": 1,
        "covered": 0,
        "percent": 0.0,
        **UNTOLD,
        "ran": "never",
    }


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No source"),
        (b"def (:\n", "Couldn't parse"),
        (b"# -*- coding: klingon -*-\nx = 1\n", "klingon"),
        (b"\xff\xfe\x00", ""),
    ],
    ids=["deleted", "unparsable", "unknown encoding", "binary"],
)
def test_a_bad_source_is_listed_with_its_reason_and_the_rest_is_reported(
    project: Path,
    data_file: MakeData,
    build_report: Build,
    files: Callable[[], dict[str, Any]],
    tmp_path: Path,
    content: bytes | None,
    reason: str,
) -> None:
    if content is not None:
        (project / "bad.py").write_bytes(content)

    report = build_report(data_file(".coverage.a", {"app.py": [1, 2], "bad.py": [1]}))

    bad = files()["bad.py"]
    assert (bad["statements"], bad["covered"], bad["percent"]) == (None, None, None)
    assert reason in bad["reason"]
    assert files()["app.py"]["covered"] == 2
    assert any("bad.py" in warning for warning in report.warnings)
    assert report.summary["statements"] == 6
    assert "bad.py" not in (tmp_path / "out" / "report.txt").read_text()
    assert b"bad_py.html" not in formats.read_page(tmp_path / "out", "index.html")


def test_only_bad_sources_are_no_data(
    project: Path, data_file: MakeData, build_report: Build
) -> None:
    (project / "bad.py").write_text("def (:\n")

    report = build_report(data_file(".coverage.a", {"bad.py": [1]}))

    assert report.summary["percent"] is None
    assert len(report.warnings) == 1


def garbage(path: Path) -> None:
    path.write_bytes(random.Random(1).randbytes(5000))


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def of_another_schema(path: Path) -> None:
    import sqlite3

    connection = sqlite3.connect(path)
    connection.execute("update coverage_schema set version = 99")
    connection.commit()
    connection.close()


def another_database(path: Path) -> None:
    import sqlite3

    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("create table coverage (x)")
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    "spoil", [garbage, truncated, emptied, of_another_schema, another_database]
)
def test_a_bad_data_file_is_set_aside_by_name_and_left_where_it_is(
    data_file: MakeData,
    build_report: Build,
    files: Callable[[], dict[str, Any]],
    spoil: Callable[[Path], None],
) -> None:
    bad = data_file(".coverage.bad", {"app.py": range(1, 9)})
    spoil(bad)
    content = bad.read_bytes()

    report = build_report(data_file(".coverage.a", {"app.py": [1, 2]}), bad)

    assert files()["app.py"]["covered"] == 2
    (warning,) = report.warnings
    assert str(bad) in warning
    assert "set aside" in warning
    assert bad.read_bytes() == content


@pytest.mark.parametrize("branch", [False, True])
def test_a_data_file_of_the_other_mode_is_set_aside(
    data_file: MakeData,
    build_report: Build,
    files: Callable[[], dict[str, Any]],
    branch: bool,
) -> None:
    lines = data_file(".coverage.lines", {"app.py": [1, 2]})
    arcs = data_file(".coverage.arcs", arcs={"app.py": [(-1, 1), (1, 5), (5, -1)]})

    report = build_report(lines, arcs, branch=branch)

    (warning,) = report.warnings
    assert str(lines if branch else arcs) in warning
    assert files()["app.py"]["covered"] == 2


def test_a_data_file_that_has_just_gone_is_named(
    project: Path, data_file: MakeData, build_report: Build
) -> None:
    report = build_report(data_file(".coverage.a", {"app.py": [1]}), project / ".coverage.gone")

    assert any(".coverage.gone" in warning for warning in report.warnings)


def test_paths_are_remapped_as_coverage_combine_would(
    project: Path, data_file: MakeData, build_report: Build
) -> None:
    path = project / ".coverage.elsewhere"
    data = coverage.CoverageData(str(path))
    data.add_lines({"/container/app/app.py": [5, 6]})
    data.close()

    report = build_report(
        data_file(".coverage.a", {"app.py": [1, 2]}),
        path,
        config=f"[paths]\nsource =\n    {project}\n    /container/app\n",
    )

    assert report.summary["files"] == 1
    assert report.summary["covered"] == 4


@pytest.mark.parametrize("relative", ["false", "true"])
def test_a_file_of_a_plugin_that_is_not_configured_has_a_reason_and_the_others_figures(
    project: Path, build_report: Build, tmp_path: Path, relative: str
) -> None:
    (project / "page.html").write_text("<p>\n")
    folder = "" if relative == "true" else f"{project}/"
    path = project / ".coverage.a"
    data = coverage.CoverageData(str(path))
    data.add_lines({f"{folder}app.py": [1, 2], f"{folder}page.html": [1]})
    data.add_file_tracers({f"{folder}page.html": "gone.Plugin"})
    data.close()

    build_report(path, config=f"[run]\nrelative_files = {relative}\n")

    app, page = json.loads((tmp_path / "out" / "files.json").read_text())
    assert (app["file"], app["covered"]) == (f"{folder}app.py", 2)
    assert (page["file"], page["percent"]) == (f"{folder}page.html", None)
    assert page["reason"] == (
        "the plugin 'gone.Plugin' has measured it, and coverage.py's configuration does not have "
        "that (any more)"
    )


def test_relative_files_stay_relative(
    project: Path, build_report: Build, files: Callable[[], dict[str, Any]], tmp_path: Path
) -> None:
    path = project / ".coverage.a"
    data = coverage.CoverageData(str(path))
    data.add_lines({"app.py": [1, 2]})
    data.close()

    build_report(path, config="[run]\nrelative_files = true\n")

    (entry,) = json.loads((tmp_path / "out" / "files.json").read_text())
    assert (entry["file"], entry["covered"]) == ("app.py", 2)


def test_omitted_files_are_neither_reported_nor_warned_of(
    project: Path, data_file: MakeData, build_report: Build
) -> None:
    shutil.copy(project / "app.py", project / "left_out.py")

    report = build_report(
        data_file(".coverage.a", {"app.py": [1], "left_out.py": [1]}),
        config="[report]\nomit = */left_out.py\n",
    )

    assert report.summary["files"] == 1
    assert report.warnings == ()


def stamped(path: Path, worker_id: str, **sources: Path | str) -> Path:
    """As a worker publishes it: with the fingerprints of the sources that it loaded."""
    fingerprints = {
        str(path.parent / f"{name}.py"): source
        if isinstance(source, str)
        else str(stamp.fingerprint(source))
        for name, source in sources.items()
    }
    stamp.put_fingerprints(path, fingerprints)
    stamp.put(path, stamp.Stamp(worker_id=worker_id, host="h", epoch=0))
    return path


def test_lines_of_another_version_of_a_source_are_left_out_by_name(
    project: Path,
    data_file: MakeData,
    build_report: Build,
    files: Callable[[], dict[str, Any]],
) -> None:
    shutil.copy(project / "app.py", project / "same.py")
    same = project / "same.py"
    old = data_file(".coverage.old", {"app.py": range(1, 9), "same.py": [1, 2]})
    new = data_file(".coverage.new", {"app.py": [1, 2]})

    report = build_report(
        stamped(old, "h.1.old", app="of yesterday", same=same),
        stamped(new, "h.2.new", app=project / "app.py"),
    )

    assert files()["app.py"]["covered"] == 2
    assert files()["same.py"]["covered"] == 2
    (warning,) = report.warnings
    assert (
        "app.py has changed since the workers whose lines are in .coverage.old loaded it" in warning
    )


def test_a_source_of_which_only_an_old_version_ran_has_no_figures(
    project: Path,
    data_file: MakeData,
    build_report: Build,
    files: Callable[[], dict[str, Any]],
) -> None:
    (project / "other.py").write_text("x = 1\n")
    old = data_file(".coverage.old", {"app.py": range(1, 9), "other.py": [1]})

    report = build_report(
        stamped(old, "h.1.old", app="of yesterday"), could_run=[(str(project / "app.py"), None)]
    )

    assert files()["app.py"]["percent"] is None
    assert "changed since it was loaded" in files()["app.py"]["reason"]
    assert report.summary["statements"] == 1


def test_leaving_old_lines_out_changes_no_data_file(
    data_file: MakeData, build_report: Build
) -> None:
    old = stamped(data_file(".coverage.old", {"app.py": [1]}), "h.1.old", app="of yesterday")
    before = old.read_bytes()

    build_report(old)

    assert old.read_bytes() == before


def test_a_source_is_compared_where_paths_says_that_it_is(
    project: Path, build_report: Build, files: Callable[[], dict[str, Any]]
) -> None:
    path = project / ".coverage.elsewhere"
    data = coverage.CoverageData(str(path))
    data.add_lines({"/container/app/app.py": [5, 6]})
    data.close()
    stamp.put_fingerprints(path, {"/container/app/app.py": "of yesterday"})

    build_report(path, config=f"[paths]\nsource =\n    {project}\n    /container/app\n")

    assert files()["app.py"]["percent"] is None
