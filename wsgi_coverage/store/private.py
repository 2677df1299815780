"""The private folder: memory of lines, and sockets, for the own user only.

In memory (``/dev/shm``) where there is such a place, else in the temporary folder. One folder for
each configured data file, found again by all processes of one host that measure into it: of one
boot, and of one pid namespace, because elsewhere a process id means another process.

Concurrency: functions without state; folders are made so that two makers do not disturb each other.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from wsgi_coverage import owned
from wsgi_coverage.clock import BOOT_ID

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  the folder made there is checked for its owner
ABOUT = "about.json"

T = TypeVar("T")


def private_folder(data_file: Path) -> Path:
    """The private folder of the application with this data file, made if need be.

    Raises:
        PermissionError: somebody else made a folder of this name first.
        OSError: no folder can be made at all.
    """
    return in_first_place(data_file, lambda folder: folder)


def in_first_place(data_file: Path, use: Callable[[Path], T]) -> T:
    """What comes of using the private folder in the first place where that works.

    Args:
        data_file: of the application.
        use: raises OSError where a folder, which is made before, does not do.

    Raises:
        PermissionError: somebody else made a folder of this name first.
        OSError: none does; the first one's error.
    """
    refused: OSError | None = None
    for folder in places(data_file):
        try:
            make(folder)
            return use(folder)
        except OSError as error:  # somebody else's, or no room
            refused = refused or error
    raise refused or FileNotFoundError("there is neither shared memory nor a temporary folder")


def places(data_file: Path) -> list[Path]:
    """Where the private folder may be, the best place first; none is made."""
    user = os.geteuid() if hasattr(os, "geteuid") else 0
    name = _identity(data_file)
    return [base / f"wsgi-coverage-{user}" / name for base in _bases()]


def make(folder: Path) -> None:
    """Make a folder that `places` names, for the own user only.

    Raises:
        PermissionError: somebody else made a folder of this name first.
        OSError: it cannot be made.
    """
    for each in (folder.parent, folder):
        each.mkdir(mode=0o700, exist_ok=True)
        _check_own(each)


def note(folder: Path, data_file: Path) -> None:
    """Note in a private folder whose it is, for `elsewhere` to find it.

    Raises:
        OSError: there is no room.
    """
    path = folder / ABOUT
    if not path.exists():
        owned.replace(path, json.dumps([_whose(data_file), _namespace()]))


def elsewhere(data_file: Path) -> list[Path]:
    """Private folders of this user with the same data file, in other pid namespaces of this host.

    Containers that share the folder of the data file and shared memory have them.
    """
    whose, namespace, own = _whose(data_file), _namespace(), places(data_file)
    if not namespace:
        return []  # there are none here
    found: list[Path] = []
    for folder in {each.parent for each in own}:
        with contextlib.suppress(OSError):
            found += [path for path in folder.iterdir() if path not in own]
    # In this namespace it is what a folder has left that had this inode before.
    return sorted(path for path in found if _is_of_another(path, whose, namespace))


def _is_of_another(folder: Path, whose: list[str], namespace: str) -> bool:
    try:
        known, its = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False
    return bool(known == whose and its != namespace)


def _whose(data_file: Path) -> list[str]:
    """What processes have in common whose lines belong together: boot, data file, its folder."""
    status = data_file.parent.stat()
    return [next(_system(), ""), str(data_file), f"{status.st_dev} {status.st_ino}"]


def _namespace() -> str:
    """Tells one pid namespace of a host from another; empty where there are none."""
    return " ".join([*_system()][1:])


def _bases() -> Iterator[Path]:
    if os.access(SHARED_MEMORY, os.W_OK | os.X_OK) and SHARED_MEMORY.is_dir():
        yield SHARED_MEMORY
    with contextlib.suppress(FileNotFoundError):  # no folder can be written to
        yield Path(tempfile.gettempdir())


def _identity(data_file: Path) -> str:
    """Tells one application on one host from another.

    The inode of a pid namespace is used again, so the start of its first process belongs to it; two
    containers may have another folder under the same path.
    """
    known = [socket.gethostname(), str(data_file), *_system()]
    with contextlib.suppress(OSError):
        owned.make_folder(data_file.parent)
        status = data_file.parent.stat()
        known += [str(status.st_dev), str(status.st_ino)]
    return hashlib.sha256(os.fsencode("\0".join(known))).hexdigest()[:16]


def _system() -> Iterator[str]:
    """The boot, the pid namespace and the start of its first process, as far as they are told."""
    with contextlib.suppress(OSError):
        yield BOOT_ID.read_text(encoding="ascii").strip()
    with contextlib.suppress(OSError):
        yield str(Path("/proc/self/ns/pid").readlink())
    with contextlib.suppress(OSError, IndexError):
        yield Path("/proc/1/stat").read_bytes().rpartition(b")")[2].split()[19].decode()


def _check_own(folder: Path) -> None:
    if not hasattr(os, "geteuid"):
        return
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise PermissionError(f"{folder} is not a folder of this user's own")
    if status.st_mode & 0o077:
        folder.chmod(0o700)


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that nobody has waited for yet has ended."""
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
