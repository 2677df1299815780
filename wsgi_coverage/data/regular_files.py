"""Read regular files of a bounded size, and refuse pipes, devices and anything endless.

File names may come from anybody: a measured file's name in a data file, or that of a file beside
the data files. They may lead to a pipe, a device, or a file of any size.

Concurrency: functions without state. The opened file is checked, too, because the name may lead to
something else by then.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import NamedTuple

MOST = 32 << 20  # bytes of a source
CHUNK = 1 << 20  # bytes
FLAGS = os.O_RDONLY
for _name in ("O_NONBLOCK", "O_NOCTTY", "O_BINARY"):  # the last only on Windows, the others not
    FLAGS |= getattr(os, _name, 0)
NO_LINK: int = getattr(os, "O_NOFOLLOW", 0)  # not on Windows


class UnreadableError(OSError):
    """A file is not regular, or too large, or a link to itself; ``strerror`` says why."""


class FileContent(NamedTuple):
    """The content of a file."""

    raw: bytes
    is_whole: bool  # whether it was not written to meanwhile


def read(path: str | Path, most: int = MOST, *, follows: bool = True) -> bytes:
    """Read the content of a regular file.

    Args:
        path: the file.
        most: bytes that it may have.
        follows: whether it may be a symbolic link; those of its folders are always followed.

    Raises:
        UnreadableError: it is not regular, or larger, or a link to itself.
        OSError: it cannot be read.
        ValueError: the path is not valid: it contains a NUL, for instance.
    """
    return load(path, most, follows=follows).raw


def load(path: str | Path, most: int = MOST, *, follows: bool = True) -> FileContent:
    """Read a regular file as `read` does, and tell whether it was written to meanwhile."""
    check(path, most, follows=follows)  # a device may do something when it is opened
    fd = os.open(path, FLAGS if follows else FLAGS | NO_LINK)
    with open(fd, "rb", buffering=0) as file:  # noqa: PTH123  it is open already
        before = _checked(os.fstat(fd), path, most)
        parts, left, size = [], most + 1, before.st_size + 1
        while left > 0 and (part := file.read(min(size, left))):
            parts.append(part)
            left -= len(part)
            size = CHUNK
        if not left:
            raise _too_large(path, most + 1, most)
        return FileContent(b"".join(parts), _looks(before) == _looks(os.fstat(fd)))


def check(path: str | Path, most: int = MOST, *, follows: bool = True) -> None:
    """Refuse a file that `read` would refuse, before other code reads it.

    Args:
        path: the file.
        most: bytes that it may have.
        follows: as for `read`.

    Raises:
        UnreadableError: it is not regular, or larger, or a link to itself.
        OSError: there is no such file.
        ValueError: the path is not valid: it contains a NUL, for instance.
    """
    try:
        # Reports look at thousands: a Path for each of them takes twice the time.
        status = os.stat(path, follow_symlinks=follows)  # noqa: PTH116
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        why = "it is a link that leads back to itself"
        raise UnreadableError(errno.ELOOP, why, str(path)) from error
    _checked(status, path, most)


def _checked(status: os.stat_result, path: str | Path, most: int) -> os.stat_result:
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableError(errno.EINVAL, "it is no regular file", str(path))
    if status.st_size > most:
        raise _too_large(path, status.st_size, most)
    return status


def _too_large(path: str | Path, size: int, most: int) -> UnreadableError:
    why = f"it has {size:,} bytes, and no more than {most:,} are read"
    return UnreadableError(errno.EFBIG, why, str(path))


def _looks(status: os.stat_result) -> tuple[int, int]:
    return status.st_mtime_ns, status.st_size
