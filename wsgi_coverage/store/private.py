"""The private folder: sockets and live data files, for the own user only.

In memory (``/dev/shm``) where there is such a place, else in the temporary folder; one folder for
each configured data file, found again by its path, so that the workers of one application meet.

Concurrency: functions without state; folders are made so that two makers do not disturb each other.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  the folder made there is checked for its owner


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


def is_writable(folder: Path) -> bool:
    """Tell whether files can be made in the folder, which is made if its parent allows.

    Tried with a real file: access(2) says yes to root on a read-only file system.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".wsgi-coverage-"):
            return True
    except OSError:
        return False
