"""The folder that relative file names refer to: this process's working directory at its start.

An application may change the working directory, when it is imported or in a request; that leaves
the meaning of `relative_files`, patterns and names in reports as it was. A child process that works
for a worker begins there.

Concurrency: set when measuring starts, and inherited by a fork; read by every thread.
"""

from __future__ import annotations

import os

_folder: str | None = None


def note(folder: str | None = None) -> None:
    """Remember the folder, when measuring starts.

    Args:
        folder: where it did; None: the present working directory.
    """
    global _folder
    try:
        _folder = folder or os.getcwd()  # noqa: PTH109  Path.cwd() is the same, as another type
    except OSError:  # it was removed
        _folder = None


def folder() -> str | None:
    """The folder, as an absolute path; None: the present working directory."""
    return _folder


def here(name: str) -> str:
    """The full path of a file that is named relative to the folder, or in full."""
    return name if _folder is None else os.path.join(_folder, name)  # noqa: PTH118  of thousands


def has_moved() -> bool:
    """Tell whether the working directory is another one now."""
    try:
        return _folder is not None and os.getcwd() != _folder  # noqa: PTH109
    except OSError:
        return True
