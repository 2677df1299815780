"""Write to a path that may be a device or a pipe, which is never replaced by a file.

Concurrency: functions without state.
"""

from __future__ import annotations

import contextlib
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path


def is_special(target: Path) -> bool:
    """Tell whether a path is a device, a pipe or a socket, which a file must not replace."""
    try:
        mode = target.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


@contextlib.contextmanager
def drafting(target: Path) -> Iterator[Path]:
    """Where to make a file: the target itself, or a temporary file for `pour` to copy.

    Raises:
        OSError: there is no temporary folder.
    """
    if not is_special(target):
        yield target
        return
    with tempfile.TemporaryDirectory(prefix="wsgi-coverage-") as folder:
        yield Path(folder, "draft")


def pour(draft: Path, target: Path) -> None:
    """Copy the draft into the target, if they are different files.

    Raises:
        OSError: it cannot be written.
    """
    if draft != target and draft.exists():
        with draft.open("rb") as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink)
