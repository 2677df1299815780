"""What a file is written to that need not be a file: a device, a pipe or a link is never replaced.

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
    """Tell whether a file cannot take a path's place.

    That is so for a device, a pipe and a socket, and for /dev/stdout, whatever stdout is.

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
    """The open file of this process that a path stands for, as /dev/stdout and /dev/fd/3 do."""
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
    """Open what `is_special` for writing; an open file goes on where it is.

    Raises:
        OSError: it cannot be written.
    """
    number = _descriptor(target)
    return target.open("wb") if number is None else os.fdopen(os.dup(number), "wb")


@contextlib.contextmanager
def drafting(target: Path) -> Iterator[Path]:
    """Where to make a file: the target, or a file that is poured into it afterwards.

    A link stays one: the target is where it leads.

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
    """An empty file that takes a target's place at the end of the block, or is poured into it.

    A link stays one: what it leads to is replaced.

    Args:
        target: what is to be written.
        mode: of a file that takes its place.

    Raises:
        OSError: it cannot be written. A file is as it was then, and if the block raises.
    """
    with drafting(target) as place:
        with own_files.replacing(place, mode) as temporary:
            yield temporary
        pour(place, target)


def pour(draft: Path, target: Path) -> None:
    """Write what was drafted into the target, if a file cannot take its place.

    Raises:
        OSError: it cannot be written.
    """
    if is_special(target) and draft.exists():
        with draft.open("rb") as source, open_output(target) as sink:
            shutil.copyfileobj(source, sink)
