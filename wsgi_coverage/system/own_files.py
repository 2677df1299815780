"""Make files and folders for this process's user alone, whatever the umask.

The umask belongs to the application and holds for all its threads, so it is not changed. Files and
folders are created with their mode; if the umask takes away this user's rights, the mode is set
directly afterwards. Existing folders keep their mode.

A file that replaces another is written under a temporary name beside it and renamed: readers see
the old content or the new. What takes long, or needs other files beside it, is made in a working
folder instead (wsgi_coverage.store.workspace), and renamed from there. Files are renamed by
`put_in_place`, folders by their own functions.

Concurrency: functions without state; several processes may make the same folder at once.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

FILE, FOLDER = 0o600, 0o700  # modes
TEMPORARY = ".wsgi-coverage-new-"  # prefix of files that are being written
TRIES = 10  # tries to make a folder while others remove it, or one of its parents
ABANDONED_AGE = 600.0  # seconds since the last write to a temporary file; one takes less than 1 s


def is_temporary(name: str) -> bool:
    """Tell whether a file name is that of a temporary file."""
    return name.startswith(TEMPORARY)


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, if they do not exist.

    Raises:
        NotADirectoryError: something else has that name.
        OSError: it cannot be made.
    """
    for left in reversed(range(TRIES)):
        try:
            new_folder(folder)
        except FileNotFoundError:
            if folder.parent == folder or not left:  # no folder can be made there, as in /proc
                raise
            make_folder(folder.parent)
        except FileExistsError as error:
            if folder.is_dir():
                return
            if folder.exists() or folder.is_symlink() or not left:
                why = os.strerror(errno.ENOTDIR)
                raise NotADirectoryError(errno.ENOTDIR, why, str(folder)) from error
        else:
            return


def remove_tree(path: Path) -> None:
    """Remove a folder with its content, or a file of this name; ignore errors.

    Before Python 3.13 shutil.rmtree hangs if it is called with a pipe.
    """
    if path.is_symlink() or not path.is_dir():
        with contextlib.suppress(OSError):
            path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def new_folder(folder: Path) -> None:
    """Make a new folder.

    Raises:
        FileExistsError: the name exists.
        OSError: it cannot be made.
    """
    folder.mkdir(mode=FOLDER)
    mode = folder.stat().st_mode
    if mode & FOLDER != FOLDER:  # the umask is odd
        folder.chmod(stat.S_IMODE(mode) | FOLDER)


def opener(path: str, flags: int) -> int:
    """Open a file, as an `opener` of `open`; create it with mode 600."""
    fd = os.open(path, flags, FILE)
    if flags & os.O_CREAT and hasattr(os, "fchmod"):
        try:
            mode = os.fstat(fd).st_mode
            if mode & FILE != FILE and stat.S_ISREG(mode):  # the umask is odd
                os.fchmod(fd, stat.S_IMODE(mode) | FILE)
        except OSError:
            os.close(fd)
            raise
    return fd


def create(path: Path) -> None:
    """Create an empty file if there is none, for code that opens it by name: SQLite, coverage.py.

    Raises:
        OSError: it cannot be made.
    """
    os.close(opener(str(path), os.O_WRONLY | os.O_CREAT))


def write(path: Path, content: str | bytes) -> None:
    """Write a file.

    Raises:
        OSError: there is no room.
    """
    raw = content.encode() if isinstance(content, str) else content
    with open(path, "wb", opener=opener) as file:
        file.write(raw)


def replace(path: Path, content: str | bytes) -> None:
    """Replace the content of a file in one step: readers see the old content or the new.

    Raises:
        OSError: there is no room, or no such folder; the old content stays.
    """
    with _beside(path) as temporary:
        write(temporary, content)


@contextlib.contextmanager
def replacing(path: Path, mode: int = FILE) -> Iterator[Path]:
    """Yield an empty file that is renamed to a path at the end of the block.

    Args:
        path: the file to replace, if it exists; a link is replaced, too.
        mode: the mode of the file in the end; before, only this user can read it.

    Raises:
        OSError: there is no room, or no such folder. Then, and if the block raises, the old file
            stays, and the new one is removed.
    """
    with _beside(path) as temporary:
        create(temporary)
        yield temporary
        temporary.chmod(mode)


def put_in_place(made: Path, path: Path, mode: int | None = None) -> None:
    """Rename a complete file, or a socket, to a path in one step, replacing what is there.

    Args:
        made: the file, on the same disk.
        path: the new path; a link there is replaced, too.
        mode: the mode to set before; None: it keeps its own.

    Raises:
        OSError: it cannot be renamed; what was at the path stays.
    """
    if mode is not None:
        made.chmod(mode)
    os.replace(made, path)  # noqa: PTH105  of thousands


def link(source: Path | str, target: Path | str) -> None:
    """Make a hard link to a file, or a copy where there are none, replacing what has that name.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: there is no room; what has the name stays.
    """
    try:
        os.link(source, target)
    except OSError:  # something has that name, or the file system has no hard links
        with _beside(Path(target)) as temporary:
            try:
                os.link(source, temporary)
            except OSError:
                create(temporary)
                shutil.copyfile(source, temporary)
        with contextlib.suppress(OSError):
            temporary.unlink()  # renaming does nothing if both names are links to the same file


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to that at the end, remove it on an error."""
    temporary = path.parent / f"{TEMPORARY}{os.urandom(8).hex()}"
    try:
        yield temporary
        put_in_place(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def changed_at(path: Path) -> int:
    """Return when a file was written, renamed or linked last, in nanoseconds; 0: there is none."""
    try:
        return path.stat().st_ctime_ns
    except OSError:  # in an archive
        return 0


def usual_mode() -> int:
    """Return the mode that the umask gives a new file; 600 if the umask is unknown.

    The umask is read from /proc, because os.umask would change it.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        [umask] = [line.split()[1] for line in status.splitlines() if line.startswith("Umask:")]
        return 0o666 & ~int(umask, 8)
    except (OSError, ValueError):
        return FILE


def sweep(folder: Path) -> None:
    """Remove temporary files that were not written to for 10 minutes; raises nothing."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if is_temporary(entry.name) and entry.is_file(follow_symlinks=False):
                with contextlib.suppress(OSError):
                    if time.time() - entry.stat().st_mtime > ABANDONED_AGE:
                        Path(entry.path).unlink()


def restrict(folder: Path) -> None:
    """Make a folder, and all that is in it, accessible to this user only."""
    folder.chmod(FOLDER)
    for path in folder.iterdir():
        restrict(path) if path.is_dir() else path.chmod(FILE)
