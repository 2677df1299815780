"""The stamp of a published data file: its memory, host and epoch, and its sources' fingerprints.

The stamp is in tables of its own beside coverage.py's, in the same SQLite file, so that lines and
stamp are replaced together. coverage.py ignores tables that it does not know.

A stamped file is sealed: it holds a checksum of itself. SQLite has none, so a flipped bit would
count as one more line, and a check of the database takes longer than reading it.

Concurrency: a stamp is put on a file before it is published; published files never change.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from wsgi_coverage.data import database, forksafe, regular_files
from wsgi_coverage.data.reading import LabelUse
from wsgi_coverage.errors import is_shortage

TABLE = "wsgi_coverage"
SOURCES = "wsgi_coverage_source"
LABELS = "wsgi_coverage_label"
MAGIC = b"SQLite format 3\0"
SEAL = slice(60, 64)  # the place of user_version, four bytes that SQLite leaves to applications
NAME = 1_000  # characters of a suffix or a host
FILES = 40_000  # files that one data file may name
CHANGED = "changed"  # instead of a fingerprint, if the source was edited after it was loaded

# All paths as one text, and all fingerprints as another: to fetch rows takes three times as long.
Fingerprints = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """The memory, host and epoch of the lines in a data file."""

    worker_id: str  # the data suffix: the id of a memory; the name is that in existing data files
    host: str
    epoch: int  # of the store when the lines ran; older data files than the store's do not count


class BrokenSealError(ValueError):
    """A data file has changed since it was sealed."""


def put(path: Path, stamp: Stamp) -> None:
    """Put a stamp on a data file that no other process has open, and seal it.

    Raises:
        OSError: there is no room, or the file is no data file.
    """
    with changing(path) as connection:
        database.run(connection, f"create table if not exists {TABLE} (stamp text)")
        database.run(connection, f"delete from {TABLE}")  # noqa: S608  a constant
        database.run(
            connection,
            f"insert into {TABLE} values (?)",  # noqa: S608
            [json.dumps(asdict(stamp))],
        )
    _seal(path)


def _seal(path: Path) -> None:
    with path.open("r+b") as file:
        _, checksum = _checksum(file.read())
        file.seek(SEAL.start)
        file.write(checksum)


def is_sealed(content: bytes) -> bool:
    """Tell whether a file is unchanged since it was stamped; False if it never was.

    Raises:
        BrokenSealError: it has changed since.
    """
    if not content.startswith(MAGIC) or not any(content[SEAL]):
        return False
    noted, checksum = _checksum(content)
    if noted != checksum:
        raise BrokenSealError("it has been damaged since it was published")
    return True


def _checksum(content: bytes) -> tuple[bytes, bytes]:
    """Return the checksum that a file holds, and the one of its other bytes, which is never 0."""
    rest = memoryview(content)[SEAL.stop :]
    checksum = zlib.crc32(rest, zlib.crc32(content[: SEAL.start]))
    return content[SEAL], (checksum or 1).to_bytes(4, "big")


def read(path: Path) -> Stamp | None:
    """Read the stamp of a data file; None: it has none, or is no data file."""
    with contextlib.suppress(sqlite3.Error), reading(path) as connection:
        return stamp_in(connection)
    return None


def stamp_in(connection: sqlite3.Connection) -> Stamp | None:
    """Read the stamp of an open data file; None: it has none."""
    with contextlib.suppress(sqlite3.Error, TypeError, ValueError, RecursionError):
        row = database.first(connection, f"select stamp from {TABLE}")  # noqa: S608
        found = Stamp(**json.loads(row[0]))
        names = found.worker_id, found.host
        if isinstance(found.epoch, int) and all(_is_name(name) for name in names):
            return found
    return None


def _is_name(name: object) -> bool:
    return isinstance(name, str) and len(name) <= NAME


def fingerprint(source: str | Path) -> str | None:
    """Return a hash that identifies a version of a source; None: it cannot be read.

    Raises:
        OSError: there is no descriptor, or no room, to read it.
    """
    try:
        return fingerprint_of(regular_files.read(source))
    except (OSError, ValueError) as error:
        if is_shortage(error):
            raise
        return None


def fingerprint_of(content: bytes) -> str:
    """Return the fingerprint of a source with this content."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def put_fingerprints(path: Path, fingerprints: Mapping[str, str]) -> None:
    """Write the fingerprints of loaded sources to a data file that no other process has open.

    Raises:
        OSError: there is no room, or the file is no data file.
    """
    with changing(path) as connection:
        database.run(
            connection,
            f"create table if not exists {SOURCES} (path text primary key, fingerprint text)"
            " without rowid",  # half the size: else each path is stored twice
        )
        connection.executemany(
            f"insert or replace into {SOURCES} values (?, ?)",  # noqa: S608
            fingerprints.items(),
        ).close()


def put_labels(path: Path, uses: Mapping[str, LabelUse]) -> None:
    """Write how many requests each label had to a data file that no other process has open.

    Args:
        path: the data file.
        uses: by context.

    Raises:
        OSError: there is no room, or the file is no data file.
    """
    storable = {context: use for context, use in uses.items() if database.is_storable(context)}
    if not storable:
        return
    with changing(path) as connection:
        database.run(
            connection,
            f"create table if not exists {LABELS}"
            " (context text primary key, requests integer, first real, last real) without rowid",
        )
        connection.executemany(
            f"insert or replace into {LABELS} values (?, ?, ?, ?)",  # noqa: S608
            [(context, *use) for context, use in storable.items()],
        ).close()


def labels_in(connection: sqlite3.Connection) -> dict[str, LabelUse]:
    """Read how many requests each label had, by context, in an open data file.

    Raises:
        sqlite3.Error: it cannot be read.
    """
    if not _has_table(connection, LABELS):
        return {}
    rows = database.fetch(
        connection,
        f"select requests, first, last, context from {LABELS}",  # noqa: S608
        kind=str,
    )
    check_number(len(rows))
    try:
        return {
            context: LabelUse(int(requests), float(first), float(last))
            for requests, first, last, context in rows
        }
    except (TypeError, ValueError) as error:
        raise sqlite3.DataError(f"it holds labels that are none: {error}") from error


def _has_table(connection: sqlite3.Connection, name: str) -> bool:
    known = "select 1 from sqlite_master where name = ?"
    return database.first(connection, known, [name]) is not None


def measured_files(path: Path) -> list[str]:
    """Read the names of measured files in a data file, from a table that coverage.py documents.

    Raises:
        sqlite3.Error: it is no data file.
    """
    with reading(path) as connection:
        return [name for (name,) in database.fetch(connection, "select path from file", kind=str)]


def contexts_in(connection: sqlite3.Connection) -> list[str]:
    """Read the names of the contexts of an open data file.

    Raises:
        sqlite3.Error: it cannot be read.
    """
    rows = database.fetch(connection, "select context from context", kind=str)
    return [name for (name,) in rows]


def remove_contexts(path: Path, names: Sequence[str]) -> None:
    """Remove contexts, and what ran in them, from a data file that no other process has open.

    Raises:
        OSError: there is no room, or the file is no data file.
    """
    was_sealed = is_sealed(path.read_bytes())
    with changing(path) as connection:
        for table in ("line_bits", "arc"):
            connection.executemany(
                f"delete from {table} where context_id in "  # noqa: S608
                "(select id from context where context = ?)",
                [(name,) for name in names],
            ).close()
        for table in ("context", LABELS) if _has_table(connection, LABELS) else ("context",):
            connection.executemany(
                f"delete from {table} where context = ?",  # noqa: S608
                [(name,) for name in names],
            ).close()
    if was_sealed:
        _seal(path)


def fingerprints_in(connection: sqlite3.Connection) -> Fingerprints:
    """Read the fingerprints in an open data file as texts, which are equal for equal sources.

    Raises:
        sqlite3.Error: it cannot be read.
    """
    if not _has_table(connection, SOURCES):
        return "", ""
    number, paths, versions = database.first(
        connection,
        f"select count(*), group_concat(path, char(0)), group_concat(fingerprint) from {SOURCES}",  # noqa: S608
    )
    check_number(number)
    return paths or "", versions or ""


def read_fingerprints(connection: sqlite3.Connection) -> dict[str, str]:
    """Read the fingerprint of each loaded source, by name, in an open data file.

    Raises:
        sqlite3.Error: it cannot be read.
    """
    return fingerprints_of(fingerprints_in(connection))


def fingerprints_of(text: Fingerprints) -> dict[str, str]:
    """Convert what `fingerprints_in` returned to fingerprints by file name."""
    paths, versions = text
    return dict(zip(paths.split("\0"), versions.split(","), strict=True)) if paths else {}


def check(path: Path) -> None:
    """Check that a data file that no process writes to is complete and undamaged.

    Raises:
        OSError: it is damaged, or tables are missing.
    """
    try:
        with reading(path) as connection:
            # coverage.py creates this table last.
            database.run(connection, "select 1 from tracer")
            verdict = database.first(connection, "pragma quick_check(1)")[0]
    except sqlite3.Error as error:
        raise OSError(f"{path} is not whole: {error}") from error
    if verdict != "ok":
        raise OSError(f"{path} is not whole: {verdict}")


@contextlib.contextmanager
def changing(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a transaction on a data file that no other process has open.

    Raises:
        OSError: there is no room, or the file is no data file.
    """
    try:
        with (
            forksafe.no_fork(),
            contextlib.closing(sqlite3.connect(path)) as connection,
            connection,
        ):
            database.run(connection, "pragma journal_mode=memory")
            # A request, or the end of a worker, does not wait for the disk. The seal tells whether
            # the file is whole after a power failure.
            database.run(connection, "pragma synchronous=off")
            # Removes the seal, which a change makes invalid.
            database.run(connection, "pragma user_version=0")
            yield connection
    except sqlite3.Error as error:
        raise OSError(f"{path} cannot be changed: {error}") from error


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a data file to read it, also while other processes write to it.

    Raises:
        sqlite3.Error: it cannot be read, or is no data file.
    """
    with database.connected(_content(path)) as connection:
        yield connection


def _content(path: Path) -> bytes:
    try:
        return regular_files.read(path, database.MOST)
    except OSError as error:
        raise sqlite3.OperationalError(error.strerror or str(error)) from error
    except MemoryError as error:
        raise sqlite3.OperationalError(database.NO_MEMORY) from error


def check_number(files: int) -> None:
    """Refuse a data file with more files than any application has.

    Raises:
        sqlite3.DataError: there are more.
    """
    if files > FILES:
        raise sqlite3.DataError(f"it names {files:,} files, and no more than {FILES:,} are read")
