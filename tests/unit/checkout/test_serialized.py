"""A data file from what another machine's coverage.py has serialized."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from coverage import CoverageData

from wsgi_coverage.checkout import serialized
from wsgi_coverage.data.datafile import UnusableError


def serialized_data(folder: Path, *, branch: bool = False) -> bytes:
    data = CoverageData(basename=str(folder / "elsewhere"))
    data.set_context("a test's name; with 'quotes'")
    if branch:
        data.add_arcs({"/app/shop.py": [(-1, 1), (1, 2)]})
    else:
        data.add_lines({"/app/shop.py": [1, 2]})
    try:
        return data.dumps()
    finally:
        data.close(force=True)


def sql(script: str) -> bytes:
    return b"z" + zlib.compress(script.encode())


@pytest.mark.parametrize("branch", [False, True])
def test_what_is_written_is_what_was_measured(tmp_path: Path, branch: bool) -> None:
    target = tmp_path / ".coverage_e2e"

    serialized.write(serialized_data(tmp_path, branch=branch), target)

    data = CoverageData(basename=str(target))
    data.read()
    assert data.has_arcs() is branch
    assert data.lines("/app/shop.py") == [1, 2]
    assert data.measured_contexts() == {"a test's name; with 'quotes'"}
    data.close(force=True)


@pytest.mark.parametrize(
    "script",
    [
        "attach database '{}' as other; create table other.stolen (a);",
        "vacuum into '{}';",
        "create table t (a); insert into t values (randomblob(1000000000));",
        "pragma journal_mode = wal; create table t (a);",
        "create table t (a); create trigger x after insert on t begin delete from t; end;",
    ],
)
def test_sql_can_do_nothing_but_fill_the_data_file(tmp_path: Path, script: str) -> None:
    target, other = tmp_path / ".coverage_e2e", tmp_path / "other"

    with pytest.raises(UnusableError, match="no coverage data"):
        serialized.write(sql(script.format(other)), target)

    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("raw", [b"", b"z", b"zzz", b"SQLite format 3", sql("no sql")])
def test_what_is_no_data_is_refused(tmp_path: Path, raw: bytes) -> None:
    target = tmp_path / ".coverage_e2e"
    target.write_bytes(b"before")

    with pytest.raises(UnusableError):
        serialized.write(raw, target)

    assert target.read_bytes() == b"before"


def test_data_that_breaks_off_is_refused(tmp_path: Path) -> None:
    whole = serialized_data(tmp_path)

    with pytest.raises(UnusableError, match="not all of it"):
        serialized.write(whole[: len(whole) // 2], tmp_path / ".coverage_e2e")


def test_more_than_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serialized, "MOST", 100)

    with pytest.raises(UnusableError, match="not all of it"):
        serialized.write(sql("--" + " " * 200), tmp_path / ".coverage_e2e")


def test_sql_that_takes_too_long_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serialized, "SECONDS", -60)

    with pytest.raises(UnusableError, match="no coverage data"):
        serialized.write(sql("create table t (a);"), tmp_path / ".coverage_e2e")

    assert [*tmp_path.iterdir()] == []
