"""`wsgi-coverage demo`: serve the shop, send it requests, print what ran.

Concurrency: one thread. A signal writes a byte to a pipe, which every wait checks; so the server is
ended at one place only, and in order.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wsgi_coverage.collect.engines.core import check_python
from wsgi_coverage.demo.server import FAVOURITE_PORT, HOST, SHOP, ShopServer, bind
from wsgi_coverage.demo.traffic import TOTAL, Browser, drive
from wsgi_coverage.settings import URL_PREFIX
from wsgi_coverage.system import terminal

START_TIMEOUT = 60.0  # seconds until the server has to answer
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SHOWN = 4  # files, and functions of a file


class _Stopped(Exception):  # noqa: N818  it is not an error
    """Ctrl-C was pressed, or SIGTERM came."""


class _Failed(Exception):  # noqa: N818  told in one line
    """The demo cannot go on; the text says why."""


def run(port: int | None, workers: int) -> int:
    """Run the demo until Ctrl-C or SIGTERM.

    Args:
        port: where to serve; 0 for any free port; None for 8000, or any where that is taken.
        workers: processes to serve with.

    Returns:
        The exit code: 0 after Ctrl-C or SIGTERM, 1 where it could not run.

    Raises:
        UnsupportedPythonError: this Python cannot measure.
    """
    check_python()
    with _signals() as stop, contextlib.ExitStack() as stack:
        try:
            try:
                listening = stack.enter_context(bind(port))
            except OSError as error:
                raise _Failed(
                    f"port {port} on {HOST} cannot be used: {error.strerror or error}"
                ) from None
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wsgi-coverage-")))
            server = ShopServer(listening, folder.resolve(), workers)
            if port is None and not server.address.endswith(f":{FAVOURITE_PORT}"):
                _say(f"Port {FAVOURITE_PORT} is taken, so another one is used.")
            _say(f"Starting the shop under {server.description}.")
            stack.enter_context(server)
            try:
                _visit(server, stop)
                _say("Press Ctrl-C to end.")
                _wait(server, stop)
            except (OSError, RuntimeError, ValueError) as error:
                if isinstance(error, BrokenPipeError):
                    raise
                raise _Failed(f"{error}\n{server.log_tail()}".rstrip()) from None
        except _Stopped:
            _say("Ending the server.")
        except _Failed as failure:
            _say(f"wsgi-coverage demo: {failure}")
            return 1
    return 0


class _SignalPipe:
    """A pipe that a signal makes readable."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def check(self, timeout: float = 0.0) -> None:
        """Wait for a signal, for `timeout` seconds at most.

        Raises:
            _Stopped: a signal has come.
        """
        if select.select([self._pipe], [], [], timeout)[0]:
            raise _Stopped


@contextlib.contextmanager
def _signals() -> Iterator[_SignalPipe]:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def note(*_: object) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(writing, b"!")

    caught = [n for n in SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]  # nohup ignores one
    before = {number: signal.signal(number, note) for number in caught}
    try:
        yield _SignalPipe(reading)
    finally:
        for number, former in before.items():
            signal.signal(number, former)
        os.close(reading)
        os.close(writing)


def _visit(server: ShopServer, stop: _SignalPipe) -> None:
    """Wait for the shop, send the requests, refresh, and print the findings."""
    _await(server, stop)
    for made in drive(server.address):
        stop.check()
        _progress(made)
    browser = Browser(server.address)
    report = browser.json(f"{URL_PREFIX}/refresh", method="POST")
    stop.check()
    files = browser.json(f"{URL_PREFIX}/files")
    functions = browser.json(f"{URL_PREFIX}/functions?unused=runtime")
    print("\n".join(_findings(server.address, report, files, functions)), flush=True)


def _await(server: ShopServer, stop: _SignalPipe) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while not server.has_ended() and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if Browser(server.address).open("/") == 200:
                return
        stop.check(0.05)
    raise RuntimeError("the server does not answer; the end of its log:")


def _wait(server: ShopServer, stop: _SignalPipe) -> None:
    while not server.has_ended():
        stop.check(1.0)
    raise RuntimeError("the server has ended by itself; the end of its log:")


def _findings(
    address: str, report: dict[str, Any], files: list[Any], functions: list[Any]
) -> list[str]:
    """Return the lines to print; every figure is from the dashboard's endpoints."""
    summary = report["summary"]
    workers = len(report["workers"])
    ranked = sorted(
        (file for file in files if file["percent"] is not None),
        key=lambda file: (file["percent"], file["file"]),
    )
    return [
        "",
        f"Shop       {address}/",
        f"Dashboard  {address}{URL_PREFIX}/",
        f"Coverage   {summary['percent']} % of {summary['statements']} statements in "
        f"{summary['files']} files, executed by {workers} worker{'' if workers == 1 else 's'}",
        "",
        "Least executed",
        *(f"  {file['percent']:6.2f} %  {_short(file['file'])}" for file in ranked[:SHOWN]),
        "",
        f"Functions that never ran: {summary['unused_functions']}",
        *_by_file(functions, "never"),
        "",
        f"Functions that ran at load only: {summary['load_only_functions']}",
        *_by_file(functions, "at load only"),
        "",
    ]


def _by_file(functions: list[Any], ran: str) -> list[str]:
    """Return the names of the functions whose `ran` has this value, a line for each file."""
    found: dict[str, list[str]] = {}
    for each in functions:
        if each["ran"] == ran:
            found.setdefault(_short(each["file"]), []).append(each["name"])
    return [f"  {name}: {_some(names)}" for name, names in sorted(found.items())]


def _short(file: str) -> str:
    return str(Path(file).relative_to(SHOP)) if Path(file).is_relative_to(SHOP) else file


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _progress(made: int) -> None:
    """Show the number of requests: a progress line on a terminal, else a line for each quarter."""
    if sys.stderr.isatty():
        bar = "#" * (30 * made // TOTAL)
        end = "\n" if made == TOTAL else ""
        terminal.show(f"{made:4} of {TOTAL} requests [{bar:30}]", end=end)
    elif made % (TOTAL // 4) == 0:
        _say(f"{made} of {TOTAL} requests")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
