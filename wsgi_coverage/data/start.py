"""The folder that relative names of files are relative to: where this process was at its start.

An application may go elsewhere, when it is imported or in a request; what `relative_files`,
patterns and reports name stays where it was. A child process that works for a worker begins there.

Concurrency: set when measuring starts, and by a fork inherited; read by every thread.
"""

from __future__ import annotations

import os

_folder: str | None = None


def note(folder: str | None = None) -> None:
    """Measuring starts.

    Args:
        folder: where it did; None: in the folder that the process is in.
    """
    global _folder
    try:
        _folder = folder or os.getcwd()  # noqa: PTH109  Path.cwd() is the same, as another type
    except OSError:  # it was removed
        _folder = None


def folder() -> str | None:
    """That folder, as an absolute path; None: where the process is at the moment."""
    return _folder


def here(name: str) -> str:
    """Where a file is that is named relative to that folder, or in full."""
    return name if _folder is None else os.path.join(_folder, name)  # noqa: PTH118  of thousands


def has_moved() -> bool:
    """Tell whether the application has gone elsewhere since."""
    try:
        return _folder is not None and os.getcwd() != _folder  # noqa: PTH109
    except OSError:
        return True
