"""Call every live worker of the host at once, over one Unix-domain socket a worker.

Each worker that listens has a socket in the private folder. A caller connects to all of them, sends
one line of JSON, and reads one line of each until a deadline. If a connection is refused, the
worker has died, and its files are removed. No polling and no signals.

Concurrency: a `Listener` is used by its worker's one thread, except for `wake` and `close`.
`call_all` has no state and may run in any number of threads.
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
SEND_TIMEOUT = 5.0  # seconds for a caller to send its line
TELL_TIMEOUT = 0.1  # seconds for `tell` to connect and send; the backlog accepts at once
TICK = 0.2  # seconds between heartbeats to the server while answers are waited for
SUFFIX = ".socket"
END = re.compile(
    r"(\d+)-[0-9a-f]{8}\.(?:json|socket|unready|agent|answer)"
)  # names of a process's files
BACKLOG = 64


class Verb(StrEnum):
    """What a worker, or the agent of a host, is asked to do.

    Processes of different releases use one folder, and one fleet, so the values never change.
    """

    FLUSH = "publish"  # flush what was executed into the memory
    STATUS = "status"
    RESET = "reset"
    COLLECT = "collect"  # flush what ran in the epoch that has ended, and begin the new one
    PAUSE = "pause"
    RESUME = "resume"
    END_LOAD = "end-load"  # only for a single worker

    # Only for agents
    END_COLLECTING = "end-collecting"
    SHARE_REPORT = "share-report"
    SHARE_SNAPSHOT = "share-snapshot"
    FETCH_SNAPSHOT = "fetch-snapshot"
    DELETE_SNAPSHOT = "delete-snapshot"
    REPORTS = "reports"  # other hosts have shared reports: fetch them


class Listener:
    """A process's socket, and a file beside it with the process's identity.

    Args:
        folder: the private folder.
        identity: ``id``, ``host`` and ``pid``, which callers also report if no answer comes.
        answers: False: bind a socket that nobody calls, so that the system's list of sockets
            (``ss -x``, ``/proc/net/unix``) tells which process is measured in which folder.
        suffix: suffix of the socket's name; `call_all` calls the sockets with one suffix.
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
                # Only now: a caller would take a socket that does not listen yet for a dead one.
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
        """Return, in the parent, a function that closes the socket's copy in a forked child."""
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
        """False once the socket is closed, also by application code that closes all descriptors."""
        try:
            return os.fstat(self._socket.fileno()).st_ino == self._inode
        except OSError:
            return False

    @property
    def is_reachable(self) -> bool:
        """False once the socket's file was removed, or is another user's, whom this one was."""
        return os.path.exists(self._path)  # noqa: PTH110  where Path raises, before Python 3.14

    def wake(self) -> None:
        """Have `serve` return, by a connection without a call, so that it is called anew."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(SEND_TIMEOUT)
            with address_of(self._path) as address:
                connection.connect(address)

    def close(self) -> None:
        """Close the socket and remove its files; in a forked child, only close the copy."""
        is_own = os.getpid() == self._pid
        if is_own:
            with contextlib.suppress(PermissionError):  # the process has changed its user
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
        verb: a Verb, or, for sockets of another suffix, any JSON value.
        wait: seconds until the deadline.
        but: process ids to leave out: of the caller itself, and of those that do not answer.
        only: the process id of the only process to call; None: all.
        suffix: suffix of the sockets to call.

    Returns:
        Each worker's identity together with its answer; ``answered`` tells whether one came in
        time.
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
                continue  # it ended during the call, and flushed at its end
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
    """Return the ids of the workers that have a socket in the folder, without a call.

    A killed worker is among them if another process has its process id now, until a call removes
    its files.
    """
    records = [_record_of(path) for path in folder.glob(f"*{SUFFIX}")]
    return {str(each.get("id")) for each in records if each and is_alive(each.get("pid", 0))}


def why_not(folder: Path) -> str | None:
    """Return why no worker can be called in the folder; None: they can.

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
    """Yield the address of a socket; if its path is too long, by way of an open folder (Linux).

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
        entry["died"] = not received  # closed without an answer: it ended during the call


def _record_of(path: Path) -> JsonObject | None:
    """Read the identity of the worker with this socket; None: it has just ended."""
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
    """Remove what killed processes have left in the private folder, except their lines.

    Also removes sockets beside the private folders. Leaves live processes alone; raises nothing.
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
