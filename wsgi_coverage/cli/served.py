"""A server as a child process, for `wsgi-coverage test`: started, waited for, ended in order.

Concurrency: one thread. The server is the leader of a session of its own, so that a Ctrl-C in the
terminal does not reach it, and whatever it starts can be ended with it.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

TICK = 0.05  # seconds
ANSWER_PATIENCE = 10.0  # seconds for one request to be answered
GROUP_PATIENCE = 2.0  # seconds for what the server has started to end after it
SHOWN = 20  # last lines of its output

Stopped = Callable[[], bool]  # whether somebody wants this to end


class ServedError(Exception):
    """The server is not as it has to be; the text says why."""


class Served:
    """A server process.

    Args:
        command: what to start.
        env: its environment.
        log: where its output goes.

    Raises:
        ServedError: it cannot be started.
    """

    def __init__(self, command: list[str], env: Mapping[str, str], log: Path) -> None:
        self._log = log
        try:
            with log.open("wb") as output:
                self._process = subprocess.Popen(
                    command,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
        except OSError as error:
            raise ServedError(
                f"the server {command[0]!r} cannot be started: {error.strerror or error}"
            ) from None

    def wait_until_it_answers(self, url: str, *, patience: float, stopped: Stopped) -> None:
        """Wait until there is an answer to a GET, whatever the answer is.

        Args:
            url: what to ask for.
            patience: seconds.
            stopped: asked now and then; true ends the waiting.

        Raises:
            ServedError: the server has ended, or the time is over.
        """
        deadline = time.monotonic() + patience
        while not stopped():
            if (ending := self.ending()) is not None:
                raise ServedError(f"the server {ending} before it answered at {url}")
            left = deadline - time.monotonic()
            if left <= 0:
                raise ServedError(f"the server did not answer at {url} within {patience:g} seconds")
            if answers(url, timeout=min(left, ANSWER_PATIENCE)):
                return
            time.sleep(TICK)

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
            ServedError: it has ended with another exit code than 0.
        """
        if self._process.poll():
            raise ServedError(f"the server {self.ending()} while it was tested")

    def end(self, *, patience: float, hurried: Stopped) -> bool:
        """End it, and all that it has started in its session; return whether it did so in order.

        Args:
            patience: seconds after SIGTERM until it is killed.
            hurried: asked now and then; true kills it at once.
        """
        with contextlib.suppress(ProcessLookupError):
            if self._process.poll() is None:
                os.kill(self._process.pid, signal.SIGTERM)
        in_order = _wait(lambda: self._process.poll() is not None, patience, hurried)
        if in_order and not _wait(self._is_alone, GROUP_PATIENCE, hurried):
            self._signal_group(signal.SIGTERM)
            _wait(self._is_alone, GROUP_PATIENCE, hurried)
        self._signal_group(signal.SIGKILL)
        self._process.wait()
        return in_order

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
        lines = self._log.read_text("utf-8", "replace").splitlines()[-SHOWN:]
        if not lines:
            return "it wrote nothing"
        return "\n".join(["its last lines:", *(f"  {line}" for line in lines)])


def _wait(is_so: Callable[[], bool], patience: float, hurried: Stopped) -> bool:
    deadline = time.monotonic() + patience
    while not is_so():
        if hurried() or time.monotonic() > deadline:
            return False
        time.sleep(TICK)
    return True


def is_listened_at(url: str) -> bool:
    """Tell whether anybody listens where this URL leads."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    with (
        contextlib.suppress(OSError),
        socket.create_connection((parts.hostname, port), ANSWER_PATIENCE),
    ):
        return True
    return False


def answers(url: str, *, timeout: float) -> bool:
    """Tell whether a GET is answered, whatever the answer is.

    Args:
        url: what to ask for.
        timeout: seconds.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    connection: http.client.HTTPConnection
    if parts.scheme == "https":  # a test server's certificate is its own
        context = ssl._create_unverified_context()  # noqa: S323, SLF001
        connection = http.client.HTTPSConnection(host, parts.port, timeout=timeout, context=context)
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=timeout)
    path = parts.path or "/"
    with contextlib.closing(connection):
        try:
            connection.request("GET", f"{path}?{parts.query}" if parts.query else path)
            connection.getresponse()
        except (OSError, http.client.HTTPException):
            return False
    return True
