"""What a published data file says about itself, in a table of its own beside coverage.py's.

Written into the same SQLite file as the lines, so that the two are replaced together; coverage.py
reads past tables that it does not know.

Concurrency: a stamp is put on a file before it is published; published files never change.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

TABLE = "wsgi_coverage"
SOURCES = "wsgi_coverage_source"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """Whose data a published file holds, and of which epoch."""

    worker_id: str
    host: str
    epoch: int  # of the store when the lines ran; an older one than the store's is reset away


def put(path: Path, stamp: Stamp) -> None:
    """Put a stamp on a data file that nobody else has open.

    Raises:
        OSError: there is no room, or the file is no data file.
    """
    with changing(path) as connection:
        connection.execute(f"create table if not exists {TABLE} (stamp text)")
        connection.execute(f"delete from {TABLE}")  # noqa: S608  a constant
        connection.execute(
            f"insert into {TABLE} values (?)",  # noqa: S608
            [json.dumps(asdict(stamp))],
        )


def read(path: Path) -> Stamp | None:
    """The stamp on a data file; None if it has none, or is no data file of ours."""
    with contextlib.suppress(sqlite3.Error, TypeError, ValueError), _reading(path) as connection:
        row = connection.execute(f"select stamp from {TABLE}").fetchone()  # noqa: S608
        return Stamp(**json.loads(row[0]))
    return None


def fingerprint(source: str | Path) -> str | None:
    """What tells one version of a source from another; None if it cannot be read."""
    try:
        return hashlib.blake2b(Path(source).read_bytes(), digest_size=16).hexdigest()
    except (OSError, ValueError):
        return None


def put_fingerprints(path: Path, fingerprints: Mapping[str, str]) -> None:
    """Add, to a data file that nobody else has open, which version of each file was loaded.

    Raises:
        OSError: there is no room, or the file is no data file.
    """
    with changing(path) as connection:
        connection.execute(
            f"create table if not exists {SOURCES} (path text primary key, fingerprint text)"
        )
        connection.executemany(
            f"insert or replace into {SOURCES} values (?, ?)",  # noqa: S608
            fingerprints.items(),
        )


def read_fingerprints(path: Path) -> dict[str, str]:
    """Which version of each file was loaded; empty where nothing is known of that."""
    with contextlib.suppress(sqlite3.Error), _reading(path) as connection:
        return dict(connection.execute(f"select path, fingerprint from {SOURCES}"))  # noqa: S608
    return {}


def leave_out(path: Path, files: Iterable[str]) -> None:
    """Take files out of a data file that nobody else has open (coverage.py documents its tables).

    Raises:
        OSError: there is no room, or the file is no data file.
    """
    with changing(path) as connection:
        for name in files:
            for table in ("line_bits", "arc", "tracer"):
                connection.execute(
                    f"delete from {table} where file_id = "  # noqa: S608
                    "(select id from file where path = ?)",
                    [name],
                )
            connection.execute("delete from file where path = ?", [name])


def check(path: Path) -> None:
    """Read a data file that nobody writes to, to see whether it is whole.

    Raises:
        OSError: it is not: it is damaged, or tables are missing.
    """
    try:
        with _reading(path) as connection:
            connection.execute("select 1 from tracer")  # the last table that coverage.py makes
            verdict = connection.execute("pragma quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        raise OSError(f"{path} is not whole: {error}") from error
    if verdict != "ok":
        raise OSError(f"{path} is not whole: {verdict}")


@contextlib.contextmanager
def changing(path: Path) -> Iterator[sqlite3.Connection]:
    """A transaction on a data file that nobody else has open.

    Raises:
        OSError: there is no room, or the file is no data file.
    """
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("pragma journal_mode=memory")
            yield connection
    except sqlite3.Error as error:
        raise OSError(f"{path} cannot be changed: {error}") from error


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    address = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    with contextlib.closing(sqlite3.connect(address, uri=True)) as connection:
        yield connection
