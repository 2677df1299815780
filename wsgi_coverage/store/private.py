"""The private folder: memory of lines, and sockets, for this process's user only.

In shared memory (``/dev/shm``) where there is some, else in the temporary folder, or in ``/tmp``
where the former's name is too long for the address of a socket. One folder for each configured data
file, found again by all processes of one host that measure into it: of one boot, and of one pid
namespace, because elsewhere a process id means another process.

Other users may make folders with these names first. A folder that is not this user's alone is never
used or read: the first of several names that is gets used, by all processes alike. Where others
have made all of these, the name is a random one, which processes of this user find by listing the
place.

Concurrency: functions without state; folders are made so that two makers do not disturb each other.
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
MAX_ADDRESS = 100  # bytes of a socket's; Linux takes 107, others 103
SOCKET_NAME = 24  # bytes, at most
SOCKET = "socket-"  # what those begin with that lie beside the private folders
SOCKET_AGE = 60.0  # seconds; nobody listens on one of those for longer
OWN_FILES = Path("/proc/self/fd")
NAMES = 10  # of the folder in one place; other users may have made some of them first
RANDOM = re.compile(r"[0-9a-f]{21}")  # when it was made, and what nobody can make first
SETTLE_TIME = 0.02  # seconds in which processes see each other's random names
IDENTITY = "0123456789abcdef"  # as long as that of an application
ABOUT = "about.json"

T = TypeVar("T")


def private_folder(data_file: Path) -> Path:
    """The private folder of the application with this data file, made if need be.

    Raises:
        OSError: no folder can be made at all.
    """
    return in_first_place(data_file, lambda folder: folder)


def in_first_place(data_file: Path, use: Callable[[Path], T]) -> T:
    """Call a function with each private folder in turn, until one works; return its result.

    Args:
        data_file: of the application.
        use: raises OSError where the folder, which is made before, cannot be used.

    Raises:
        OSError: none works; the first one's error.
    """
    identity = _identity(data_file)
    failure: OSError | None = None
    for base in _bases():
        try:
            return use(_made(base, identity))
        except OSError as error:  # another user's, or no room
            failure = failure or error
    raise failure or FileNotFoundError("there is neither shared memory nor a temporary folder")


def places(data_file: Path) -> list[Path]:
    """The existing private folders of the application, the preferred one first.

    There is more than one where a place had no room for some process, or was another user's.
    """
    identity = _identity(data_file)
    return [top / identity for top in _own_tops() if _is_own(top / identity)]


def socket_for_user(purpose: str) -> str | None:
    """The address of a socket of this user's, for one purpose, on this host and in this container.

    None: there is no folder for it yet, or its name is too long.

    Args:
        purpose: any text.
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
    """Folders that are not used because they are not this user's alone, each with the reason.

    Args:
        data_file: of the application.
        used: the private folder.
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
    """The private folder in one place, made if need be: the first that is this user's alone.

    Raises:
        OSError: it cannot be made.
    """
    # What is there goes first: it may be used, and a folder that was in its way be gone since.
    for top in sorted(_tops(base), key=lambda each: not _is_own(each)):
        if _is_made(top) and _is_made(top / identity):
            return top / identity
    folder = _with_random_name(base) / identity
    if not _is_made(folder):
        raise PermissionError(f"{folder} is not this user's alone")
    return folder


def _with_random_name(base: Path) -> Path:
    """Make a folder whose name nobody else can make first; return the first of this user's.

    Workers that start together each make one. Names begin with the time, so that all of them see
    the same one first, and remove theirs.

    Raises:
        OSError: none can be made.
    """
    made = base / f"{_name()}-{time.time_ns() // 1000:013x}{os.urandom(4).hex()}"
    if not _is_made(made):
        raise PermissionError(f"{made} is not this user's alone")
    time.sleep(SETTLE_TIME)
    first = next(iter(_found(base)), made)
    if first != made:
        with contextlib.suppress(OSError):  # another process uses it already
            made.rmdir()
    return first


def _is_made(folder: Path) -> bool:
    """Make a folder if it is not there; tell whether it is this user's alone."""
    with contextlib.suppress(FileExistsError):
        own_files.new_folder(folder)
    if not _is_own(folder):
        return False
    if hasattr(os, "geteuid") and stat.S_IMODE(folder.stat().st_mode) != own_files.FOLDER:
        folder.chmod(own_files.FOLDER)  # others could read names in it, or the umask closed it
    return True


def _tops(base: Path) -> list[Path]:
    """The folders in one place that hold a user's private folders, by each of the names.

    Those with random names are looked for only where there may be some: a temporary folder may have
    thousands of entries.
    """
    tops = [base / _name(number) for number in range(NAMES)]
    faults = [_fault(top) for top in tops]
    is_open = "" not in faults and base == next(_bases(), None)  # others removed theirs since
    return [*tops, *(_found(base) if is_open or any(faults) else ())]


def _found(base: Path) -> list[Path]:
    """The folders with random names that are this user's alone, the oldest first."""
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
    """Tell whether a folder exists that no other user can have put anything into."""
    return _fault(folder) == ""


def _fault(folder: Path) -> str | None:
    """Why a folder is not this user's alone; None: it is."""
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
    """Write into a private folder whose it is, for `elsewhere` to find it.

    Raises:
        OSError: there is no room.
    """
    path = folder / ABOUT
    if not path.exists():
        own_files.replace(path, json.dumps([_whose(data_file), _namespace()]))


def elsewhere(data_file: Path) -> list[Path]:
    """Private folders of this user with the same data file, in other pid namespaces of this host.

    Containers that share the folder of the data file and shared memory have them.
    """
    whose, namespace, own = _whose(data_file), _namespace(), places(data_file)
    if not namespace:
        return []  # there are none here
    found: list[Path] = []
    alike = _digest(whose)
    for top in _own_tops():
        with contextlib.suppress(OSError):
            names = [name for name in os.listdir(top) if name.startswith(alike)]  # noqa: PTH208
            found += [path for path in map(top.joinpath, names) if path not in own]
    # In this namespace it is what a folder has left that had this inode before.
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
    """What processes have in common whose lines belong together: boot, data file, its folder."""
    status = data_file.parent.stat()
    return [next(_system(), ""), str(data_file), f"{status.st_dev} {status.st_ino}"]


def _namespace() -> str:
    """A name of this pid namespace, unique on the host; empty where there are none."""
    return " ".join([*_system()][1:])


def _bases() -> Iterator[Path]:
    if os.access(SHARED_MEMORY, os.W_OK | os.X_OK) and SHARED_MEMORY.is_dir():
        yield SHARED_MEMORY
    with contextlib.suppress(FileNotFoundError):  # no folder can be written to
        folder = Path(tempfile.gettempdir())
        if folder != SHORT and not takes_sockets(folder / _name(NAMES) / IDENTITY):
            yield SHORT
        yield folder


def takes_sockets(folder: Path) -> bool:
    """Tell whether the path of a socket in a folder is short enough for an address."""
    return len(os.fsencode(folder)) + 1 + SOCKET_NAME <= MAX_ADDRESS or OWN_FILES.is_dir()


def _identity(data_file: Path) -> str:
    """A name of one application on one host.

    The inode of a pid namespace is used again, so the start of its first process is part of it; two
    containers may have another folder under the same path. The first half tells one data file from
    another, in all pid namespaces, so that `elsewhere` need not look into the folders of all
    applications.
    """
    whose = [str(data_file)]
    with contextlib.suppress(OSError):
        own_files.make_folder(data_file.parent)
        whose = _whose(data_file)
    return _digest(whose) + _digest([socket.gethostname(), *_system(), *whose])


def _digest(known: list[str]) -> str:
    return hashlib.sha256(os.fsencode("\0".join(known))).hexdigest()[: len(IDENTITY) // 2]


def _system() -> Iterator[str]:
    """The boot, the pid namespace and the start of its first process, as far as they are known."""
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
