"""The private folder: sockets and live data files, for the own user only.

In memory (``/dev/shm``) where there is such a place, else in the temporary folder; one folder for
each configured data file, found again by its path, so that the workers of one application meet.

Concurrency: functions without state; folders are made so that two makers do not disturb each other.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  the folder made there is checked for its owner

DATA_FILE = re.compile(r"data-(\d+)-[0-9a-f]+")


def private_folder(data_file: Path) -> Path:
    """The private folder of the application with this data file, made if need be.

    Raises:
        PermissionError: somebody else made a folder of this name first.
        OSError: no folder can be made at all.
    """
    user = os.getuid() if hasattr(os, "getuid") else 0
    digest = hashlib.sha256(os.fsencode(data_file)).hexdigest()[:16]
    top = _base() / f"wsgi-coverage-{user}"
    folder = top / digest
    for each in (top, folder):
        each.mkdir(mode=0o700, exist_ok=True)
        _check_own(each)
    return folder


def _base() -> Path:
    if os.access(SHARED_MEMORY, os.W_OK | os.X_OK) and SHARED_MEMORY.is_dir():
        return SHARED_MEMORY
    return Path(tempfile.gettempdir())


def _check_own(folder: Path) -> None:
    if not hasattr(os, "getuid"):
        return
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise PermissionError(f"{folder} is not a folder of this user's own")
    if status.st_mode & 0o077:
        folder.chmod(0o700)


def new_data_file(data_file: Path) -> Path:
    """A path in the private folder for a data file that this process writes to."""
    return private_folder(data_file) / f"data-{os.getpid()}-{os.urandom(4).hex()}"


def sweep(folder: Path, publish: Callable[[Path], bool]) -> None:
    """Remove the data files of processes that have ended.

    Args:
        folder: the private folder.
        publish: publishes a file if its process could not; False: it has to stay.
    """
    for path in folder.glob("data-*"):
        match = DATA_FILE.fullmatch(path.name)
        if match and not is_alive(int(match[1])):
            with contextlib.suppress(OSError):
                if publish(path):
                    path.unlink()


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that nobody has waited for yet has ended."""
    with contextlib.suppress(OSError):
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
