"""Open one data file to read it, or say why it cannot be used.

A sealed file is whole and nobody writes to it, so it is read where it is. Any other may belong to a
`coverage run` that goes on: coverage.py's own readers are not safe on such a file, so a copy is
read, and looked through for damage first.

Concurrency: nothing that lies there is ever changed; callers name different files to copy to.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from wsgi_coverage import owned
from wsgi_coverage.data import stamp
from wsgi_coverage.errors import is_disk_full

TRIES = 4  # to get a whole copy of a file that somebody writes to
PAUSE = 0.02  # seconds between tries

# SQLite keeps any value in any column; quick_check does not mind.
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


@contextlib.contextmanager
def opened(path: Path, copy: Path) -> Iterator[sqlite3.Connection]:
    """A data file to read.

    Args:
        path: is not changed.
        copy: where a copy may go meanwhile.

    Raises:
        UnusableError: it cannot be used; what goes wrong in the block that reads it becomes one.
        OSError: there is no room for a copy.
    """
    try:
        with stamp.reading(path if _is_sealed(path) else _copied(path, copy)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise UnusableError(str(error) if path.exists() else "it has just been removed") from error
    except (TypeError, ValueError) as error:  # sealed as it was, but damaged before
        raise UnusableError(f"it holds what coverage.py would not write: {error}") from error
    except FileNotFoundError:
        raise UnusableError("it has just been removed") from None
    except OSError as error:
        if is_disk_full(error):
            raise
        raise UnusableError(error.strerror or str(error)) from error
    finally:
        copy.unlink(missing_ok=True)


def _is_sealed(path: Path) -> bool:
    try:
        return stamp.is_sealed(path)
    except stamp.BrokenSealError:
        raise UnusableError("it has been damaged since it was published") from None


def _copied(path: Path, copy: Path) -> Path:
    """A copy that is whole and sound."""
    problem = None
    for attempt in range(TRIES):
        if attempt:
            time.sleep(PAUSE)
        whole = _copy(path, copy)
        problem = _damage(copy) if whole else "it changes all the time"
        if problem is None:
            return copy
    raise UnusableError(problem)


def _copy(path: Path, copy: Path) -> bool:
    """Copy a file; tell whether it stayed the same meanwhile."""
    before = path.stat()
    owned.create(copy)
    shutil.copyfile(path, copy)
    after = path.stat()
    return (before.st_mtime_ns, before.st_size, before.st_ino) == (
        after.st_mtime_ns,
        after.st_size,
        after.st_ino,
    )


def _damage(copy: Path) -> str | None:
    if copy.stat().st_size == 0:
        return "it is empty"
    try:
        with stamp.reading(copy) as connection:
            verdict = connection.execute("pragma quick_check(1)").fetchone()[0]
            if verdict != "ok":
                return str(verdict)
            # any other database has no such table
            connection.execute("select version from coverage_schema").fetchone()
            (unsound,) = connection.execute(UNSOUND).fetchone()
    except sqlite3.Error as error:
        return str(error)
    return "it holds what coverage.py would not write" if unsound else None
