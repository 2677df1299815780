"""Why files cannot be made in a folder, or opened at all. Nothing is written for it.

Concurrency: functions without state.
"""

from __future__ import annotations

import os
from pathlib import Path

from wsgi_coverage.errors import (
    REFUSALS,
    AccessDeniedError,
    DiskFullError,
    NoDescriptorsError,
    ReadOnlyError,
    StorageError,
    why_nothing_opens,
)


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


def can_open_files() -> bool:
    """False where this process, or the system, has as many files open as it may."""
    return REFUSALS.get(why_nothing_opens() or 0) is not NoDescriptorsError


def _refusal(folder: Path) -> type[StorageError] | None:
    there = next((each for each in (folder, *folder.parents) if os.path.exists(each)), folder)  # noqa: PTH110  a Path raises where it may not look
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
