"""A server as a child process, for `wsgi-coverage test`: started, waited for, ended in order.

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
POLITE = 2  # times that the server may listen and say nothing to it
GROUP_TIMEOUT = 2.0  # seconds for what the server has started to end after it
SHOWN = 20  # last lines of its output
TAIL = 20_000  # bytes that are looked at for them

Stopped = Callable[[], bool]  # whether somebody wants this to end


class ServerError(Exception):
    """The server is not as it has to be; the text says why."""


class Server:
    """A server process.

    Args:
        command: what to start.
        env: its environment.
        log: where its output goes.

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
        """Wait until there is an answer, whatever the answer is.

        Args:
            url: where to ask.
            timeout: seconds.
            stopped: asked now and then; true ends the waiting.

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
        """How it has ended; None: it runs."""
        code = self._process.poll()
        if code is None:
            return None
        if code >= 0:
            return f"ended with exit code {code}"
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(-code).name}"
        return f"was ended by signal {-code}"

    def check_that_it_is_well(self) -> None:
        """After the tests: it runs, or they have ended it in order.

        Raises:
            ServerError: it has ended with another exit code than 0.
        """
        if self._process.poll():
            raise ServerError(f"the server {self.ending()} while it was tested")

    def end(self, *, timeout: float, hurried: Stopped) -> bool:
        """End it, and all that it has started in its session; return whether it did so in order.

        First as Ctrl-C in a terminal does, which the servers for development take for an order to
        end, while SIGTERM ends them on the spot.

        Args:
            timeout: seconds until it is killed; the second half of them after SIGTERM.
            hurried: asked now and then; true kills it at once.
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
        """The last lines of its output, to be shown below a message."""
        with self._log.open("rb") as log:
            log.seek(max(self._log.stat().st_size - TAIL, 0))
            lines = log.read().decode("utf-8", "replace").splitlines()[-SHOWN:]
        if not lines:
            return "it wrote nothing"
        return "\n".join(["its last lines:", *(f"  {line}" for line in lines)])


@contextlib.contextmanager
def _catching_ctrl_c() -> Iterator[None]:
    """What a shell has started in the background ignores it, and so would the server."""
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
    """Tell whether there is an answer, whatever it is.

    What is asked is no HTTP, which every server refuses by itself: none of the application's lines
    runs that the tests do not run.

    Args:
        url: where to ask.
        timeout: seconds.
        really: GET the URL, for a server that says nothing to what is no HTTP.
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
    """Tell whether anybody listens where this URL leads."""
    with (
        contextlib.suppress(OSError),
        socket.create_connection(_address(url), ANSWER_TIMEOUT),
    ):
        return True
    return False


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
