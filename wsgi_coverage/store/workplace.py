"""Folders to work in, and the sweeping of those that killed processes have left.

    .building-<random>         the folder, until it gets its name, or goes
    .building-<random>.lock    held by whoever works there, and gone with the folder

The lock tells the living from the dead: the system takes it back from whoever ends, whatever way,
and the processes of other containers and hosts that share the folder see it. A process id would
tell nothing there. Some network file systems keep locks to each host: in folders that hosts may
share without another lock between them, what was written to a short while ago stays, too.

Concurrency: any number of processes may work and sweep in the same folder at once.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from wsgi_coverage import owned
from wsgi_coverage.store.turns import turn

BUILDING = ".building-"
WRITING = ".wsgi-coverage-writing-"  # in a user's folder
LOCK = ".lock"
PATIENCE = 10.0  # seconds; somebody who sweeps may hold the lock of a folder that is about to be


@contextlib.contextmanager
def workplace(parent: Path, prefix: str = BUILDING) -> Iterator[Path]:
    """A folder to work in; it is gone afterwards unless it was renamed.

    Args:
        parent: the folder that it is made in, and on whose disk.
        prefix: what its name begins with; whoever sweeps names the same.

    Raises:
        OSError: there is no room, or no such parent.
    """
    folder = parent / f"{prefix}{os.urandom(8).hex()}"
    with working_on(parent, folder.name):
        try:
            folder.mkdir(mode=owned.FOLDER)
            yield folder
        finally:
            _remove(folder)


@contextlib.contextmanager
def working_on(parent: Path, name: str, patience: float = PATIENCE) -> Iterator[None]:
    """Hold the lock of a name, which nobody sweeps meanwhile, nor works on.

    Raises:
        TimeoutError: somebody else has worked on it for as long.
        OSError: there is no room, or no such parent.
    """
    lock = parent / f"{name}{LOCK}"
    with turn(lock, patience):
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                lock.unlink()


def sweep(parent: Path, prefix: str = BUILDING, *, age: float) -> None:
    """Remove what processes left that were killed, and nothing of living ones; raises nothing.

    Args:
        parent: the folder.
        prefix: what names begin with.
        age: seconds since the last change; what is younger stays.
    """
    with contextlib.suppress(OSError):
        found = {name.removesuffix(LOCK) for name in os.listdir(parent) if name.startswith(prefix)}  # noqa: PTH208
        for name in found:
            with contextlib.suppress(OSError):
                if time.time() - _changed_at(parent / name) >= age:
                    with working_on(parent, name, patience=0.0):
                        _remove(parent / name)


def _changed_at(path: Path) -> float:
    """When a folder, its lock or what is in it was changed last."""
    times = [0.0]
    for each in (path, path.with_name(f"{path.name}{LOCK}")):
        with contextlib.suppress(FileNotFoundError):
            times.append(each.lstat().st_mtime)
    with contextlib.suppress(OSError), os.scandir(path) as entries:
        times += [entry.stat(follow_symlinks=False).st_mtime for entry in entries]
    return max(times)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink() if path.is_symlink() or path.is_file() else shutil.rmtree(path)
