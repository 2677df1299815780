"""Write a data file from what `CoverageData.dumps` returned elsewhere. No state.

That is SQL, of which `CoverageData.loads` would run any statement. Here it is run so that it can
write to the new data file only, for a time that depends on its length.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
import zlib
from functools import partial
from pathlib import Path

from wsgi_coverage.data import database
from wsgi_coverage.data.datafile import UnusableError
from wsgi_coverage.errors import DiskFullError, is_disk_full
from wsgi_coverage.store.workspace import WRITING, sweep, workplace
from wsgi_coverage.system import own_files

MARK = b"z"  # the first byte, before the zlib stream
MOST = 256 << 20  # bytes of SQL
SECONDS = 2.0  # of CPU time
BYTES_A_SECOND = 2 << 20  # of SQL: one more second for each
ALLOWED = {
    sqlite3.SQLITE_CREATE_INDEX,
    sqlite3.SQLITE_CREATE_TABLE,
    sqlite3.SQLITE_INSERT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_REINDEX,
    sqlite3.SQLITE_TRANSACTION,
    sqlite3.SQLITE_UPDATE,
}


def write(serialized: bytes, target: Path) -> None:
    """Write a data file: complete, or the target stays as it was.

    Args:
        serialized: the result of `CoverageData.dumps`.
        target: the data file.

    Raises:
        UnusableError: `serialized` is no such data.
        DiskFullError: the disk is full.
    """
    script = _script(serialized)
    try:
        sweep(target.parent, WRITING, age=own_files.ABANDONED_AGE)
        with workplace(target.parent, WRITING) as folder:
            draft = folder / "coverage"
            with contextlib.closing(sqlite3.connect(draft)) as connection:
                database.run(connection, "pragma synchronous = off")  # a temporary file
                end = time.thread_time() + SECONDS + len(script) / BYTES_A_SECOND
                connection.set_authorizer(partial(_authorize, end))
                connection.set_progress_handler(lambda: time.thread_time() > end, database.STEPS)
                connection.executescript(script).close()
            own_files.put_in_place(draft, target)
    except (sqlite3.Error, OSError, ValueError, MemoryError) as error:
        if is_disk_full(error):
            raise DiskFullError(f"no room on the disk for {target}: it is as it was") from error
        raise UnusableError(f"it is no coverage data: {error}") from error


def _script(serialized: bytes) -> str:
    inflating = zlib.decompressobj()
    try:
        raw = inflating.decompress(serialized.removeprefix(MARK), MOST)
        if not serialized.startswith(MARK) or not inflating.eof:
            raise UnusableError("it is no coverage data, or not all of it")
        return raw.decode()
    except (zlib.error, UnicodeDecodeError) as error:
        raise UnusableError(f"it is no coverage data: {error}") from error


def _authorize(end: float, action: int, *_: str | None) -> int:
    """Allow the statements that fill a data file, each in a bounded time, and no other."""
    is_allowed = action in ALLOWED and time.thread_time() <= end
    return sqlite3.SQLITE_OK if is_allowed else sqlite3.SQLITE_DENY
