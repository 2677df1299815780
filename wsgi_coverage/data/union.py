"""The union of many data files, one row per file and context.

The result is that of `coverage combine`, in a tenth of the time: that adds one file after another
in SQL, which writes every row again for each file. Here lines are ORed as integers (coverage.py
documents its numbits and its tables) and written once.

Concurrency: one instance belongs to one thread.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from coverage import CoverageData

from wsgi_coverage.data import database, forksafe, stamp
from wsgi_coverage.data.bits import as_numbits, bits_of
from wsgi_coverage.data.datafile import UnusableError
from wsgi_coverage.data.reading import ARC_BITS, ARC_MIDDLE, Record
from wsgi_coverage.system import own_files

NO_UTF_8 = "its name is no UTF-8, and no data file holds such a name"
KINDS = {True: "branches", False: "statements only"}

# All names as one text: rows take longer, and the next worker's text is often the same.
FILES = "select count(*), group_concat(id), group_concat(path, char(0)) from file"
NAME = 4_096  # characters of a file's name, of a context, of a plugin
NUMBITS = 128 << 10  # bytes: of a source of a million lines
TABLES = 16  # lists of names that are cached

# Both line numbers of an arc are packed into one integer, and all arcs of a file and context into
# one text: to fetch each arc as a row takes four times as long.
LOW, MIDDLE = ARC_BITS, ARC_MIDDLE
READ = {
    False: "select context_id, file_id, numbits from line_bits",
    True: f"""
        select context_id, file_id, group_concat((fromno << {LOW}) + tono + {MIDDLE})
        from arc group by file_id, context_id
    """,  # noqa: S608  constants
}
# For a few contexts, such as load and runtime, one query for each takes a quarter less time than to
# group all rows here. The table has no index for it, so this is not for many contexts.
READ_ONE = "select file_id, numbits from line_bits where context_id = ?"
FEW = 4
WRITE = {
    False: "insert into line_bits (file_id, context_id, numbits) values (?, ?, ?)",
    True: f"""
        insert into arc (file_id, context_id, fromno, tono)
        select ?, ?, value >> {LOW}, (value & {2 * MIDDLE - 1}) - {MIDDLE} from json_each(?)
    """,  # noqa: S608  constants
}

Rows = dict[int, list[tuple[int, Any]]]  # by context id: file id, and numbits or a text of arcs
Names = tuple[Sequence[str], Mapping[int, str]]  # files' names in the data file; mapped ones by id


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFileContent:
    """The content of one data file; the ids are those of its own tables."""

    paths: Sequence[str]  # the names of its files, in the order of `names`
    names: Mapping[int, str]  # the mapped names of its files, by file id
    contexts: dict[int, str]  # by context id
    tracers: dict[int, str]  # by file id
    rows: Rows


class DataUnion:
    """The union of the content of data files.

    Args:
        target: the data file to write; becomes an empty data file at once.
        branch: whether it holds arcs; data files that differ are refused.
        path_map: maps a measured file's name in a data file to its name in the union.
        before_mapping: called with the names in a data file before any of them is mapped.

    Raises:
        OSError, CoverageException: the target cannot be written.
    """

    def __init__(
        self,
        target: Path,
        *,
        branch: bool,
        path_map: Callable[[str], str] | None = None,
        before_mapping: Callable[[Sequence[str]], object] = len,
    ) -> None:
        self._target = target
        self._branch = branch
        self._path_map = path_map
        self._before_mapping = before_mapping
        _create(target, branch=branch)
        with stamp.reading(target) as connection:
            self._schema = _schema(connection)
        self._names: dict[str, str] = {}  # mapped names, by the names in data files
        self._tables: dict[tuple[str, str], Names] = {}
        self._files: dict[str, None] = {}
        self.unstorable: list[str] = []  # names of files that `write` has left out
        self._contexts: dict[str, None] = {}
        self._tracers: dict[str, str] = {}
        self._found: dict[str, dict[str, Any]] = {}  # by context and file: lines or arcs
        self._seen: dict[str, dict[str, Any]] = {}  # the last values: most are the next file's, too

    @property
    def branch(self) -> bool:
        """True for arcs, False for lines."""
        return self._branch

    @property
    def files(self) -> Collection[str]:
        """The names of the measured files."""
        return self._files.keys()

    def name(self, elsewhere: str) -> str:
        """Map a measured file's name by `path_map`, to a path with this system's separators."""
        known = self._names.get(elsewhere)
        if known is None:
            known = elsewhere
            if self._path_map is not None:
                known = self._path_map(elsewhere).replace("\\", os.sep).replace("/", os.sep)
            self._names[elsewhere] = known
        return known

    def read(self, connection: sqlite3.Connection) -> DataFileContent:
        """Read the content of a data file.

        Raises:
            UnusableError: it has another schema, or lines instead of arcs, or is inconsistent.
            sqlite3.Error: it cannot be read.
        """
        schema = _schema(connection)
        if schema != self._schema:
            raise UnusableError(f"wrong schema: {schema} instead of {self._schema}")
        paths, names = self._read_files(connection)
        if paths:
            self._check_mode(connection)
        contexts = _named(connection, "select id, context from context")
        return DataFileContent(
            paths=paths,
            names=names,
            contexts=contexts,
            tracers=_named(connection, "select file_id, tracer from tracer"),
            rows=self._read_rows(connection, contexts),
        )

    def _read_rows(self, connection: sqlite3.Connection, contexts: Iterable[int]) -> Rows:
        if self._branch:
            return _by_context(database.fetch(connection, READ[True], kind=str))
        fetch = partial(database.fetch, connection, kind=bytes, most=NUMBITS)
        if len(numbers := list(contexts)) <= FEW:
            return {one: fetch(READ_ONE, [one]) for one in numbers}
        return _by_context(fetch(READ[False]))

    def _read_files(self, connection: sqlite3.Connection) -> Names:
        number, *texts = database.first(connection, FILES)
        if not number:
            return (), {}
        stamp.check_number(number)
        if None in texts:
            raise UnusableError("its files have no names")
        key = (texts[0], texts[1])
        if (known := self._tables.get(key)) is not None:
            return known
        paths = texts[1].split("\0")
        _check_lengths(paths)
        if not self._names.keys() >= set(paths):
            self._before_mapping(paths)
            for path in paths:  # in the order of `coverage combine`, which may matter
                self.name(path)
        ids = map(int, texts[0].split(","))
        names = dict(zip(ids, map(self._names.__getitem__, paths), strict=True))
        if len(names) != number:
            raise UnusableError("some of its files have one number")
        found = paths, names
        if len(self._tables) < TABLES:
            self._tables[key] = found
        return found

    def _check_mode(self, connection: sqlite3.Connection) -> None:
        arcs = has_branches(connection)
        if arcs != self._branch:
            raise UnusableError(
                f"it holds {KINDS[arcs]}, and this application measures {KINDS[self._branch]}"
            )
        other = "line_bits" if arcs else "arc"
        if database.first(connection, f"select 1 from {other}"):  # noqa: S608
            raise UnusableError("it holds both lines and branches")

    def add(self, content: DataFileContent, *, without: Collection[str] = ()) -> None:
        """Add the content of a data file.

        Args:
            content: what `read` returned.
            without: files to leave out, by their names in the data file.

        Raises:
            UnusableError: a file has another file tracer than in data files before; nothing is
                added.
        """
        names = content.names
        if without:
            names = {
                number: name
                for (number, name), path in zip(names.items(), content.paths, strict=True)
                if path not in without
            }
        tracers = {
            number: content.tracers[number] for number in content.tracers.keys() & names.keys()
        }
        if tracers or self._tracers:
            self._check_tracers(names, tracers)
        self._files.update(dict.fromkeys(names.values()))
        self._contexts.update(dict.fromkeys(content.contexts.values()))
        for number in sorted(tracers):
            self._tracers.setdefault(names[number], tracers[number])
        self._add_rows(names, content)

    def _check_tracers(self, names: Mapping[int, str], tracers: Mapping[int, str]) -> None:
        for number, name in names.items():
            before, now = self._tracers.get(name, ""), tracers.get(number, "")
            if name in self._files and before != now:
                raise UnusableError(
                    f"Conflicting file tracer name for {name!r}: {before!r} vs {now!r}"
                )

    def _add_rows(self, names: Mapping[int, str], content: DataFileContent) -> None:
        for number, rows in content.rows.items():
            if number not in content.contexts:
                continue  # dropped, as `coverage combine` does
            found = self._found.setdefault(content.contexts[number], {})
            seen = self._seen.setdefault(content.contexts[number], {})
            for file, value in rows:
                name = names.get(file)
                if name is None or seen.get(name) == value:
                    continue
                seen[name] = value
                if self._branch:
                    found.setdefault(name, set()).update(value.split(","))
                else:
                    found[name] = found.get(name, 0) | int.from_bytes(value, "little")

    def add_lines(self, name: str, lines: Mapping[str, int]) -> None:
        """Add executed lines of one file.

        Args:
            name: the file's name in the union.
            lines: executed lines by context; bit n is line n.
        """
        self._files.setdefault(name)
        for context, bits in lines.items():
            self._contexts.setdefault(context)
            found = self._found.setdefault(context, {})
            found[name] = found.get(name, 0) | bits

    def add_record(self, name: str, context: str, record: Record) -> None:
        """Add the arcs, or lines, of a record of a memory.

        Args:
            name: the file's name in the union.
            context: the context in which they ran.
            record: the record; it has arcs if the union has.
        """
        self.touch(name, record.tracer)
        self._contexts.setdefault(context)
        found = self._found.setdefault(context, {})
        if self._branch:
            found.setdefault(name, set()).update(map(str, record.numbers))
        elif record.numbers:
            found[name] = found.get(name, 0) | bits_of(record.numbers)

    def forget(self, name: str) -> None:
        """Remove the lines or arcs that were added of one file."""
        for found in self._found.values():
            found.pop(name, None)

    def touch(self, name: str, tracer: str) -> None:
        """Add a file to the measured files, with its file tracer, whether it has run or not."""
        if name not in self._files:
            self._files[name] = None
            if tracer:
                self._tracers[name] = tracer

    @forksafe.no_fork()
    def write(self) -> None:
        """Write the union; to be called once.

        Raises:
            sqlite3.Error: it cannot be written.
        """
        self.unstorable = [name for name in self._files if not database.is_storable(name)]
        for name in self.unstorable:
            self.forget(name)
            del self._files[name]
            self._tracers.pop(name, None)
        files = {name: number for number, name in enumerate(self._files, start=1)}
        contexts = {name: number for number, name in enumerate(self._contexts, start=1)}
        with contextlib.closing(sqlite3.connect(self._target)) as connection, connection:
            # No other process reads the file before it is complete.
            database.run(connection, "pragma journal_mode=off")
            database.run(connection, "pragma synchronous=off")
            with contextlib.closing(connection.cursor()) as cursor:
                cursor.executemany("insert into file (path, id) values (?, ?)", files.items())
                cursor.executemany(
                    "insert into context (context, id) values (?, ?)", contexts.items()
                )
                cursor.executemany(
                    "insert into tracer (file_id, tracer) values (?, ?)",
                    ((files[name], tracer) for name, tracer in self._tracers.items()),
                )
                for context, found in self._found.items():
                    for name, value in found.items():
                        row = files[name], contexts[context], self._as_written(value)
                        cursor.execute(WRITE[self._branch], row)

    def _as_written(self, value: Any) -> bytes | str:
        if self._branch:
            return f"[{','.join(value)}]"
        return as_numbits(int(value))


def has_branches(connection: sqlite3.Connection) -> bool:
    """Tell whether a data file holds arcs.

    Raises:
        sqlite3.Error: it cannot be read.
    """
    row = database.first(connection, "select value from meta where key = 'has_arcs'")
    return row is not None and row[0] == "1"


def _named(connection: sqlite3.Connection, query: str) -> dict[int, str]:
    found = dict(database.fetch(connection, query, kind=str, most=NUMBITS))
    _check_lengths(found.values())
    return found


def _check_lengths(names: Iterable[str]) -> None:
    longest = max(map(len, names), default=0)
    if longest > NAME:
        raise UnusableError(f"it holds a name of {longest:,} characters, more than {NAME:,}")


def _by_context(rows: Iterable[tuple[int, int, Any]]) -> Rows:
    out: Rows = {}
    for context, number, value in rows:
        out.setdefault(context, []).append((number, value))
    return out


@forksafe.no_fork()
def _create(path: Path, *, branch: bool) -> None:
    """Write an empty data file with the schema of the installed coverage.py."""
    # With a basename, else it looks up the working directory, which may have been removed.
    data = CoverageData(basename=str(path), no_disk=True)
    try:
        if branch:
            data.add_arcs({})
        else:
            data.add_lines({})
        script = zlib.decompress(data.dumps()[1:]).decode()
    finally:
        data.close(force=True)
    path.unlink(missing_ok=True)
    own_files.create(path)  # SQLite would create it with a mode that depends on the umask
    with contextlib.closing(sqlite3.connect(path)) as connection:
        database.run(connection, "pragma journal_mode=off")
        database.run(connection, "pragma synchronous=off")
        connection.executescript(script).close()


def _schema(connection: sqlite3.Connection) -> object:
    row = database.first(connection, "select version from coverage_schema")
    return row[0] if row else None
