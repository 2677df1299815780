"""Open a data file's content as an SQLite connection with limits on its time and memory.

A data file may come from anybody who can write into its folder. An SQLite database may compute its
content by views, triggers, virtual tables and generated columns, none of which coverage.py uses,
and the content may have any size.

Concurrency: a connection belongs to one thread.
"""

from __future__ import annotations

import contextlib
import functools
import re
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

from wsgi_coverage.data import forksafe

MOST = 512 << 20  # bytes of a data file, and of what is read of it
# Seconds of CPU time, which neither other processes on the machine nor a slow disk use up.
SECONDS = 2.0
BYTES_A_SECOND = 32 << 20  # additional time: one second for so many bytes of the file
STEPS = 10_000  # of SQLite's virtual machine between two checks of the time: less than 1 ms
VALUE = 16 << 20  # bytes of one value, also of one that group_concat builds
BATCH = 64 << 20  # bytes that are fetched at once, at most
ROW = 100  # bytes of memory for a row, without its last value
TABLES = 100  # with their indexes; coverage.py makes less than 20

SCHEMA = "select name, sql from sqlite_master"  # SQLite itself does not rely on the other columns
MOST_SQL = 2_000  # characters of one definition; coverage.py's have up to 700
PLAIN = re.compile(r"create (table|(unique )?index)\b", re.IGNORECASE)
GENERATED = re.compile(r"\bas\b(\s|/\*.*?\*/|--[^\n]*\n)*\(", re.IGNORECASE | re.DOTALL)

# False if Python was built with an SQLite without deserialize.
IN_MEMORY = hasattr(sqlite3.Connection, "deserialize")
NO_MEMORY = "it takes more memory than there is"

T = TypeVar("T", str, bytes)


class TooLongError(sqlite3.OperationalError):
    """Reading has exceeded the time limit."""


@contextlib.contextmanager
def connected(content: bytes) -> Iterator[sqlite3.Connection]:
    """Open the content of a data file as an SQLite connection.

    Raises:
        sqlite3.Error: it is no database, or none that coverage.py would write; or reading it, also
            in the block, takes too long, or too much memory.
    """
    end = time.thread_time() + SECONDS + len(content) / BYTES_A_SECOND
    with forksafe.no_fork(), contextlib.ExitStack() as stack:
        try:
            connection = stack.enter_context(_open_content(content))
            del content  # SQLite has a copy
            connection.set_progress_handler(lambda: time.thread_time() > end, STEPS)
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, VALUE)
            _check(connection)
            yield connection
        except sqlite3.OperationalError as error:
            # Errors that Python itself raises have no such name.
            if getattr(error, "sqlite_errorname", None) == "SQLITE_INTERRUPT":
                raise TooLongError("it takes too long to read") from error
            raise
        except MemoryError as error:
            raise sqlite3.OperationalError(NO_MEMORY) from error
        except UnicodeDecodeError as error:  # also in names that SQLite's messages quote
            raise sqlite3.DatabaseError(f"it holds text that is no UTF-8: {error}") from error


@contextlib.contextmanager
def _open_content(content: bytes) -> Iterator[sqlite3.Connection]:
    if not content:  # for SQLite that is a new database, or a want of memory
        raise sqlite3.DatabaseError("it is empty")
    if IN_MEMORY:
        with contextlib.closing(sqlite3.connect(":memory:")) as connection:
            connection.deserialize(content)
            del content
            yield connection
        return
    with tempfile.NamedTemporaryFile(prefix="wsgi-coverage-") as copy:
        copy.write(content)
        copy.flush()
        address = f"file://{quote(copy.name)}?mode=ro&immutable=1"
        with contextlib.closing(sqlite3.connect(address, uri=True)) as connection:
            yield connection


def run(connection: sqlite3.Connection, statement: str, arguments: Sequence[Any] = ()) -> None:
    """Run a statement and close its cursor, because an open one keeps a transaction open.

    Without reference counts (PyPy) the cursor would stay open until it is collected.

    Raises:
        sqlite3.Error: it cannot be run.
    """
    connection.execute(statement, arguments).close()


def first(connection: sqlite3.Connection, query: str, arguments: Sequence[Any] = ()) -> Any:
    """Return the first row that a query finds, or None; close the cursor, as `run` does.

    Raises:
        sqlite3.Error: it cannot be read.
    """
    with contextlib.closing(connection.execute(query, arguments)) as cursor:
        return cursor.fetchone()


def fetch(
    connection: sqlite3.Connection,
    query: str,
    arguments: Sequence[int] = (),
    *,
    kind: type[T],
    most: int = VALUE,
) -> list[Any]:
    """Return all rows that a query finds.

    Args:
        connection: the open data file.
        query: the query; only the last column of its rows may hold large values.
        arguments: the query's arguments.
        kind: the type of the last column, str or bytes.
        most: bytes that one of these values may have.

    Raises:
        sqlite3.Error: a value has another type, or the values are too large.
    """
    rows: list[Any] = []
    size = 0
    before = connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, most)
    try:
        with contextlib.closing(connection.execute(query, arguments)) as cursor:
            while batch := cursor.fetchmany(BATCH // most):
                size += len(kind().join([row[-1] for row in batch])) + ROW * len(batch)
                if size > MOST:
                    raise sqlite3.DataError(f"it holds more than {MOST:,} bytes")
                rows += batch
    except TypeError as error:
        raise sqlite3.DataError(f"it holds what coverage.py would not write: {error}") from error
    finally:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, before)
    return rows


def is_storable(name: str) -> bool:
    """Tell whether a name can be stored: SQLite refuses names that are no UTF-8."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _check(connection: sqlite3.Connection) -> None:
    """Refuse views, triggers, virtual tables and generated columns, and too many tables.

    Raises:
        sqlite3.DatabaseError: there are some of these.
    """
    with contextlib.closing(connection.execute(SCHEMA)) as cursor:
        rows = cursor.fetchmany(TABLES + 1)
    if len(rows) > TABLES:
        raise sqlite3.DatabaseError(f"it has more than {TABLES} tables and indexes")
    for name, sql in rows:
        # The index of a `unique` constraint has no definition.
        if not (sql is None or (isinstance(sql, str) and len(sql) <= MOST_SQL and _is_plain(sql))):
            raise sqlite3.DatabaseError(f"{name!r} is no table as coverage.py makes them")


@functools.lru_cache(maxsize=64)
def _is_plain(sql: str) -> bool:
    return PLAIN.match(sql) is not None and GENERATED.search(sql) is None
