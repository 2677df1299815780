"""The child's side of a call: a script that does a job for its caller. Started by offload/child.py.

Its standard input is a socket to the caller: one line of JSON, then a pickle (a function, its
arguments). It answers there by JSON objects, one a line: `hello`, any number of `files`, then
`value` or `error`; `waits` comes before a `value` if the process waits for calls afterwards. It
ends when its input ends, as it does with the caller, unless the job outlives the caller.

The start of the process, and the import of what reports need, take as long as a report on few
changes. So, if the caller wants it, the process then waits 30 seconds for a next job, on a socket
in a folder of this user. For that it becomes no child of the caller, because an application may
wait for any child of its own.

Concurrency: a thread watches the input; the job runs on the main thread.
"""

from __future__ import annotations

import base64
import contextlib
import gc
import json
import os
import pickle
import select
import socket
import struct
import sys
import threading
import time
import traceback
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

NICENESS = 10
EXPENDABLE = "500"  # of -1000 to 1000: if memory is short, this is killed before a worker
GARBAGE = 200_000  # objects; fewer garbage collections save a sixth of the time to parse
MESSAGE_INTERVAL = 0.1  # seconds between two messages about files, at least
MOST_FDS = 65536
SILENCE_TIMEOUT = 120  # seconds in which the caller reads nothing, after which it is given up
JOB_TIMEOUT = 30.0  # seconds to wait for a next job
CHECK_INTERVAL = 1.0  # seconds between two checks during a wait
MOST_MEMORY = 100_000_000  # bytes; a process that uses more does not wait for a next job


class Caller:
    """The channel to the process that called this one: its standard input."""

    def __init__(self) -> None:
        self._out = os.dup(0)
        self._due = 0.0
        # A fork of the caller's may hold the channel open when the caller has been killed.
        with socket.socket(fileno=os.dup(0)) as channel:
            channel.setsockopt(
                socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", SILENCE_TIMEOUT, 0)
            )

    def job(self) -> tuple[dict[str, Any], bytes]:
        """Read the job of the caller: a header, and the pickled call.

        Ends this process if the caller is gone, or has another Python, after sending `hello`.
        """
        with open(0, "rb", closefd=False) as given:
            header: dict[str, Any] = json.loads(given.readline() or "null") or os._exit(1)
            pickled = given.read(header["size"])
        if len(pickled) < header["size"]:
            os._exit(1)
        if header["version"] != python_version():
            self.greet()
            os._exit(1)
        return header, pickled

    def greet(self) -> None:
        """Send `hello`, which tells the caller which Python this is.

        Raises:
            OSError: the caller has closed the channel.
        """
        self.tell("hello", version=python_version())

    def close(self) -> None:
        """Close the descriptor for answers; the standard input stays open."""
        os.close(self._out)

    def tell(self, kind: str, **message: Any) -> None:
        """Send a message: a line of JSON with its `kind` and the other fields.

        Raises:
            OSError: the caller has closed the channel, or has read nothing for too long.
        """
        line = json.dumps({"kind": kind, **message}).encode() + b"\n"
        while line:
            line = line[os.write(self._out, line) :]

    def tell_files(self, done: int, total: int) -> None:
        """Send how many files are done: at most ten times a second, and always the last time."""
        now = time.monotonic()
        if now >= self._due or done == total:
            self._due = now + MESSAGE_INTERVAL
            self.tell("files", done=done, total=total)


def main() -> None:
    """Do the job that the caller sends, then others that come during a wait; then end."""
    _close_all_above(2)
    os.dup2(2, 1)  # so that what a plugin prints is not sent to the caller
    parent: int | None = os.getppid()  # None: this process is no child of the caller any more
    while True:
        caller = Caller()
        header, pickled = caller.job()
        done = threading.Event()
        if not header["outlives"]:
            watch = threading.Thread(target=_end_with_the_caller, args=(parent, done), daemon=True)
            watch.start()  # if no thread can be started, this process ends before `hello`
            caller.greet()
            gc.set_threshold(GARBAGE)
        listener = None
        try:
            if parent is not None:
                _be_modest()
                _prepare_imports(header)
            _enter(header["folder"])
            # The caller of a job that outlives it reads at the end only: the channel would be full.
            tell = None if header["outlives"] else caller.tell_files
            value = base64.b64encode(_work(pickled, tell)).decode()
            listener = _listen(header["waiting"]) if header["waiting"] else None
            if listener is not None and parent is not None:
                caller.tell("waits")
                if _leaves_the_caller():
                    parent = None
                else:
                    _stop_listening(listener, header["waiting"])
                    listener = None
            done.set()  # what comes from now on is the next job
            caller.tell("value", pickle=value)
        except BaseException as error:  # noqa: BLE001  whatever it is, the caller is told
            if listener is not None:
                _stop_listening(listener, header["waiting"])
            with contextlib.suppress(OSError):  # it has ended
                caller.tell("error", **_described(error))
            os._exit(0)
        caller.close()
        if listener is None or not _has_next(listener, header["waiting"], header["caller"]):
            os._exit(0)  # nothing is left to do, and exit handlers are not ours


def _work(pickled: bytes, tell: Callable[[int, int], None] | None) -> bytes:
    from wsgi_coverage.offload import progress

    function, arguments, keywords = pickle.loads(pickled)  # noqa: S301  the caller's own
    with progress.told_to(tell):
        return pickle.dumps(function(*arguments, **keywords))


def _described(error: BaseException) -> dict[str, Any]:
    refusal = ours = None
    with contextlib.suppress(Exception):
        from wsgi_coverage import errors

        refusal = errors.refusal(error)
        if isinstance(error, errors.WsgiCoverageError):
            ours = base64.b64encode(pickle.dumps(type(error)(str(error)))).decode()
    return {
        "text": f"{type(error).__name__}: {error}",
        "traceback": "".join(traceback.format_exception(error)),
        "refusal": refusal,
        "ours": ours,
    }


def _listen(place: str) -> socket.socket | None:
    """Listen for a next job; None: another process does, or this one uses too much memory."""
    listener = socket.socket(socket.AF_UNIX)
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        if pages * os.sysconf("SC_PAGE_SIZE") <= MOST_MEMORY and hasattr(os, "pidfd_open"):
            before = os.umask(0o177)
            try:
                listener.bind(place)
            finally:
                os.umask(before)
            listener.listen(1)
            return listener
    except (OSError, ValueError):
        pass
    listener.close()
    return None


def _stop_listening(listener: socket.socket, place: str) -> None:
    """Close the socket and remove its file, which is only right directly after `_listen`."""
    listener.close()
    with contextlib.suppress(OSError):
        os.unlink(place)  # noqa: PTH108


def _leaves_the_caller() -> bool:
    """Go on in a process that is no child of the caller; return False if the fork fails."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the thread that watches, which does no harm
        try:
            if os.fork():
                os._exit(0)
        except OSError:
            return False
    return True


def _has_next(listener: socket.socket, place: str, caller: int) -> bool:
    """Wait for a next job, and connect it to standard input; return False if none came.

    A caller that connects during another job is refused, and starts a process of its own.

    Args:
        listener: what `_listen` returned.
        place: the path of its socket; its removal ends this process.
        caller: process id of the caller that sent the last job; its end ends this process.
    """
    devnull = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(devnull, fd)
    os.close(devnull)
    gc.collect()
    deadline = time.monotonic() + JOB_TIMEOUT
    ended, own = -1, None
    try:
        own = os.lstat(place).st_ino
        ended = os.pidfd_open(caller)
        while time.monotonic() < deadline and os.lstat(place).st_ino == own:
            ready = select.select([listener.fileno(), ended], [], [], CHECK_INTERVAL)[0]
            if ended in ready:
                break
            if ready:
                connection, _ = listener.accept()
                with connection:
                    connection.setblocking(True)
                    os.dup2(connection.fileno(), 0)
                return True
    except OSError:
        pass
    finally:
        with contextlib.suppress(OSError):
            if own is not None and os.lstat(place).st_ino == own:
                os.unlink(place)  # noqa: PTH108
        listener.close()
        if ended >= 0:
            os.close(ended)
    return False


def _enter(folder: str | None) -> None:
    """Change to the caller's working directory, at each job: the name may lead to another now.

    If it was removed, change to the root, because coverage.py needs a working directory, and have
    relative names resolved as if it were there.
    """
    try:
        if folder is not None:
            os.chdir(folder)
        os.getcwd()  # noqa: PTH109
    except OSError:
        from wsgi_coverage.system import workdir

        os.chdir(os.sep)
        workdir.note(folder)


def _prepare_imports(header: dict[str, Any]) -> None:
    # After the standard library, so that no module of the application hides one of that.
    sys.path += [path for path in header["path"] if path not in sys.path]
    if header["plugins"]:  # one that is installed editable may be found by a hook of a .pth file
        import site

        for path in header["path"]:
            if Path(path).name in ("site-packages", "dist-packages"):
                site.addsitedir(path)
    # The package without its __init__, which imports the entry points and werkzeug: 60 ms.
    package = types.ModuleType("wsgi_coverage")
    package.__path__ = [header["package"]]
    sys.modules["wsgi_coverage"] = package


def _be_modest() -> None:
    with contextlib.suppress(OSError):
        os.nice(max(NICENESS - os.nice(0), 0))  # inherited if such a process has started this one
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(EXPENDABLE, encoding="ascii")


def _end_with_the_caller(parent: int | None, done: threading.Event) -> None:
    """End this process when the caller ends or closes its socket, until the job is done.

    Args:
        parent: process id of the caller, as a fork of it may hold the socket open longer; None: the
            caller is not the parent of this process.
        done: set when the job is done.
    """
    while parent in (None, os.getppid()) and not done.is_set():
        if select.select([0], [], [], CHECK_INTERVAL)[0]:
            break
    if not done.is_set():
        os._exit(1)


def _close_all_above(highest: int) -> None:
    """Close inherited descriptors that a server's C code has left open, such as its sockets."""
    try:
        open_ones = [int(name) for name in os.listdir("/dev/fd")]  # noqa: PTH208
    except OSError:
        open_ones = list(range(MOST_FDS))
    for fd in open_ones:
        if fd > highest:
            with contextlib.suppress(OSError):
                os.close(fd)


def python_version() -> str:
    """Return what must be equal on both sides for pickles and extension modules to work."""
    return f"{sys.implementation.cache_tag} {sys.hexversion >> 16:x} {getattr(sys, 'abiflags', '')}"


if __name__ == "__main__":
    main()
