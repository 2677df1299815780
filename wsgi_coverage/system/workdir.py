"""The folder in which relative file names are resolved: the working directory at the start.

An application may change the working directory, when it is imported or in a request. That must not
change the meaning of `relative_files`, patterns and names in reports. A child process that works
for a worker starts in this folder.

Concurrency: set when measuring starts, and inherited by a fork; read by every thread.
"""

from __future__ import annotations

import os

_folder: str | None = None


def note(folder: str | None = None) -> None:
    """Set the folder, when measuring starts.

    Args:
        folder: an absolute path; None: the current working directory.
    """
    global _folder
    try:
        _folder = folder or os.getcwd()  # noqa: PTH109  Path.cwd() is the same, as another type
    except OSError:  # it was removed
        _folder = None


def folder() -> str | None:
    """Return the folder, as an absolute path; None: the current working directory."""
    return _folder


def here(name: str) -> str:
    """Return the full path of a file, given relative to the folder or in full."""
    return name if _folder is None else os.path.join(_folder, name)  # noqa: PTH118  of thousands


def has_moved() -> bool:
    """Tell whether the working directory has changed, or was removed."""
    try:
        return _folder is not None and os.getcwd() != _folder  # noqa: PTH109
    except OSError:
        return True
