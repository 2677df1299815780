"""Damaged data files are set aside by name or read as they were: no error, no made-up line.

SQLite's own check sees a page that is not one, but no bit that is wrong in a line's place; the seal
of published files sees all.
"""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from wsgi_coverage.data import datafile, stamp

Combined = Callable[..., tuple[Any, list[str]]]
MakeData = Callable[..., Path]
Spoil = Callable[[bytes], Iterator[bytes]]
Spoiling = Callable[..., Iterator[tuple[Any, Any, list[str]]]]

PAGE = 4096
KINDS = ["lines", "arcs"]


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datafile, "RETRY_INTERVAL", 0)


@pytest.fixture(params=KINDS)
def whole(request: pytest.FixtureRequest, data_file: MakeData) -> tuple[Path, bool]:
    """A data file of several pages, and whether it is of branches."""
    names = [f"package/module_{number}.py" for number in range(40)]
    if request.param == "arcs":
        arcs = [(line, line + 1) for line in range(1, 60, 3)]
        return data_file(".coverage.whole", arcs=dict.fromkeys(names, arcs)), True
    return data_file(".coverage.whole", dict.fromkeys(names, range(1, 9000, 7))), False


@pytest.fixture
def sealed(whole: tuple[Path, bool]) -> tuple[Path, bool]:
    path, branch = whole
    stamp.put_fingerprints(path, {f"/package/module_{number}.py": "v" for number in range(40)})
    stamp.put(path, stamp.Stamp(worker_id="h.1.a", host="h", epoch=0))
    return path, branch


def flipped(content: bytes) -> Iterator[bytes]:
    for offset in [*range(100), *range(100, len(content), len(content) // 60)]:
        spoilt = bytearray(content)
        spoilt[offset] ^= 1 << offset % 8
        yield bytes(spoilt)


def truncated(content: bytes) -> Iterator[bytes]:
    for length in [0, 1, 59, 60, 64, 99, 100, *range(PAGE, len(content), len(content) // 20)]:
        yield content[:length]


def zeroed(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), max(PAGE, len(content) // PAGE // 40 * PAGE)):
        yield content[:start] + bytes(PAGE) + content[start + PAGE :]


@pytest.fixture
def spoiling(combined: Combined) -> Spoiling:
    """What is read of a file that is spoilt again and again, what was before, and the warnings."""

    def spoiling(path: Path, branch: bool, spoil: Spoil) -> Iterator[tuple[Any, Any, list[str]]]:
        was, _ = combined(path, branch=branch)
        for spoilt in spoil(path.read_bytes()):
            path.write_bytes(spoilt)
            found, warnings = combined(path, branch=branch)
            assert all(f"data file {path} is set aside: " in warning for warning in warnings)
            yield found, was, warnings

    return spoiling


@pytest.mark.parametrize("spoil", [flipped, truncated, zeroed])
def test_a_damaged_published_file_is_set_aside_or_read_as_it_was(
    sealed: tuple[Path, bool], spoiling: Spoiling, spoil: Spoil
) -> None:
    set_aside = 0

    for found, was, warnings in spoiling(*sealed, spoil):
        if warnings:
            (warning,) = warnings
            assert warning.startswith(f"data file {sealed[0]} is set aside: ")
            assert not found.tracers
            set_aside += 1
        else:
            assert found == was

    assert set_aside


@pytest.mark.parametrize("spoil", [truncated, zeroed])
def test_a_foreign_file_with_damaged_pages_adds_no_line_that_nobody_recorded(
    whole: tuple[Path, bool], spoiling: Spoiling, spoil: Spoil
) -> None:
    set_aside = 0

    for found, was, warnings in spoiling(*whole, spoil):
        for kind in KINDS:
            now, before = getattr(found, kind), getattr(was, kind)
            assert all(these <= before[key] for key, these in now.items())
        set_aside += len(warnings)

    assert set_aside


def test_a_flipped_bit_of_a_foreign_file_is_never_an_error(
    whole: tuple[Path, bool], spoiling: Spoiling
) -> None:
    assert [*spoiling(*whole, flipped)]


def test_a_foreign_file_whose_schema_is_no_text_is_set_aside(
    data_file: MakeData, combined: Combined
) -> None:
    path = data_file(".coverage.a", {"app.py": [1]})
    content = path.read_bytes()
    path.write_bytes(content.replace(b"transition", b"tr\xff\xffsition"))
    assert path.read_bytes() != content

    _, (warning,) = combined(path)

    assert f"data file {path} is set aside: " in warning


@pytest.mark.parametrize(
    "statement",
    [
        "update line_bits set numbits = 'text'",
        "update line_bits set numbits = null",
        "update line_bits set file_id = 99",
        "update line_bits set file_id = null",
        "update line_bits set context_id = 99",
        "update file set path = x'00'",
        "update file set path = null",
        "update context set context = null",
        "insert into tracer values (99, 'plugin')",
        "insert into tracer values (1, null)",
        "drop table tracer",
        "delete from coverage_schema",
        "insert into arc values (1, 1, 1, 2)",
    ],
)
def test_a_data_file_with_what_coverage_would_not_write_is_set_aside(
    data_file: MakeData, combined: Combined, statement: str
) -> None:
    path = data_file(".coverage.bad", {"app.py": [1]})
    execute(path, statement)

    found, warnings = combined(path, data_file(".coverage.a", {"app.py": [2]}))

    assert list(found.lines.values()) == [{2}]
    (warning,) = warnings
    assert warning.startswith(f"data file {path} is set aside: ")


@pytest.mark.parametrize("value", ["1.5", "null", "1 << 40", "-(1 << 40)", "1 << 62"])
def test_an_arc_between_no_line_numbers_sets_its_file_aside(
    data_file: MakeData, combined: Combined, value: str
) -> None:
    path = data_file(".coverage.bad", arcs={"app.py": [(-1, 1)]})
    execute(path, f"update arc set fromno = {value}")

    found, (warning,) = combined(path, branch=True)

    assert not found.tracers
    assert warning.startswith(f"data file {path} is set aside: ")


def test_a_file_that_was_damaged_before_it_was_sealed_is_set_aside(
    data_file: MakeData, combined: Combined
) -> None:
    path = data_file(".coverage.bad", {"app.py": [1]})
    execute(path, "update line_bits set numbits = 'text'")
    stamp.put(path, stamp.Stamp(worker_id="h.1.a", host="h", epoch=0))

    found, (warning,) = combined(path)

    assert not found.lines
    assert warning.startswith(f"data file {path} is set aside: ")


def execute(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()


def test_a_foreign_file_that_changes_while_it_is_read_is_read_again(
    data_file: MakeData, combined: Combined, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = data_file(".coverage.a", {"app.py": [1]})
    later = data_file("later", {"app.py": [1, 2]}).read_bytes()
    load = datafile.regular_files.load
    reads = []

    def written_to_meanwhile(source: Path, most: int, **named: Any) -> Any:
        content = load(source, most, **named)
        if source == path:
            reads.append(content)
            if len(reads) == 1:
                path.write_bytes(later)
                return content._replace(is_whole=False)
        return content

    monkeypatch.setattr(datafile.regular_files, "load", written_to_meanwhile)

    found, warnings = combined(path)

    assert list(found.lines.values()) == [{1, 2}]
    assert (len(reads), warnings) == (2, [])
