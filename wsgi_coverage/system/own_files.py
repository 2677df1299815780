"""Make files and folders for this process's user alone, whatever the umask.

The umask is the application's, and one for all its threads, so it is left as it is: what is made
here has its mode from the first moment. Folders that are there already keep theirs.

Concurrency: functions without state; two may make the same folder at once.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

FILE, FOLDER = 0o600, 0o700  # modes
TEMPORARY = ".new-"  # what files are called until they are whole
ABANDONED = 600.0  # seconds since it was written to; writing one takes less than one


def is_temporary(name: str) -> bool:
    """Tell whether a file has the name of one that is still being written."""
    return name.startswith(TEMPORARY)


def make_folder(folder: Path) -> None:
    """Make a folder if it is not there, and those that it is in.

    Raises:
        OSError: it cannot be made.
    """
    try:
        folder.mkdir(mode=FOLDER, exist_ok=True)
    except FileNotFoundError:
        if folder.parent == folder:
            raise
        make_folder(folder.parent)
        folder.mkdir(mode=FOLDER, exist_ok=True)


def opener(path: str, flags: int) -> int:
    """Open a file, as `open` asks its opener to, and make it with the mode if it is not there."""
    return os.open(path, flags, FILE)


def create(path: Path) -> None:
    """Make an empty file if it is not there, for those who take a path: SQLite, coverage.py.

    Raises:
        OSError: it cannot be made.
    """
    os.close(opener(str(path), os.O_WRONLY | os.O_CREAT))


def write(path: Path, content: str | bytes) -> None:
    """Write a file.

    Raises:
        OSError: there is no room.
    """
    raw = content.encode() if isinstance(content, str) else content
    with open(path, "wb", opener=opener) as file:
        file.write(raw)


def replace(path: Path, content: str | bytes) -> None:
    """Write a file in one step: who reads sees the old content or the new.

    Raises:
        OSError: there is no room, or no such folder; what was there stays.
    """
    temporary = path.parent / f"{TEMPORARY}{os.urandom(8).hex()}"
    try:
        write(temporary, content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sweep(folder: Path, matches: Callable[[str], object] = is_temporary) -> None:
    """Remove temporary files that have no writer any more; raises nothing.

    Args:
        folder: where they are.
        matches: tells them by their names.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if matches(entry.name) and entry.is_file(follow_symlinks=False):
                with contextlib.suppress(OSError):
                    if time.time() - entry.stat().st_mtime > ABANDONED:
                        Path(entry.path).unlink()


def restrict(folder: Path) -> None:
    """Give a folder, and all that others have written in it, modes for this user alone."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(FOLDER if path.is_dir() else FILE)
