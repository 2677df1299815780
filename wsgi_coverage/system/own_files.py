"""Make files and folders for this process's user alone, whatever the umask.

The umask is the application's, and one for all its threads, so it is left as it is: what is made
here has its mode from the first moment, or, where the umask takes away the own user's rights, from
the next. Folders that are there already keep theirs.

A file that takes a path's place is written under another name beside it and renamed: who reads
sees the old content or the new. What takes long, or needs other files beside it, is made in a
working folder instead (wsgi_coverage.store.workspace), and renamed from there. Files are
renamed by `put_in_place`, folders by themselves.

Concurrency: functions without state; two may make the same folder at once.
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
TEMPORARY = ".wsgi-coverage-new-"  # what files are called until they are whole
TRIES = 10  # to make a folder that others remove meanwhile, or one that it is in
ABANDONED_AGE = 600.0  # seconds since it was written to; writing one takes less than one


def is_temporary(name: str) -> bool:
    """Tell whether a file has the name of one that is still being written."""
    return name.startswith(TEMPORARY)


def make_folder(folder: Path) -> None:
    """Make a folder if it is not there, and those that it is in.

    Raises:
        NotADirectoryError: something else has that name.
        OSError: it cannot be made.
    """
    for left in reversed(range(TRIES)):
        try:
            new_folder(folder)
        except FileNotFoundError:
            if folder.parent == folder or not left:  # or nobody can make one there, as in /proc
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
    """Remove a folder with all that is in it, or what else has that name, as far as can be done.

    Before Python 3.13 shutil.rmtree waits at a pipe that nobody writes to.
    """
    if path.is_symlink() or not path.is_dir():
        with contextlib.suppress(OSError):
            path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def new_folder(folder: Path) -> None:
    """Make a folder that is not there.

    Raises:
        FileExistsError: it is there.
        OSError: it cannot be made.
    """
    folder.mkdir(mode=FOLDER)
    mode = folder.stat().st_mode
    if mode & FOLDER != FOLDER:  # the umask is odd
        folder.chmod(stat.S_IMODE(mode) | FOLDER)


def opener(path: str, flags: int) -> int:
    """Open a file, as `open` asks its opener to, and make it with the mode if it is not there."""
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
    """Make an empty file if it is not there, for those who take a path: SQLite, coverage.py.

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
    """Write a file in one step: who reads sees the old content or the new.

    Raises:
        OSError: there is no room, or no such folder; what was there stays.
    """
    with _beside(path) as temporary:
        write(temporary, content)


@contextlib.contextmanager
def replacing(path: Path, mode: int = FILE) -> Iterator[Path]:
    """An empty file that takes the place of another in one step, at the end of the block.

    Args:
        path: of the file that is replaced, or is not there yet; a link is replaced, too.
        mode: that the file has then; until then it is for the own user alone.

    Raises:
        OSError: there is no room, or no such folder. Then, and if the block raises, what was there
            stays, and nothing is left of the other file.
    """
    with _beside(path) as temporary:
        create(temporary)
        yield temporary
        temporary.chmod(mode)


def put_in_place(made: Path, path: Path, mode: int | None = None) -> None:
    """Rename a file that is whole, or a socket, in one step to a path, whatever has that name.

    Args:
        made: the file, on the same disk.
        path: that it has then; a link is replaced, too.
        mode: that it gets before; None: it keeps its own.

    Raises:
        OSError: it cannot be renamed; what was at the path stays.
    """
    if mode is not None:
        made.chmod(mode)
    os.replace(made, path)  # noqa: PTH105  of thousands


def link(source: Path | str, target: Path | str) -> None:
    """Give a file a second name, in the place of what has that name; without hard links, a copy.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: there is no room; what was there stays.
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
            temporary.unlink()  # renaming does nothing where both are names of one file


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
    """When a file was written, renamed or linked last, in nanoseconds; 0 where it is no file."""
    try:
        return path.stat().st_ctime_ns
    except OSError:  # in an archive
        return 0


def usual_mode() -> int:
    """The mode of a new file by the umask.

    It is read from /proc, because asking the system for the umask sets it.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        [umask] = [line.split()[1] for line in status.splitlines() if line.startswith("Umask:")]
        return 0o666 & ~int(umask, 8)
    except (OSError, ValueError):
        return FILE


def sweep(folder: Path) -> None:
    """Remove temporary files that have no writer any more; raises nothing."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if is_temporary(entry.name) and entry.is_file(follow_symlinks=False):
                with contextlib.suppress(OSError):
                    if time.time() - entry.stat().st_mtime > ABANDONED_AGE:
                        Path(entry.path).unlink()


def restrict(folder: Path) -> None:
    """Give a folder, and all that others have written in it, modes for this user alone."""
    folder.chmod(FOLDER)
    for path in folder.iterdir():
        restrict(path) if path.is_dir() else path.chmod(FILE)
