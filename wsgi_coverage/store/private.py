"""The private folder: memory of lines, and sockets, for this process's user only.

It is in shared memory (``/dev/shm``) if there is some, else in the temporary folder, or in ``/tmp``
if the former's name is too long for the address of a socket. There is one for each configured data
file, boot and pid namespace of a host, and all processes that measure into that data file find it.
In another pid namespace a process id means another process.

Other users may create folders with these names first. A folder that other users may write to is
never used or read: of several possible names, all processes use the first that is this user's
alone. If other users have taken all of them, the folder gets a random name, which processes of this
user find by listing its parent.

Concurrency: functions without state; several processes may create the same folder at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import socket
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from wsgi_coverage.clock import BOOT_ID
from wsgi_coverage.data.stored import read_json
from wsgi_coverage.system import own_files

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  the folder made there is checked for its owner
SHORT = Path("/tmp")  # noqa: S108  likewise
MAX_ADDRESS = 100  # bytes of a socket's address; Linux allows 107, others 103
SOCKET_NAME = 24  # bytes of a socket's name, at most
SOCKET = "socket-"  # prefix of sockets that lie beside the private folders
SOCKET_AGE = 60.0  # seconds; nobody listens on such a socket for longer
OWN_FILES = Path("/proc/self/fd")
NAMES = 10  # possible names of the folder; other users may have taken some of them first
RANDOM = re.compile(r"[0-9a-f]{21}")  # time of creation, then random digits
SETTLE_TIME = 0.02  # seconds in which processes see each other's random names
IDENTITY = "0123456789abcdef"  # an example: has the length of all names of private folders
ABOUT = "about.json"

T = TypeVar("T")


def private_folder(data_file: Path) -> Path:
    """Return the private folder of the application with this data file; create it if needed.

    Raises:
        OSError: it cannot be created in any place.
    """
    return in_first_place(data_file, lambda folder: folder)


def in_first_place(data_file: Path, use: Callable[[Path], T]) -> T:
    """Call a function with each possible private folder until one works; return its result.

    Args:
        data_file: the application's data file.
        use: called with a folder, which exists; raises OSError if it cannot be used.

    Raises:
        OSError: no folder can be used; the error of the first one.
    """
    identity = _identity(data_file)
    failure: OSError | None = None
    for base in _bases():
        try:
            return use(_made(base, identity))
        except OSError as error:  # another user's, or no room
            failure = failure or error
    raise failure or FileNotFoundError("there is neither shared memory nor a temporary folder")


def private_folders(data_file: Path) -> list[Path]:
    """Return the existing private folders of the application, the preferred one first.

    There may be several, if a place had no room for some process, or was another user's.
    """
    identity = _identity(data_file)
    return [top / identity for top in _own_tops() if _is_own(top / identity)]


def socket_for_user(purpose: str) -> str | None:
    """Return the address of this user's socket for one purpose, on this host and in this container.

    Args:
        purpose: any text.

    Returns:
        The address; None: there is no folder for it yet, or its name is too long.
    """
    where = [*_system()]
    with contextlib.suppress(OSError):
        where.append(str(Path("/proc/self/ns/mnt").readlink()))  # paths mean the same there
    for top in _own_tops():
        path = str(top / f"{SOCKET}{_digest([*where, purpose])}")
        return path if len(os.fsencode(path)) <= MAX_ADDRESS else None
    return None


def sweep_sockets() -> None:
    """Remove sockets of `socket_for_user` whose processes were killed; raises nothing."""
    for top in _own_tops():
        with contextlib.suppress(OSError), os.scandir(top) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if entry.name.startswith(SOCKET) and _is_old(entry.stat(follow_symlinks=False)):
                        os.unlink(entry.path)  # noqa: PTH108


def _is_old(status: os.stat_result) -> bool:
    return time.time() - status.st_mtime > SOCKET_AGE


def refused(data_file: Path, used: Path) -> list[str]:
    """Return folders that are not used because they are not this user's alone, with the reasons.

    Args:
        data_file: the application's data file.
        used: the private folder that is used.
    """
    out: list[str] = []
    identity = _identity(data_file)
    for base in _bases():
        for top in _tops(base):
            if used == top / identity:
                return out
            for folder in (top, top / identity):
                if fault := _fault(folder):
                    out.append(f"{folder} {fault}")
                    break
    return out


def _made(base: Path, identity: str) -> Path:
    """Return the first private folder in one place that is this user's alone; create it if needed.

    Raises:
        OSError: it cannot be created.
    """
    # Existing folders first: they may be in use, although one with an earlier name is possible now.
    for top in sorted(_tops(base), key=lambda each: not _is_own(each)):
        if _is_made(top) and _is_made(top / identity):
            return top / identity
    folder = _with_random_name(base) / identity
    if not _is_made(folder):
        raise PermissionError(f"{folder} is not this user's alone")
    return folder


def _with_random_name(base: Path) -> Path:
    """Create a folder with a random name; return this user's first one of that kind.

    Workers that start together create one each. The names begin with the time, so all of them
    choose the same one, and remove their own.

    Raises:
        OSError: none can be created.
    """
    made = base / f"{_name()}-{time.time_ns() // 1000:013x}{os.urandom(4).hex()}"
    if not _is_made(made):
        raise PermissionError(f"{made} is not this user's alone")
    time.sleep(SETTLE_TIME)
    first = next(iter(_found(base)), made)
    if first != made:
        with contextlib.suppress(OSError):  # another process has put files into it already
            made.rmdir()
    return first


def _is_made(folder: Path) -> bool:
    """Create a folder if there is none; tell whether it is this user's alone."""
    with contextlib.suppress(FileExistsError):
        own_files.new_folder(folder)
    if not _is_own(folder):
        return False
    if hasattr(os, "geteuid") and stat.S_IMODE(folder.stat().st_mode) != own_files.FOLDER:
        folder.chmod(own_files.FOLDER)  # others could read names in it, or the umask closed it
    return True


def _tops(base: Path) -> list[Path]:
    """Return the paths in one place that may hold this user's private folders.

    Folders with random names are listed only if there may be some: a temporary folder may have
    thousands of entries.
    """
    tops = [base / _name(number) for number in range(NAMES)]
    faults = [_fault(top) for top in tops]
    is_open = "" not in faults and base == next(_bases(), None)  # other users may have freed names
    return [*tops, *(_found(base) if is_open or any(faults) else ())]


def _found(base: Path) -> list[Path]:
    """List the folders with random names that are this user's alone, the oldest first."""
    start = f"{_name()}-"
    with contextlib.suppress(OSError), os.scandir(base) as entries:
        names = [each.name for each in entries if each.name.startswith(start)]
        found = sorted(name for name in names if RANDOM.fullmatch(name.removeprefix(start)))
        return [base / name for name in found if _is_own(base / name)]
    return []


def _own_tops() -> list[Path]:
    return [top for base in _bases() for top in _tops(base) if _is_own(top)]


def _name(number: int = 0) -> str:
    user = os.geteuid() if hasattr(os, "geteuid") else 0
    return f"wsgi-coverage-{user}-{number}" if number else f"wsgi-coverage-{user}"


def _is_own(folder: Path) -> bool:
    """Tell whether a folder exists, and only this user can write to it."""
    return _fault(folder) == ""


def _fault(folder: Path) -> str | None:
    """Return why a folder is not this user's alone; "": it is; None: there is none."""
    try:
        status = folder.lstat()
    except OSError:
        return None
    if stat.S_ISLNK(status.st_mode):
        return "is a symbolic link"
    if not stat.S_ISDIR(status.st_mode):
        return "is no folder"
    if hasattr(os, "geteuid"):
        if status.st_uid != os.geteuid():
            return f"belongs to user {status.st_uid}"
        if status.st_mode & 0o022:
            return f"has mode {stat.S_IMODE(status.st_mode):o}: others may write to it"
    return ""


def note_owner(folder: Path, data_file: Path) -> None:
    """Record in a private folder its data file and pid namespace, for `elsewhere`.

    Raises:
        OSError: there is no room.
    """
    path = folder / ABOUT
    if not path.exists():
        own_files.replace(path, json.dumps([_whose(data_file), _namespace()]))


def elsewhere(data_file: Path) -> list[Path]:
    """Return this user's private folders for a data file in other pid namespaces of this host.

    Containers that share shared memory and the folder of the data file have such folders.
    """
    whose, namespace, own = _whose(data_file), _namespace(), private_folders(data_file)
    if not namespace:
        return []  # this system has no pid namespaces
    found: list[Path] = []
    alike = _digest(whose)
    for top in _own_tops():
        with contextlib.suppress(OSError):
            names = [name for name in os.listdir(top) if name.startswith(alike)]  # noqa: PTH208
            found += [path for path in map(top.joinpath, names) if path not in own]
    # Folders that record this namespace were left by another data file's folder of the same inode.
    return sorted(
        path for path in found if _is_own(path) and _is_of_another(path, whose, namespace)
    )


def _is_of_another(folder: Path, whose: list[str], namespace: str) -> bool:
    try:
        known, its = read_json(folder / ABOUT)
    except (OSError, ValueError, TypeError):
        return False
    return bool(known == whose and its != namespace)


def _whose(data_file: Path) -> list[str]:
    """Return what processes with a common data file have in common: boot, path, folder's inode."""
    status = data_file.parent.stat()
    return [next(_system(), ""), str(data_file), f"{status.st_dev} {status.st_ino}"]


def _namespace() -> str:
    """Return a unique name of this pid namespace; empty where there are none."""
    return " ".join([*_system()][1:])


def _bases() -> Iterator[Path]:
    if os.access(SHARED_MEMORY, os.W_OK | os.X_OK) and SHARED_MEMORY.is_dir():
        yield SHARED_MEMORY
    with contextlib.suppress(FileNotFoundError):  # there is no temporary folder to write to
        folder = Path(tempfile.gettempdir())
        if folder != SHORT and not takes_sockets(folder / _name(NAMES) / IDENTITY):
            yield SHORT
        yield folder


def takes_sockets(folder: Path) -> bool:
    """Tell whether a socket in a folder can have an address, which must not be too long."""
    return len(os.fsencode(folder)) + 1 + SOCKET_NAME <= MAX_ADDRESS or OWN_FILES.is_dir()


def _identity(data_file: Path) -> str:
    """Return the name of an application's private folder, the same for all its processes.

    It is a hash of the start of the pid namespace's first process, too, because namespaces' inodes
    are reused, and of the inode of the data file's folder, because two containers may have another
    folder under the same path. Its first half is a hash of `_whose` alone, so that `elsewhere` need
    not read the folders of all applications.
    """
    whose = [str(data_file)]
    with contextlib.suppress(OSError):
        own_files.make_folder(data_file.parent)
        whose = _whose(data_file)
    return _digest(whose) + _digest([socket.gethostname(), *_system(), *whose])


def _digest(known: list[str]) -> str:
    return hashlib.sha256(os.fsencode("\0".join(known))).hexdigest()[: len(IDENTITY) // 2]


def _system() -> Iterator[str]:
    """Yield boot id, pid namespace and the start of its first process, as far as they are known."""
    with contextlib.suppress(OSError):
        yield BOOT_ID.read_text(encoding="ascii").strip()
    with contextlib.suppress(OSError):
        yield str(Path("/proc/self/ns/pid").readlink())
    with contextlib.suppress(OSError, IndexError):
        yield Path("/proc/1/stat").read_bytes().rpartition(b")")[2].split()[19].decode()


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie does not."""
    with contextlib.suppress(OSError):
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
