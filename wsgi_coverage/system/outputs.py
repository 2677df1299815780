"""Write output to a path that may be no regular file, without replacing devices, pipes or links.

Concurrency: functions without state.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from wsgi_coverage.system import own_files

MOST_LINKS = 40  # as many as Linux follows


def is_special(target: Path) -> bool:
    """Tell whether a path must not be replaced by a file.

    That is so for devices, pipes and sockets, and for /dev/stdout, whatever stdout is.

    Raises:
        OSError: it is a link that leads to itself.
    """
    if _descriptor(target) is not None:
        return True
    try:
        mode = target.stat().st_mode
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _descriptor(target: Path) -> int | None:
    """Return the descriptor that a path such as /dev/stdout or /dev/fd/3 stands for; None: none."""
    own = os.path.realpath("/dev/fd")
    hop = Path(os.path.abspath(target))  # noqa: PTH100  .. is resolved below, where links are
    for _ in range(MOST_LINKS):
        if os.path.realpath(hop.parent) == own:
            return int(hop.name) if hop.name.isdecimal() else None
        if not hop.is_symlink():
            return None
        hop = hop.parent / hop.readlink()
    return None


def open_output(target: Path) -> BinaryIO:
    """Open a special path for writing; for a descriptor, go on at its current position.

    Raises:
        OSError: it cannot be written.
    """
    number = _descriptor(target)
    return target.open("wb") if number is None else os.fdopen(os.dup(number), "wb")


@contextlib.contextmanager
def drafting(target: Path) -> Iterator[Path]:
    """Yield the path to make a file at: the target, or a temporary path if the target is special.

    If the target is a link, it stays one: the path is where it leads.

    Raises:
        OSError: there is no temporary folder, or the target is a link that leads to itself.
    """
    if not is_special(target):
        yield Path(os.path.realpath(target)) if target.is_symlink() else target
        return
    with tempfile.TemporaryDirectory(prefix="wsgi-coverage-") as folder:
        yield Path(folder, "draft")


@contextlib.contextmanager
def replacing(target: Path, mode: int = own_files.FILE) -> Iterator[Path]:
    """Yield an empty file; at the end of the block, replace the target by it, or write it there.

    If the target is a link, it stays one: what it leads to is replaced.

    Args:
        target: the path to write.
        mode: the mode of a file that replaces the target.

    Raises:
        OSError: it cannot be written. Then, and if the block raises, an existing file is unchanged.
    """
    with drafting(target) as place:
        with own_files.replacing(place, mode) as temporary:
            yield temporary
        pour(place, target)


def pour(draft: Path, target: Path) -> None:
    """Copy the content of a draft into the target, if the target is special.

    Raises:
        OSError: it cannot be written.
    """
    if is_special(target) and draft.exists():
        with draft.open("rb") as source, open_output(target) as sink:
            shutil.copyfileobj(source, sink)
