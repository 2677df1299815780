"""Open one data file to read it, or say why it cannot be used.

The whole file is read at once, and queries run on that copy. A sealed file is complete. Any other
may belong to a `coverage run` that goes on, so it is checked for damage, and read again if it has
changed meanwhile.

Concurrency: no file is changed here.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from wsgi_coverage.data import database, regular_files, stamp
from wsgi_coverage.errors import is_shortage

TRIES = 4  # to get a consistent copy of a file that is being written to
RETRY_INTERVAL = 0.02  # seconds between tries
WHY = 500  # characters of a reason; SQLite's messages quote the content of the file

# SQLite stores a value of any type in any column, and quick_check accepts that.
UNSOUND = """
    select exists(select 1 from file where typeof(path) <> 'text')
        or exists(select 1 from context where typeof(context) <> 'text')
        or exists(
            select 1 from line_bits
            where typeof(numbits) <> 'blob'
               or file_id is null or file_id not in (select id from file)
               or context_id is null or context_id not in (select id from context)
        )
        or exists(
            select 1 from tracer
            where typeof(tracer) <> 'text' or file_id not in (select id from file)
        )
        or exists(
            select 1 from arc
            where typeof(fromno) <> 'integer' or abs(fromno) > 0x7fffffff
               or typeof(tono) <> 'integer' or abs(tono) > 0x7fffffff
               or file_id is null or file_id not in (select id from file)
               or context_id is null or context_id not in (select id from context)
        )
"""


class UnusableError(Exception):
    """A data file cannot be used; the message says why."""

    def __init__(self, why: str) -> None:
        super().__init__(f"{why[:WHY]}…" if len(why) > WHY else why)


@contextlib.contextmanager
def open_data_file(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a data file to read it.

    Raises:
        UnusableError: it cannot be used; also for errors of the block, which reads it.
        OSError, sqlite3.Error: there is no room, or no descriptor.
    """
    try:
        with database.connected(_content(path)) as connection:
            yield connection
    except sqlite3.Error as error:
        if is_shortage(error):
            raise
        raise UnusableError(str(error)) from error
    except (TypeError, ValueError) as error:  # the file was damaged before it was sealed
        raise UnusableError(f"it holds what coverage.py would not write: {error}") from error
    except MemoryError:
        raise UnusableError(database.NO_MEMORY) from None
    except FileNotFoundError:
        raise UnusableError("it has just been removed") from None
    except OSError as error:
        if is_shortage(error):
            raise
        raise UnusableError(error.strerror or str(error)) from error


def _content(path: Path) -> bytes:
    """Read the content of a data file; refuse it unless it is complete and undamaged."""
    problem = None
    for attempt in range(TRIES):
        if attempt:
            time.sleep(RETRY_INTERVAL)
        content, is_whole = regular_files.load(path, database.MOST)
        try:
            if stamp.is_sealed(content):
                return content
        except stamp.BrokenSealError as error:
            raise UnusableError(str(error)) from None
        problem = _damage(content) if is_whole else "it changes all the time"
        if problem is None:
            return content
    raise UnusableError(problem or "")


def _damage(content: bytes) -> str | None:
    try:
        with database.connected(content) as connection:
            # Check constraints may compute anything.
            database.run(connection, "pragma ignore_check_constraints = on")
            verdict = database.first(connection, "pragma quick_check(1)")[0]
            if verdict != "ok":
                return str(verdict)
            # A database that is no data file has no such table.
            database.first(connection, "select version from coverage_schema")
            (unsound,) = database.first(connection, UNSOUND)
    except database.TooLongError:
        raise
    except sqlite3.Error as error:
        return str(error)
    return "it holds what coverage.py would not write" if unsound else None
