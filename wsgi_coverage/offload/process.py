"""Start, watch and reap a child process without any effect on the server.

The child is started by posix_spawn, not by a fork in Python, so no at-fork hooks run, neither ours
nor gevent's. A SIGCHLD handler of the server or application may reap it first: then its exit code
is unknown, and its process id is not used any more. It is in a process group of its own, so that
Ctrl-C ends the server first.

Concurrency: a process belongs to one thread.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

# Not `os`, in which gevent replaces functions by its own, for the main thread only.
_posix: Any = sys.modules.get("posix")

IS_POSSIBLE = hasattr(_posix, "posix_spawn")
CHUNK = 65_536  # bytes
TAIL = 4_000  # bytes of the end of its stderr that are stored
LAST_LINES = 3
SHELL = "/bin/sh"
APART = '"$@" <&3 >&3 3<&- &'
REAP_TIMEOUT = 1.0  # seconds for a process that has closed its socket to end
# Signal handlers are not inherited, but SIG_IGN is.
TO_DEFAULT = ("SIGINT", "SIGTERM", "SIGHUP", "SIGCHLD", "SIGPIPE")


class Peer:
    """A process at the other end of a socket, which is the only source of what is known of it.

    Args:
        connected: the socket, which does not block.
        path: the path of the socket that the process listens on; None: it does not listen.
    """

    def __init__(self, connected: socket.socket, path: str | None = None) -> None:
        self.socket: socket.socket = connected
        self._path = path

    def send(self, data: memoryview) -> int:
        """Send what the socket takes; return the number of bytes: all if it is closed."""
        try:
            return self.socket.send(data[:CHUNK], getattr(socket, "MSG_NOSIGNAL", 0))
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)  # it has ended: its messages, or their absence, tell why

    def receive(self) -> bytes | None:
        """Return the bytes that can be read now; empty at the end; None: there are none yet."""
        try:
            return self.socket.recv(CHUNK)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    @property
    def stderr(self) -> int | None:
        """Descriptor of a pipe from its stderr; None: there is none."""
        return None

    def read_stderr(self) -> bool:
        """Read what it wrote to stderr; return False at the end."""
        return False

    def last_words(self) -> str:
        """Return the last lines that it wrote to stderr."""
        return ""

    def ending(self) -> str:
        """Return a phrase on how it ended; to be called when it has closed its socket."""
        return "ended"

    def has_ended(self) -> bool:
        """Tell whether it is known to have ended, apart from the end of its socket."""
        return False

    def shun(self) -> None:
        """Remove the socket that it listens on, because it does not answer."""
        if self._path is not None:
            end_waiting(self._path)

    def close(self) -> None:
        """Close the socket; the process ends then, if its job is not done."""
        self.socket.close()


def waiting(path: str) -> Peer:
    """Connect to a process that waits for calls on a socket.

    Args:
        path: the path of the socket.

    Raises:
        OSError: no process listens there.
    """
    connected = socket.socket(socket.AF_UNIX)
    connected.setblocking(False)
    try:
        connected.connect(path)
    except OSError as error:
        connected.close()
        if isinstance(error, ConnectionRefusedError):  # it was killed
            end_waiting(path)
        raise
    return Peer(connected, path)


def end_waiting(path: str) -> None:
    """Remove the socket of a process that waits for calls, which then ends within a second.

    Args:
        path: the path of the socket.
    """
    with contextlib.suppress(OSError):
        Path(path).unlink(missing_ok=True)


class Process(Peer):
    """A child process, the socket that is its stdin and stdout, and a pipe from its stderr.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, command: list[str], env: Mapping[str, str]) -> None:
        self._tail = b""
        self._status: int | None = None  # as waitpid returned it
        self._gone = False  # whether it has ended and was reaped, by us or by other code
        self.pid: int
        here, channel = _pair()
        super().__init__(here)
        self._stderr, stderr = os.pipe()
        try:
            self.pid = _spawn(command, env, channel.fileno(), stderr)
        except BaseException:
            self._close_channel()
            raise
        finally:
            channel.close()
            os.close(stderr)
        self.socket.setblocking(False)
        os.set_blocking(self._stderr, False)

    @property
    def stderr(self) -> int | None:
        """Descriptor of a pipe from its stderr."""
        return self._stderr

    def read_stderr(self) -> bool:
        """Read what it wrote to stderr; return False at the end."""
        try:
            chunk = os.read(self._stderr, CHUNK)
        except BlockingIOError:
            return True
        self._tail = (self._tail + chunk)[-TAIL:]
        return bool(chunk)

    def last_words(self) -> str:
        """Return the last lines that it wrote to stderr."""
        with contextlib.suppress(OSError):  # BlockingIOError: there is no more
            while chunk := os.read(self._stderr, CHUNK):
                self._tail = (self._tail + chunk)[-TAIL:]
        lines = self._tail.decode(errors="replace").strip().splitlines()
        return " | ".join(lines[-LAST_LINES:])

    def ending(self) -> str:
        """Return a phrase on how it ended; to be called when it has closed its socket."""
        deadline = time.monotonic() + REAP_TIMEOUT
        while not self.has_ended() and time.monotonic() < deadline:
            time.sleep(0.01)  # it is about to end
        if self._status is None:
            return "ended" if self._gone else "hung up"
        code = os.waitstatus_to_exitcode(self._status)
        if code >= 0:
            return f"ended with exit code {code}"
        with contextlib.suppress(ValueError):
            return f"was killed by {signal.Signals(-code).name}"
        return f"was killed by signal {-code}"

    def has_ended(self) -> bool:
        """Tell whether it has ended."""
        if not self._gone:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                self._gone = True  # other code has reaped it, or SIGCHLD is ignored
            else:
                if pid:
                    self._gone, self._status = True, status
        return self._gone

    def close(self) -> None:
        """Kill it if it runs, and reap it."""
        if not self.has_ended():  # so the process id is still its own
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, 0)
        self._close_channel()

    def _close_channel(self) -> None:
        self.socket.close()
        os.close(self._stderr)


def start_apart(command: list[str], env: Mapping[str, str]) -> socket.socket:
    """Start a process that is no child of this one; return a socket to its stdin and stdout.

    An application that waits for any child of its own would get a child of ours. So a shell starts
    the process and ends at once, and the system gives it another parent. The first process of a
    container adopts it all the same.

    Raises:
        OSError: it cannot be started.
    """
    here, channel = _pair()
    try:
        with _above_stdio(channel.fileno()) as fd:
            pid = _posix.posix_spawn(
                SHELL,
                [SHELL, "-c", APART, SHELL, *command],
                env,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, fd, 3),
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0),
                    (os.POSIX_SPAWN_DUP2, 0, 1),
                    (os.POSIX_SPAWN_DUP2, 0, 2),
                ],
                setpgroup=0,
                setsigmask=[],
                setsigdef=[getattr(signal, name) for name in TO_DEFAULT],
            )
    except BaseException:
        here.close()
        raise
    finally:
        channel.close()
    with contextlib.suppress(ChildProcessError):  # other code has reaped it
        os.waitpid(pid, 0)
    here.setblocking(False)
    return here


def _pair() -> tuple[socket.socket, socket.socket]:
    """Return both ends of a channel: the caller's, and the other process's, which blocks."""
    here, there = socket.socketpair()
    os.set_blocking(there.fileno(), True)  # gevent's sockets do not block
    return here, there


def _spawn(command: list[str], env: Mapping[str, str], channel: int, stderr: int) -> int:
    with _above_stdio(channel) as channel, _above_stdio(stderr) as stderr:
        pid: int = _posix.posix_spawn(
            command[0],
            command,
            env,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, channel, 0),
                (os.POSIX_SPAWN_DUP2, channel, 1),
                (os.POSIX_SPAWN_DUP2, stderr, 2),
            ],
            setpgroup=0,
            setsigmask=[],
            setsigdef=[getattr(signal, name) for name in TO_DEFAULT],
        )
        return pid


@contextlib.contextmanager
def _above_stdio(fd: int) -> Iterator[int]:
    """Duplicate a descriptor above the standard ones, which a server may have closed."""
    import fcntl  # not everywhere, as posix_spawn

    duplicate = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    try:
        yield duplicate
    finally:
        os.close(duplicate)
