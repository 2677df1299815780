"""A data file that somebody has made to do harm is set aside by name, at once; the others count.

Each is tried as it is and sealed, as published files are: whoever can write one can seal it, too.
"""

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from special_files import device, listened_at, loop, pipe

from wsgi_coverage.checkout.collected import Brought
from wsgi_coverage.checkout.collected import combine as collect
from wsgi_coverage.checkout.sources import Checkout
from wsgi_coverage.data import database, datafile, stamp
from wsgi_coverage.data.compatible import CompatibleGroups
from wsgi_coverage.data.fold import write_union
from wsgi_coverage.errors import BuildFailedError

Combined = Callable[..., tuple[Any, list[str]]]
MakeData = Callable[..., Path]

ENDLESS = "with recursive r(n) as (select 1 union all select n + 1 from r)"
ADD_FILES = "insert into file (path) with recursive r(n) as (select 1 union all select n + 1 from r"
SECONDS = 20  # of CPU time, where what is tried would take for ever


def replaced(table: str, columns: str, select: str) -> str:
    return f"drop table {table}; create view {table} ({columns}) as {ENDLESS} {select} from r"


def said(column: str, value: str, name: str = "tracer") -> str:
    return (
        "pragma writable_schema = on;"
        f"update sqlite_master set {column} = {value} where name = '{name}';"
        "pragma writable_schema = off"
    )


def lied(sql: str) -> str:
    return said("sql", f"'{sql}'")


NO_UTF_8 = "cast(x'fffe' as text)"


HOSTILE = {
    "a view that never ends": replaced("file", "id, path", "select n, 'x' || n"),
    "lines that never end": replaced("line_bits", "file_id, context_id, numbits", "select 1, 1, n"),
    "contexts that never end": replaced("context", "id, context", "select n, 'x'"),
    "a schema that never ends": replaced("coverage_schema", "version", "select 7 + n - n"),
    "a view that nobody reads": f"create view more as {ENDLESS} select n from r",
    "a trigger": "create trigger t after insert on file begin delete from file; end",
    "a virtual table": "create virtual table more using fts5(text)",
    "a generated column": (
        "drop table tracer; create table tracer (file_id integer primary key,"
        " tracer text generated always as (replace(zeroblob(9), 'a', 'b')) virtual)"
    ),
    "a view that is said to be a table": lied("CREATE VIEW tracer AS SELECT 1 AS file_id"),
    "a generated column behind a comment": lied(
        "CREATE TABLE tracer (file_id, tracer text as /* ( */ -- )" + "\n(1))"
    ),
    "a definition without end": lied(f"CREATE TABLE tracer (file_id, tracer) --{'x' * 3000}"),
    "numbits of two million lines": "update line_bits set numbits = zeroblob(250000)",
    "numbits of twenty megabytes": "update line_bits set numbits = zeroblob(20000000)",
    "numbits that are text": "update line_bits set numbits = 'text'",
    "numbits that are no value": "update line_bits set numbits = null",
    "a schema that is a text": f"update coverage_schema set version = '{'7' * 3000}'",
    "fifty thousand names": f"{ADD_FILES} limit 50000) select 'x' || n from r",
    "fifty thousand long names": (
        f"{ADD_FILES} limit 50000) select printf('%0*d', 900, n) || 'x' from r"
    ),
    "a name of five thousand characters": "update file set path = printf('%05000d', 1)",
    "a name of no text": "update file set path = null",
    "a context of five thousand characters": "update context set context = printf('%05000d', 1)",
    "a context of twenty megabytes": "update context set context = zeroblob(20000000)",
    "a context that is no text": "update context set context = x'00'",
    "a plugin of no text": "insert into tracer values (1, x'00')",
    "a plugin of five thousand characters": "insert into tracer values (1, printf('%05000d', 1))",
    "files without numbers": (
        "create table other (id integer, path text); insert into other values (1, 'x'), (1, 'y');"
        "drop table file; alter table other rename to file"
    ),
    "a hundred tables": ";".join(f"create table t{number} (a)" for number in range(100)),
    "a table whose name is no UTF-8": said("name", NO_UTF_8),
    "a table of a name that is no UTF-8": said("tbl_name", NO_UTF_8),
    "a definition that is no UTF-8": said("sql", NO_UTF_8),
    "a type that is no UTF-8": said("type", NO_UTF_8),
    "a file's name that is no UTF-8": f"update file set path = {NO_UTF_8}",
    "a context that is no UTF-8": f"update context set context = {NO_UTF_8}",
    "a plugin that is no UTF-8": f"insert into tracer values (1, {NO_UTF_8})",
    "versions that are no UTF-8": (
        "create table wsgi_coverage_source (path text, fingerprint text);"
        f"insert into wsgi_coverage_source values ('a.py', {NO_UTF_8})"
    ),
    "more versions than files": (
        "create table wsgi_coverage_source (path text, fingerprint text);"
        "insert into wsgi_coverage_source values ('a.py', 'v,w')"
    ),
    "fifty thousand versions": (
        "create table wsgi_coverage_source (path text, fingerprint text);"
        f"insert into wsgi_coverage_source {ENDLESS} select n, n from r limit 50000"
    ),
}


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datafile, "RETRY_INTERVAL", 0)


@pytest.fixture(params=["as it is", "sealed"])
def hostile(request: pytest.FixtureRequest, data_file: MakeData) -> Callable[[str], Path]:
    def make(script: str) -> Path:
        path = data_file(".coverage.hostile", {"app.py": [1]})
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.executescript(script)
        if request.param == "sealed":
            seal(path)
        return path

    return make


def seal(path: Path) -> None:
    """Seal it whatever is in it."""
    content = bytearray(path.read_bytes())
    _, content[stamp.SEAL] = stamp._checksum(bytes(content))
    path.write_bytes(content)


@contextlib.contextmanager
def soon() -> Iterator[None]:
    began = time.thread_time()
    yield
    assert time.thread_time() - began < SECONDS


@pytest.mark.parametrize("script", HOSTILE.values(), ids=HOSTILE)
def test_it_is_set_aside_and_the_others_count(
    hostile: Callable[[str], Path], data_file: MakeData, combined: Combined, script: str
) -> None:
    path, whole = hostile(script), data_file(".coverage.whole", {"app.py": [2]})

    with soon():
        found, (warning,) = combined(path, whole)

    assert list(found.lines.values()) == [{2}]
    assert warning.startswith(f"data file {path} is set aside: ")
    assert len(warning) < len(str(path)) + datafile.WHY + 50


@pytest.mark.parametrize("script", HOSTILE.values(), ids=HOSTILE)
def test_a_collection_sets_it_aside_and_the_others_count(
    hostile: Callable[[str], Path],
    data_file: MakeData,
    project: Path,
    tmp_path: Path,
    script: str,
) -> None:
    brought = [
        Brought("http://one", hostile(script)),
        Brought("http://two", data_file("whole", {"app.py": [2]})),
    ]

    with soon():
        result = collect(brought, tmp_path / "target", Checkout(project), workspace=tmp_path)

    assert result.combined == ["http://two"]
    assert [*result.set_aside] == ["http://one"]


@pytest.mark.parametrize("script", HOSTILE.values(), ids=HOSTILE)
def test_it_is_not_folded_nor_does_it_keep_others_from_it(
    hostile: Callable[[str], Path], data_file: MakeData, tmp_path: Path, script: str
) -> None:
    first, path, last = data_file("first", {"a.py": [1]}), hostile(script), data_file("last", {})

    with soon():
        used = write_union([path, first, path, last], tmp_path / "folded")

    assert used == [first, last]


@pytest.mark.parametrize("script", HOSTILE.values(), ids=HOSTILE)
def test_a_look_at_its_names_ends(hostile: Callable[[str], Path], script: str) -> None:
    path, compatible = hostile(script), CompatibleGroups()

    with soon():
        with contextlib.suppress(sqlite3.Error):
            stamp.measured_files(path)
        with contextlib.suppress(sqlite3.Error, ValueError), stamp.reading(path) as connection:
            compatible.add(path, connection)

    assert not [*compatible.groups()]


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.write(stamp.MAGIC)
        file.truncate(2 << 30)


def sparse_data(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("create table a (b)")
    with path.open("r+b") as file:
        file.truncate(database.MOST + 1)


NO_FILES = [pipe, listened_at, device, loop, Path.mkdir, sparse, sparse_data]


@pytest.mark.parametrize("make", NO_FILES)
def test_what_is_no_regular_file_or_a_very_large_one_is_set_aside(
    project: Path, data_file: MakeData, combined: Combined, make: Callable[[Path], None]
) -> None:
    path, whole = project / ".coverage.hostile", data_file(".coverage.whole", {"app.py": [2]})
    make(path)

    with soon():
        found, (warning,) = combined(path, whole)

    assert list(found.lines.values()) == [{2}]
    assert warning.startswith(f"data file {path} is set aside: it ")


def test_a_file_that_takes_too_long_to_read_is_set_aside(
    data_file: MakeData, combined: Combined, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = data_file(".coverage.a", {"app.py": [1]})
    monkeypatch.setattr(database, "SECONDS", -60)
    monkeypatch.setattr(database, "STEPS", 1)
    connected = database.connected
    whose = []

    @contextlib.contextmanager
    def in_time(content: bytes) -> Iterator[sqlite3.Connection]:
        if content != path.read_bytes():
            with contextlib.closing(sqlite3.connect(":memory:")) as connection:
                connection.deserialize(content)
                yield connection
                return
        whose.append(content)
        with connected(content) as connection:
            yield connection

    monkeypatch.setattr(database, "connected", in_time)

    _, warnings = combined(path)

    assert warnings == [f"data file {path} is set aside: it takes too long to read"]
    assert len(whose) == 1  # and is not tried again


def test_more_than_a_data_file_may_hold_is_not_fetched(
    data_file: MakeData, combined: Combined, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = data_file(".coverage.a", {f"{number}.py": [1] for number in range(2000)})
    monkeypatch.setattr(database, "MOST", path.stat().st_size)
    monkeypatch.setattr(database, "ROW", 1000)

    _, (warning,) = combined(path)

    assert f"data file {path} is set aside: it holds more than" in warning


def test_warnings_are_bounded_in_number(data_file: MakeData, build_report: Any) -> None:
    path = data_file(".coverage.a", {f"{number}.py": [1] for number in range(1200)})

    warnings = build_report(path).warnings

    assert len(warnings) == 1001
    assert warnings[-1] == "and 200 more warnings like these"


@pytest.mark.parametrize(
    "said",
    [
        '{"worker_id": [1], "host": "h", "epoch": 0}',
        '{"worker_id": "w", "host": {}, "epoch": 0}',
        '{"worker_id": "w", "host": "h", "epoch": "0"}',
        f'{{"worker_id": "{"w" * 5000}", "host": "h", "epoch": 0}}',
        "[" * 100_000,
        "[]",
        "null",
    ],
)
def test_a_stamp_that_nobody_puts_there_is_none(data_file: MakeData, said: str) -> None:
    path = data_file(".coverage.a", {"app.py": [1]})
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("create table wsgi_coverage (stamp text)")
        connection.execute("insert into wsgi_coverage values (?)", [said])

    assert stamp.read(path) is None


def test_a_hostile_file_cannot_be_added_to(
    project: Path, data_file: MakeData, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "target")
    brought = [
        Brought("target", tmp_path / "target", is_own=True),
        Brought("http://two", data_file("whole", {"app.py": [2]})),
    ]

    with pytest.raises(BuildFailedError, match="it is no regular file"):
        collect(brought, tmp_path / "target", Checkout(project), workspace=tmp_path)


@pytest.mark.parametrize("harm", ["a view that never ends", "a trigger"])
def test_an_sqlite_that_opens_nothing_in_memory_reads_a_copy(
    data_file: MakeData, combined: Combined, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    monkeypatch.setattr(database, "IN_MEMORY", False)
    good, bad = data_file(".coverage.a", {"app.py": [1]}), data_file(".coverage.b", {"app.py": [2]})
    with contextlib.closing(sqlite3.connect(bad)) as connection:
        connection.executescript(HOSTILE[harm])

    found, warnings = combined(good, bad)

    assert list(found.lines.values()) == [{1}]
    assert len(warnings) == 1
    assert warnings[0].startswith(f"data file {bad} is set aside: ")
