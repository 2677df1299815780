"""What a published data file says about itself, in a table of its own beside coverage.py's.

Written into the same SQLite file as the lines, so that the two are replaced together; coverage.py
reads past tables that it does not know.

Concurrency: a stamp is put on a file before it is published; published files never change.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from dataclasses import asdict, dataclass
from pathlib import Path

TABLE = "wsgi_coverage"


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
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("pragma journal_mode=off")
            connection.execute(f"create table if not exists {TABLE} (stamp text)")
            connection.execute(f"delete from {TABLE}")  # noqa: S608  a constant
            connection.execute(
                f"insert into {TABLE} values (?)",  # noqa: S608
                [json.dumps(asdict(stamp))],
            )
    except sqlite3.Error as error:
        raise OSError(f"{path} cannot be stamped: {error}") from error


def read(path: Path) -> Stamp | None:
    """The stamp on a data file; None if it has none, or is no data file of ours."""
    address = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    try:
        with contextlib.closing(sqlite3.connect(address, uri=True)) as connection:
            row = connection.execute(f"select stamp from {TABLE}").fetchone()  # noqa: S608
            return Stamp(**json.loads(row[0]))
    except (sqlite3.Error, TypeError, ValueError):
        return None
