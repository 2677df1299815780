"""Run a server as a child process for `wsgi-coverage test`: start it, wait for it, end it.

Concurrency: one thread. The server is the leader of a session of its own, so that a Ctrl-C in the
terminal does not reach it, and whatever it starts can be ended with it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from wsgi_coverage.system import own_files

CHECK_INTERVAL = 0.05  # seconds
ANSWER_TIMEOUT = 5.0  # seconds for one request to be answered
NO_HTTP = b"wsgi-coverage\r\n\r\n"
POLITE = 2  # after more unanswered tries without HTTP at a listening server, a GET is sent
GROUP_TIMEOUT = 2.0  # seconds for processes that the server has started to end after it
SHOWN = 20  # last lines of its output that are shown
TAIL = 20_000  # bytes of its output that are read for them

Stopped = Callable[[], bool]  # returns whether the wait is to be given up


class ServerError(Exception):
    """The server failed to start, to answer or to run on; the text says how."""


class Server:
    """A server process.

    Args:
        command: the command that starts it.
        env: its environment.
        log: the file for its output.

    Raises:
        ServerError: it cannot be started.
    """

    def __init__(self, command: list[str], env: Mapping[str, str], log: Path) -> None:
        self._log = log
        try:
            own_files.create(log)
            with log.open("wb") as output, _catching_ctrl_c():
                self._process = subprocess.Popen(
                    command,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
        except OSError as error:
            raise ServerError(
                f"the server {command[0]!r} cannot be started: {error.strerror or error}"
            ) from None

    def wait_until_it_answers(self, url: str, *, timeout: float, stopped: Stopped) -> None:
        """Wait until the server answers, whatever the answer is.

        Args:
            url: where to ask.
            timeout: seconds.
            stopped: called now and then; a true result ends the waiting.

        Raises:
            ServerError: the server has ended, or the time is over.
        """
        deadline = time.monotonic() + timeout
        refused = 0
        while not stopped():
            if (ending := self.ending()) is not None:
                raise ServerError(f"the server {ending} before it answered at {url}")
            left = deadline - time.monotonic()
            if left <= 0:
                raise ServerError(f"the server did not answer at {url} within {timeout:g} seconds")
            if answers(url, timeout=min(left, ANSWER_TIMEOUT), really=refused > POLITE):
                return
            refused += is_listened_at(url)
            time.sleep(CHECK_INTERVAL)

    def ending(self) -> str | None:
        """Return how the server has ended, for a message; None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        if code >= 0:
            return f"ended with exit code {code}"
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(-code).name}"
        return f"was ended by signal {-code}"

    def check_that_it_is_well(self) -> None:
        """Check after the tests that the server still runs, or was ended with exit code 0.

        Raises:
            ServerError: it has ended with another exit code than 0.
        """
        if self._process.poll():
            raise ServerError(f"the server {self.ending()} while it was tested")

    def end(self, *, timeout: float, hurried: Stopped) -> bool:
        """End the server and its process group; return whether it ended without being killed.

        SIGINT comes first, as by Ctrl-C in a terminal: development servers shut down cleanly by it,
        while SIGTERM would end them on the spot.

        Args:
            timeout: seconds until the server is killed; SIGTERM is sent after half of them.
            hurried: called now and then; a true result kills the server at once.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            if not _wait(self._has_ended, 0, hurried):
                self._signal_group(number)
                _wait(self._has_ended, timeout / 2, hurried)
        in_order = self._has_ended()
        if in_order and not _wait(self._is_alone, GROUP_TIMEOUT, hurried):
            self._signal_group(signal.SIGTERM)
            _wait(self._is_alone, GROUP_TIMEOUT, hurried)
        self._signal_group(signal.SIGKILL)
        self._process.wait()
        return in_order

    def _has_ended(self) -> bool:
        return self._process.poll() is not None

    def _is_alone(self) -> bool:
        try:
            os.killpg(self._process.pid, 0)
        except OSError:
            return True
        return False

    def _signal_group(self, number: int) -> None:
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, number)

    def last_lines(self) -> str:
        """Return the last lines of the server's output, to be shown below a message."""
        with self._log.open("rb") as log:
            log.seek(max(self._log.stat().st_size - TAIL, 0))
            lines = log.read().decode("utf-8", "replace").splitlines()[-SHOWN:]
        if not lines:
            return "it wrote nothing"
        return "\n".join(["its last lines:", *(f"  {line}" for line in lines)])


@contextlib.contextmanager
def _catching_ctrl_c() -> Iterator[None]:
    """Handle SIGINT in the block, so that a process started there does not inherit "ignore".

    A shell has background processes ignore SIGINT.
    """
    former = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)


def _wait(is_so: Callable[[], bool], timeout: float, hurried: Stopped) -> bool:
    deadline = time.monotonic() + timeout
    while not is_so():
        if hurried() or time.monotonic() >= deadline:
            return False
        time.sleep(CHECK_INTERVAL)
    return True


def answers(url: str, *, timeout: float, really: bool = False) -> bool:
    """Tell whether a server answers at a URL, whatever the answer is.

    Sends something that is no HTTP, which a server refuses by itself, so that no line of the
    application runs that the tests do not run.

    Args:
        url: the URL to try.
        timeout: seconds.
        really: send a GET request, for a server that does not answer to anything else.
    """
    parts = urlsplit(url)
    request = NO_HTTP
    if really:
        target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
        host = parts.netloc.rpartition("@")[2]
        request = f"GET {target} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode("ascii")
    try:
        with contextlib.ExitStack() as stack:
            connection = stack.enter_context(socket.create_connection(_address(url), timeout))
            if parts.scheme == "https":  # a test server's certificate is its own
                context = ssl._create_unverified_context()  # noqa: S323, SLF001
                connection = stack.enter_context(
                    context.wrap_socket(connection, server_hostname=parts.hostname)
                )
            connection.sendall(request)
            return bool(connection.recv(1))
    except OSError:
        return False


def is_listened_at(url: str) -> bool:
    """Tell whether a process listens at the address of a URL."""
    with (
        contextlib.suppress(OSError),
        socket.create_connection(_address(url), ANSWER_TIMEOUT),
    ):
        return True
    return False


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
