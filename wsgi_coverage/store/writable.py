"""Tell, without writing anything, why files cannot be made in a folder, or not be opened at all.

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

# What a path is used for: "file" is replaced by renaming, so that anything but a folder may be
# there; "lock" is opened, so that it has to be a regular file; "folder" is a folder.
PathUse: TypeAlias = Literal["file", "lock", "folder"]


def check_removable(folder: Path, described: str) -> None:
    """Check that the content of a folder can be removed.

    Args:
        folder: the folder.
        described: its name in the error.

    Raises:
        StorageError: it cannot be removed, as far as can be told without trying.
    """
    kind = _refusal(folder)
    if kind is not None and kind is not DiskFullError:
        raise kind(f"{kind.why}: {described} cannot be written to")


def why_not_writable(folder: Path) -> str | None:
    """Return why no file can be made in a folder, which need not exist yet; None: one can.

    Nothing is tried, so it may fail later.
    """
    kind = _refusal(folder)
    return None if kind is None else kind.why


def blocked(paths: Mapping[Path, PathUse]) -> dict[str, str]:
    """Return those of our paths that are taken by something of another kind, with the reason.

    Args:
        paths: what each path is used for.
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
    """Tell whether this process can open a file: not if it, or the system, has too many open."""
    return REFUSALS.get(why_nothing_opens() or 0) is not NoDescriptorsError


def _refusal(folder: Path) -> type[StorageError] | None:
    # os.path, because Path.exists raises if a folder may not be searched.
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
