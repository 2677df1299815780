"""A data file from what `CoverageData.dumps` gave elsewhere. No state.

What that gives is SQL, and `CoverageData.loads` runs whatever it is handed; here it can write to
the new data file and to nothing else.
"""

from __future__ import annotations

import contextlib
import sqlite3
import zlib
from pathlib import Path

from wsgi_coverage import owned
from wsgi_coverage.data.datafile import UnusableError
from wsgi_coverage.errors import DiskFullError, is_disk_full
from wsgi_coverage.store.workplace import WRITING, sweep, workplace

MARK = b"z"  # before zlib's own format
MOST = 1_000_000_000  # bytes of SQL
ALLOWED = {
    sqlite3.SQLITE_CREATE_INDEX,
    sqlite3.SQLITE_CREATE_TABLE,
    sqlite3.SQLITE_INSERT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_REINDEX,
    sqlite3.SQLITE_TRANSACTION,
    sqlite3.SQLITE_UPDATE,
}


def write(dumped: bytes, target: Path) -> None:
    """Write a data file; it is there whole afterwards, or as it was.

    Args:
        dumped: what `CoverageData.dumps` gave.
        target: the data file.

    Raises:
        UnusableError: that is not such data.
        DiskFullError: there is no room.
    """
    script = _script(dumped)
    try:
        sweep(target.parent, WRITING, age=owned.ABANDONED)
        with workplace(target.parent, WRITING) as folder:
            draft = folder / "coverage"
            with contextlib.closing(sqlite3.connect(draft)) as connection:
                connection.set_authorizer(_authorize)
                connection.executescript(script)
            draft.replace(target)
    except (sqlite3.Error, OSError, ValueError) as error:
        if is_disk_full(error):
            raise DiskFullError(f"no room on the disk for {target}: it is as it was") from error
        raise UnusableError(f"it is no coverage data: {error}") from error


def _script(dumped: bytes) -> str:
    inflating = zlib.decompressobj()
    try:
        raw = inflating.decompress(dumped.removeprefix(MARK), MOST)
        if not dumped.startswith(MARK) or not inflating.eof:
            raise UnusableError("it is no coverage data, or not all of it")
        return raw.decode()
    except (zlib.error, UnicodeDecodeError) as error:
        raise UnusableError(f"it is no coverage data: {error}") from error


def _authorize(action: int, *_: str | None) -> int:
    return sqlite3.SQLITE_OK if action in ALLOWED else sqlite3.SQLITE_DENY
