"""Why files cannot be made in a folder, or opened at all. Nothing is written for it.

Concurrency: functions without state.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias

from wsgi_coverage.errors import (
    REFUSALS,
    AccessDeniedError,
    BlockedError,
    DiskFullError,
    NoDescriptorsError,
    ReadOnlyError,
    StorageError,
    why_nothing_opens,
)

# What a path is for: a file that is replaced, so that it may be anything but a folder; one that
# is opened, so that it has to be a regular file; a folder.
PathUse: TypeAlias = Literal["file", "lock", "folder"]


def check_removable(folder: Path, described: str) -> None:
    """Check that the content of a folder can be removed.

    Args:
        folder: the folder.
        described: how to name it in the error.

    Raises:
        StorageError: it cannot, as far as can be told without trying.
    """
    kind = _refusal(folder)
    if kind is not None and kind is not DiskFullError:
        raise kind(f"{kind.why}: {described} cannot be written to")


def why_not_writable(folder: Path) -> str | None:
    """Why no file can be made in a folder, which may have to be made first; None: one can.

    As far as can be told without trying.
    """
    kind = _refusal(folder)
    return None if kind is None else kind.why


def blocked(paths: Mapping[Path, PathUse]) -> dict[str, str]:
    """Those of some files and folders of ours that something else has the name of, each with why.

    Args:
        paths: each with what it is.
    """
    return {
        str(path): BlockedError.why for path, place in paths.items() if _is_blocked(path, place)
    }


def _is_blocked(path: Path, place: PathUse) -> bool:
    try:
        mode = os.lstat(path).st_mode
    except OSError:  # it is not there
        return False
    if place == "lock":
        return not stat.S_ISREG(mode)
    if place == "folder":
        return not os.path.isdir(path)  # noqa: PTH112  a link may lead to one
    return stat.S_ISDIR(mode)


def can_open_files() -> bool:
    """False where this process, or the system, has as many files open as it may."""
    return REFUSALS.get(why_nothing_opens() or 0) is not NoDescriptorsError


def _refusal(folder: Path) -> type[StorageError] | None:
    # A Path raises where it may not look.
    there = next((each for each in (folder, *folder.parents) if os.path.lexists(each)), folder)
    if not os.path.isdir(there):  # noqa: PTH112
        return BlockedError
    if hasattr(os, "statvfs"):
        try:
            disk = os.statvfs(there)
        except OSError:
            return None
        if disk.f_flag & os.ST_RDONLY:
            return ReadOnlyError
        left = disk.f_bfree if os.geteuid() == 0 else disk.f_bavail
        if disk.f_blocks and not left:
            return DiskFullError
    effective = os.access in os.supports_effective_ids
    if not os.access(there, os.W_OK | os.X_OK, effective_ids=effective):
        return AccessDeniedError
    return None
