"""Working folders, and the removal of those that killed processes have left.

    .building-<random>         the folder, until it is renamed or removed
    .building-<random>.lock    held by the process that works there, and removed with the folder

The lock shows whether the process still runs: the system releases it when the process ends, and
processes of other containers and hosts that share the folder see it, where a process id would mean
nothing. On some network file systems locks are local to each host. So `sweep` has an age below
which folders stay, for places that hosts may share.

Concurrency: any number of processes may work and sweep in the same folder at once.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from wsgi_coverage.store.file_lock import locked
from wsgi_coverage.system import own_files

BUILDING = ".building-"
WRITING = ".wsgi-coverage-writing-"  # in a user's folder
LOCK = ".lock"
LOCK_TIMEOUT = 10.0  # seconds; `sweep` may hold the lock of a folder that is about to be made


@contextlib.contextmanager
def workplace(parent: Path, prefix: str = BUILDING) -> Iterator[Path]:
    """Make a working folder, and remove it at the end of the block unless it was renamed.

    Args:
        parent: the folder that it is made in.
        prefix: first part of its name, the same as for `sweep`.

    Raises:
        OSError: there is no room, or no such parent.
    """
    folder = parent / f"{prefix}{os.urandom(8).hex()}"
    with working_on(parent, folder.name):
        try:
            own_files.new_folder(folder)
            yield folder
        finally:
            own_files.remove_tree(folder)


@contextlib.contextmanager
def working_on(parent: Path, name: str, timeout: float = LOCK_TIMEOUT) -> Iterator[None]:
    """Hold the lock of a working folder, so that nobody else sweeps it or works in it.

    Raises:
        TimeoutError: another process or thread has held the lock all that time.
        OSError: there is no room, or no such parent.
    """
    lock = parent / f"{name}{LOCK}"
    with locked(lock, timeout):
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                lock.unlink()


def sweep(parent: Path, prefix: str = BUILDING, *, age: float) -> None:
    """Remove working folders of killed processes, and none of living ones; raises nothing.

    Args:
        parent: the folder that they are in.
        prefix: first part of their names.
        age: seconds since the last change; younger folders stay.
    """
    with contextlib.suppress(OSError):
        found = {name.removesuffix(LOCK) for name in os.listdir(parent) if name.startswith(prefix)}  # noqa: PTH208
        for name in found:
            with contextlib.suppress(OSError):
                if time.time() - _changed_at(parent / name) >= age:
                    with working_on(parent, name, timeout=0.0):
                        own_files.remove_tree(parent / name)


def _changed_at(path: Path) -> float:
    """Return when a folder, its lock or its entries were changed last, as a Unix time."""
    times = [0.0]
    for each in (path, path.with_name(f"{path.name}{LOCK}")):
        with contextlib.suppress(FileNotFoundError):
            times.append(each.lstat().st_mtime)
    with contextlib.suppress(OSError), os.scandir(path) as entries:
        times += [entry.stat(follow_symlinks=False).st_mtime for entry in entries]
    return max(times)
