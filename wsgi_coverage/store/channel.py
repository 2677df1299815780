"""Call every live worker of the host at once, over one Unix-domain socket a worker.

A worker listens in the private folder; a caller connects to every socket there, sends one line of
JSON, and reads one line back from each until a deadline. A refused connection means that the worker
has died, and its files are removed. No polling and no signals.

Concurrency: `Listener` belongs to its worker's one thread, but for `close`; `call_all` keeps no
state and may run in any number of threads.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import selectors
import socket
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from wsgi_coverage.data.stored import read_json
from wsgi_coverage.liveness import tick
from wsgi_coverage.model import JsonObject
from wsgi_coverage.store import workspace
from wsgi_coverage.store.private import (
    MAX_ADDRESS,
    OWN_FILES,
    is_alive,
    sweep_sockets,
    takes_sockets,
)
from wsgi_coverage.system import own_files

HAS_SOCKETS = hasattr(socket, "AF_UNIX")
MAX_LINE = 65_536  # bytes of a message
SEND_TIMEOUT = 5.0  # seconds for a caller to get its line sent
TELL_TIMEOUT = 0.1  # seconds for a process to take what it is told; its backlog does at once
TICK = 0.2  # seconds between signs of life while answers are waited for
SUFFIX = ".socket"
END = re.compile(
    r"(\d+)-[0-9a-f]{8}\.(?:json|socket|unready|agent|answer)"
)  # of a process: its files
BACKLOG = 64


class Verb(StrEnum):
    """What a worker, or the agent of a host, is asked to do.

    Processes of different releases meet in one folder, and in one fleet, so each word on the socket
    stays what it was.
    """

    FLUSH = "publish"  # have all that was executed in the memory
    STATUS = "status"
    RESET = "reset"
    COLLECT = "collect"  # flush what ran in the epoch that has ended, and begin the new one
    PAUSE = "pause"
    RESUME = "resume"
    END_LOAD = "end-load"  # of workers alone, and one by one

    # Of agents alone
    END_COLLECTING = "end-collecting"
    SHARE_REPORT = "share-report"
    SHARE_SNAPSHOT = "share-snapshot"
    FETCH_SNAPSHOT = "fetch-snapshot"
    DELETE_SNAPSHOT = "delete-snapshot"
    REPORTS = "reports"  # others have shared some


class Listener:
    """A worker's socket, and the record of who it is.

    Args:
        folder: the private folder.
        identity: ``id``, ``host`` and ``pid``: what a caller is told of a worker that is silent.
        answers: False: nobody is to call it. It is bound all the same, so that the system's list of
            sockets (``ss -x``, ``/proc/net/unix``) tells which process is measured in which folder.
        suffix: of its name; those with another one than a worker's are called by it alone.
    """

    def __init__(
        self,
        folder: Path,
        identity: Mapping[str, Any],
        *,
        answers: bool = True,
        suffix: str = SUFFIX,
    ) -> None:
        name = f"{identity['pid']}-{os.urandom(4).hex()}"
        unready = folder / f"{name}.unready"
        self.answers: bool = answers
        self._record = folder / f"{name}.json"
        self._path = folder / f"{name}{suffix}" if answers else unready
        if answers:
            own_files.write(self._record, json.dumps(dict(identity)))
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._inode = os.fstat(self._socket.fileno()).st_ino
        self._pid = os.getpid()
        try:
            with address_of(unready) as address:
                self._socket.bind(address)
            unready.chmod(own_files.FILE)
            if answers:
                self._socket.listen(BACKLOG)
                # Only now: a caller takes one that is bound and does not listen yet for dead.
                own_files.put_in_place(unready, self._path)
        except OSError:
            unready.unlink(missing_ok=True)
            self.close()
            raise

    def serve(self, timeout: float | None, answer: Callable[[Any], JsonObject]) -> bool:
        """Wait for one call and answer it; return False when none came in `timeout` seconds.

        Raises:
            OSError: the socket is closed.
        """
        if not self.is_open:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        self._socket.settimeout(timeout)
        try:
            connection, _ = self._socket.accept()
        except TimeoutError:
            return False
        bad = OSError, ValueError, TypeError, KeyError, RecursionError
        with connection, contextlib.suppress(*bad):
            verb = json.loads(_read_line(connection))["verb"]
            connection.sendall(json.dumps(answer(verb)).encode() + b"\n")
        return True

    def letting_go(self) -> Callable[[], None]:
        """In the parent: return what a forked child calls to close its copy of the socket."""
        fd, inode, fstat, close = self._socket.fileno(), self._inode, os.fstat, os.close

        def let_go() -> None:
            try:
                if fstat(fd).st_ino == inode:  # else it is another file's by now
                    close(fd)
            except OSError:
                pass

        return let_go

    @property
    def is_open(self) -> bool:
        """False once it is closed, also by application code that closes all descriptors."""
        try:
            return os.fstat(self._socket.fileno()).st_ino == self._inode
        except OSError:
            return False

    @property
    def is_reachable(self) -> bool:
        """False once its file was removed."""
        return self._path.exists()

    def wake(self) -> None:
        """Have `serve` return, so that its caller can look at its timeout again."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(SEND_TIMEOUT)
            with address_of(self._path) as address:
                connection.connect(address)

    def close(self) -> None:
        """Close the socket and remove its files; in a forked child, only close the copy."""
        is_own = os.getpid() == self._pid
        if is_own:
            self._path.unlink(missing_ok=True)
            self._record.unlink(missing_ok=True)
        if not self.is_open:
            self._socket.detach()  # its descriptor may be another file's by now
            return
        if is_own:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept
        self._socket.close()


def call_all(
    folder: Path,
    verb: object,
    *,
    wait: float,
    but: Collection[int] = (),
    only: int | None = None,
    suffix: str = SUFFIX,
) -> list[JsonObject]:
    """Call every live worker at once; return an entry for each, answered or not.

    Args:
        folder: the private folder.
        verb: a Verb; to others than workers, what they take.
        wait: seconds until the deadline.
        but: process ids to leave out: of the caller itself, and of those that do not answer.
        only: the process id of the one to call.
        suffix: of the sockets of those to call.

    Returns:
        Each worker's record joined with its answer; ``answered`` tells whether one came in time.
    """
    deadline = time.monotonic() + wait
    out: list[JsonObject] = []
    with selectors.DefaultSelector() as selector, contextlib.ExitStack() as connections:
        for path in sorted(folder.glob(f"*{suffix}" if only is None else f"{only}-*{suffix}")):
            record = _record_of(path)
            if record is None or record.get("pid") in but:
                continue
            connection = connections.enter_context(
                socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            )
            connection.settimeout(max(deadline - time.monotonic(), 0.01))
            entry: JsonObject = {**record, "answered": False}
            try:
                with address_of(path) as address:
                    connection.connect(address)
                connection.sendall(json.dumps({"verb": verb}).encode() + b"\n")
            except (ConnectionRefusedError, FileNotFoundError):
                _sweep(path)  # no process listens: it has died
                continue
            except ConnectionError:
                continue  # it ended while it was asked; its end published what it had run
            except OSError:
                out.append(entry)  # alive, its backlog full: it does not answer
                continue
            out.append(entry)
            selector.register(connection, selectors.EVENT_READ, (entry, bytearray()))
        while selector.get_map() and (left := deadline - time.monotonic()) > 0:
            tick()
            for key, _ in selector.select(min(left, TICK)):
                entry, received = key.data
                if _receive(key.fileobj, received):  # type: ignore[arg-type]
                    selector.unregister(key.fileobj)
                    _join(entry, received)
    return [entry for entry in out if not entry.get("died")]


def tell(folder: Path, pid: int, verb: Verb) -> None:
    """Call one process without waiting for its answer; nothing happens if it does not listen.

    Args:
        folder: the private folder.
        pid: its process id.
        verb: as for `call_all`.
    """
    for path in folder.glob(f"{pid}-*{SUFFIX}"):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(TELL_TIMEOUT)
            with address_of(path) as address:
                connection.connect(address)
            connection.sendall(json.dumps({"verb": verb}).encode() + b"\n")


def listening(folder: Path) -> set[str]:
    """The ids of the workers that have a socket in the folder; none of them is called.

    A killed one whose process id was given to another process is among them until a call removes
    its files.
    """
    records = [_record_of(path) for path in folder.glob(f"*{SUFFIX}")]
    return {str(each.get("id")) for each in records if each and is_alive(each.get("pid", 0))}


def why_not(folder: Path) -> str | None:
    """Why no worker can be called in the folder; None: they can.

    Args:
        folder: the private folder.
    """
    if not HAS_SOCKETS:
        return "there are no Unix sockets here"
    if not takes_sockets(folder):
        return f"the name of the folder {folder} is too long for the address of a socket"
    return None


@contextlib.contextmanager
def address_of(path: Path) -> Iterator[str]:
    """A socket's address; a path that is too long is given by way of its open folder (Linux).

    Raises:
        OSError: the path is too long, and there is no other way (ENAMETOOLONG).
    """
    if len(os.fsencode(path)) <= MAX_ADDRESS:
        yield str(path)
        return
    if not OWN_FILES.is_dir():
        raise OSError(errno.ENAMETOOLONG, "too long for a socket's address", str(path))
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        yield f"{OWN_FILES}/{folder}/{path.name}"
    finally:
        os.close(folder)


def _receive(connection: socket.socket, received: bytearray) -> bool:
    """Read what can be read now; return True at the end of the answer."""
    try:
        chunk = connection.recv(MAX_LINE)
    except OSError:
        chunk = b""
    received += chunk
    return not chunk or received.endswith(b"\n") or len(received) > MAX_LINE


def _join(entry: JsonObject, received: bytearray) -> None:
    answer = None
    with contextlib.suppress(ValueError, RecursionError):
        answer = json.loads(received)
    if isinstance(answer, dict):
        entry.update({**answer, **entry}, answered=True)
    else:
        entry["died"] = not received  # hung up without a word: it ended while it was asked


def _record_of(path: Path) -> JsonObject | None:
    """The record of the worker that listens at this socket; None if it has just gone."""
    try:
        record = read_json(path.with_suffix(".json"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def _sweep(path: Path) -> None:
    for each in (path, path.with_suffix(".json")):
        with contextlib.suppress(OSError):
            each.unlink(missing_ok=True)


def sweep_dead(folder: Path) -> None:
    """Remove the sockets and records of killed processes from the private folder; not their lines.

    Those beside it, too. Nothing of living ones; raises nothing.
    """
    sweep_sockets()
    workspace.sweep(folder, age=0.0)
    own_files.sweep(folder)
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):  # noqa: PTH208
            match = END.fullmatch(name)
            if match and not is_alive(int(match[1])):
                with contextlib.suppress(OSError):
                    (folder / name).unlink()


def _read_line(connection: socket.socket) -> bytes:
    received = bytearray()
    deadline = time.monotonic() + SEND_TIMEOUT
    while not received.endswith(b"\n") and len(received) <= MAX_LINE:
        connection.settimeout(max(deadline - time.monotonic(), 0.01))
        chunk = connection.recv(4096)
        if not chunk:
            break
        received += chunk
    return bytes(received)
