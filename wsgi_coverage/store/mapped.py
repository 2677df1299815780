"""Files that several processes map: allocated in full, shared with forks, without a descriptor.

No descriptor stays open, because an application may close it: when a daemon closes all descriptors,
the next file that it opens gets the number. Before Python 3.13, mmap.mmap holds a descriptor, so
the C library is called there.

Concurrency: functions without state. Two processes may make the same file at once.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import sys
from pathlib import Path
from typing import Any

from wsgi_coverage.system import own_files

Mapped = memoryview  # of unsigned bytes; the file is unmapped when nothing refers to it any more

_HAS_TRACKFD = sys.version_info >= (3, 13)
_PROT = 3  # PROT_READ | PROT_WRITE
_SHARED = 1  # MAP_SHARED


def is_possible() -> bool:
    """Tell whether this system can map files as `map_file` does."""
    return os.name == "posix" and (_HAS_TRACKFD or _libc() is not None)


def map_file(path: Path, size: int, *, make: bool = True) -> Mapped:
    """Map a file of this size, shared with all processes that map it.

    Args:
        path: the file. Its blocks are allocated before it is mapped, so that a full disk is an
            error here, and not a SIGBUS at a later write.
        size: bytes to map; the rest of a longer file is not mapped.
        make: whether to create the file if there is none.

    Raises:
        OSError: there is no room (ENOSPC), or the file cannot be opened.
    """
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if make else 0)
    fd = own_files.opener(str(path), flags)
    try:
        _allocate(fd, size)
        return _map(fd, size)
    finally:
        os.close(fd)


def _allocate(fd: int, size: int) -> None:
    """Allocate the whole file; its content stays."""
    if hasattr(os, "posix_fallocate"):
        with contextlib.suppress(InterruptedError):
            try:
                os.posix_fallocate(fd, 0, size)
                return
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                    raise
    _append_zeros(fd, size)


def _append_zeros(fd: int, size: int) -> None:
    """Lengthen a file by appending, so that lines that another process marks meanwhile stay."""
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND)
    while (missing := size - os.fstat(fd).st_size) > 0:
        os.write(fd, bytes(min(missing, 1 << 16)))


def _map(fd: int, size: int) -> Mapped:
    if _HAS_TRACKFD:
        return memoryview(mmap.mmap(fd, size, trackfd=False))  # type: ignore[call-arg,unused-ignore]
    libc = _libc()
    if libc is None:
        raise OSError(errno.ENOSYS, "this Python cannot map a file without a descriptor")
    import ctypes

    address = libc.mmap(None, size, _PROT, _SHARED, fd, 0)
    if address in (None, ctypes.c_void_p(-1).value):  # MAP_FAILED
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return memoryview(_room(size).from_address(address)).cast("B")


_libc_found: Any = None


def _libc() -> Any:
    """Return the C library, with mmap and munmap declared; None: they cannot be called."""
    global _libc_found
    if _libc_found is None:
        import ctypes  # a fork takes longer with each library that is loaded

        try:
            found = ctypes.CDLL(None, use_errno=True)
            found.mmap.restype = ctypes.c_void_p
            found.mmap.argtypes = [
                *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int),
                *(ctypes.c_int, ctypes.c_int, ctypes.c_int64),
            ]
            found.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        except (OSError, AttributeError):
            return None
        _libc_found = found
    return _libc_found


def _room(size: int) -> Any:
    """Return the type of a ctypes array of some bytes that unmaps its memory when it is freed."""
    import ctypes

    unmap, address_of = _libc().munmap, ctypes.addressof

    def unmapped(self: Any) -> None:
        unmap(address_of(self), size)

    return type(
        "_Room",
        (ctypes.c_ubyte * size,),
        {"_type_": ctypes.c_ubyte, "_length_": size, "__del__": unmapped},
    )
