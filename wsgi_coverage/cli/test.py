"""`wsgi-coverage test`: start a server measured, run a command against it, report.

Concurrency: one thread. A signal only sets a number, which every wait looks at; so the server is
ended at one place only.

Exit codes: the command's; if it succeeded, 2 where less was executed than required, 3 where the
server failed; 2 for wrong usage; 128 and the signal's number after a signal.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from wsgi_coverage import settings as settings_module
from wsgi_coverage.cli.asking import number
from wsgi_coverage.cli.server import CHECK_INTERVAL, Server, ServerError, is_listened_at
from wsgi_coverage.collect import children
from wsgi_coverage.collect.labels.serving import Labels
from wsgi_coverage.collect.saves import saving
from wsgi_coverage.compat import configuration
from wsgi_coverage.data import stamp
from wsgi_coverage.data.reading import Reading
from wsgi_coverage.report.test_run import Outcome, conclude
from wsgi_coverage.store.channel import HAS_SOCKETS, Verb, call_all
from wsgi_coverage.store.memory import open_if_there
from wsgi_coverage.store.private import SHARED_MEMORY, private_folder

NOT_ENOUGH, NO_SERVER = 2, 3
TIMEOUT = 60.0  # seconds
TIMEOUTS = (0.1, 86_400.0)  # seconds, from and to
FLUSH_TIMEOUT = 10.0  # seconds for all processes of the server to flush
COMMAND_TIMEOUT = 5.0  # seconds for the command to end after a signal
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
NOT_INHERITED = ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG", "COVERAGE_FILE")

DESCRIPTION = """\
Start a server measured, wait until it answers, run a command, end the server, write .coverage, and
print the text report on the server's code. The server is any command whose Python has wsgi-coverage
installed; all processes that it starts are measured.
"""


class _NotedSignal:
    """The signal that came, if any: looked up instead of raised, so that no step is interrupted."""

    number: int | None = None

    def note(self, number: int, _: object) -> None:
        self.number = number

    def __call__(self) -> bool:
        return self.number is not None


def add(commands: Any) -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        "test",
        help="start a server measured, run tests against it, and report",
        usage="wsgi-coverage test [-h] --server COMMAND --url URL [--timeout SECONDS] "
        "[--html DIR] [--fail-under PERCENT] -- COMMAND [ARGUMENT ...]",
        description=DESCRIPTION,
        epilog="exit code: the command's; where it succeeds, 2 if less was executed than required "
        "and 3 if the server did not answer, died, or did not end; 2 for wrong usage",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--server",
        required=True,
        metavar="COMMAND",
        help="what starts the server: 'gunicorn -w 2 app:app', for instance",
    )
    parser.add_argument(
        "--url", required=True, type=_url, help="where the server answers once it has started"
    )
    parser.add_argument(
        "--timeout",
        type=number(*TIMEOUTS, "seconds"),
        default=TIMEOUT,
        metavar="SECONDS",
        help=f"how long the server may take to answer, and to end (default: {TIMEOUT:g})",
    )
    parser.add_argument(
        "--html", type=Path, metavar="DIR", help="write coverage.py's HTML report there, too"
    )
    parser.add_argument(
        "--fail-under",
        type=number(0, 100, "percent"),
        metavar="PERCENT",
        help="how much has to be executed (default: coverage.py's configuration)",
    )
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="COMMAND", help="what tests the server"
    )
    parser.set_defaults(run=run, usage_error=parser.error)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; return the exit code."""
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    server_command = _server_command(arguments)
    if not command:
        arguments.usage_error("name the command that tests the server, after --")
    settings = settings_module.load({}, env=os.environ, defaults=settings_module.OF_PROGRAMS)
    with _signals() as stop, _work_folder() as made:
        folder = Path(made).resolve()
        data_file = folder / ".coverage"
        env = {k: v for k, v in os.environ.items() if k not in NOT_INHERITED}
        with settings.reading_config_file():
            cov = children.announce_only(
                env,
                config_file=settings.config_file,
                branch=settings.branch,
                data_file=data_file,
                interval=settings.autosave_interval,
                labels=Labels(settings.labels, settings.contexts_include),
            )
        private = private_folder(data_file)
        try:
            code, is_well = _serve_and_test(arguments, server_command, command, env, folder, stop)
            if code is None:
                return NO_SERVER
            if stop.number is not None:
                return 128 + stop.number
            memory = open_if_there(private)
            readings = [] if memory is None else [memory.read()]
            data_files = sorted(folder.glob(f"{data_file.name}*"))
            executed = _executed(data_files, readings)
            workspace = folder / "report"
            workspace.mkdir()
            outcome = conclude(
                configuration.of(cov),
                data_files,
                workspace,
                could_run=children.could_run(cov, executed) if executed else (),
                text=sys.stdout,
                html=arguments.html,
                required=arguments.fail_under,
                memory=readings,
            )
        finally:
            saving.discard(private)
        if stop():
            return 128 + (stop.number or 0)
        return _verdict(code, outcome, is_well=is_well)


def _executed(data_files: Iterable[Path], readings: Iterable[Reading]) -> set[str]:
    """Return the names of files that the server has executed."""
    found = {name for reading in readings for name in reading.names()}
    for path in data_files:
        with contextlib.suppress(sqlite3.Error):  # the report says so
            found.update(stamp.measured_files(path))
    return found


def _work_folder() -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="wsgi-coverage-")
    except OSError:  # read-only
        return tempfile.TemporaryDirectory(prefix="wsgi-coverage-", dir=SHARED_MEMORY)


def _serve_and_test(
    arguments: argparse.Namespace,
    server_command: list[str],
    command: list[str],
    env: dict[str, str],
    folder: Path,
    stop: _NotedSignal,
) -> tuple[int | None, bool]:
    """Start the server, run the command, end the server.

    Returns:
        The command's exit code (None: it was not run), and whether the server worked as expected.
    """
    if is_listened_at(arguments.url):
        _say(f"another program listens at {arguments.url} already")
        return None, False
    try:
        server = Server(server_command, env, folder / "server.log")
    except ServerError as error:
        _say(str(error))
        return None, False
    code, is_well = None, True
    try:
        server.wait_until_it_answers(arguments.url, timeout=arguments.timeout, stopped=stop)
        if not stop():
            code = _run(command, stop)
            server.check_that_it_is_well()
        if not stop():
            _flush(private_folder(folder / ".coverage"))
    except ServerError as error:
        is_well = False
        _say(f"{error}; {server.last_lines()}")
    finally:
        hurry = _NotedSignal()
        with _noting(hurry):
            is_in_order = server.end(timeout=arguments.timeout, hurried=hurry)
    stop.number = stop.number or hurry.number
    if not is_in_order and not hurry():
        is_well = False
        _say(
            f"the server did not end within {arguments.timeout:g} seconds, neither by SIGINT nor "
            f"by SIGTERM, and was killed; {server.last_lines()}"
        )
    return (128 + stop.number if stop.number is not None else code), is_well


def _run(command: Sequence[str], stop: _NotedSignal) -> int:
    """Run the tests; return their exit code as a shell does: 128 and the number for a signal."""
    try:
        process = subprocess.Popen(command)
    except OSError as error:
        _say(f"{command[0]!r} cannot be started: {error.strerror or error}")
        return 127 if isinstance(error, FileNotFoundError) else 126
    while process.poll() is None and not stop():
        time.sleep(CHECK_INTERVAL)
    if process.poll() is None:  # a terminal's Ctrl-C has reached it, too
        if stop.number != signal.SIGINT:
            process.terminate()
        for end in (process.terminate, process.kill):
            try:
                process.wait(COMMAND_TIMEOUT)
            except subprocess.TimeoutExpired:
                end()
    code = process.wait()
    return code if code >= 0 else 128 - code


def _flush(private: Path) -> None:
    """Have all processes of the server flush, so that no line is lost however they end."""
    answers = call_all(private, Verb.FLUSH, wait=FLUSH_TIMEOUT) if HAS_SOCKETS else []
    for each in answers:
        if not each["answered"] or not each["fresh"]:
            why = each.get("error") or "no answer in time"
            _say(f"process {each['pid']} of the server did not publish all of its lines: {why}")


def _verdict(code: int, outcome: Outcome, *, is_well: bool) -> int:
    for warning in outcome.warnings:
        _say(warning)
    if outcome.percent is None:
        _say(
            "nothing was measured: wsgi-coverage has to be installed in the server's Python, and "
            "coverage.py's configuration has to include its code"
        )
        is_well = False
    if not outcome.is_enough:
        _say(outcome.shortage)
    return code or (NOT_ENOUGH if not outcome.is_enough else 0 if is_well else NO_SERVER)


@contextlib.contextmanager
def _signals() -> Iterator[_NotedSignal]:
    stop = _NotedSignal()
    with _noting(stop):
        yield stop


@contextlib.contextmanager
def _noting(stop: _NotedSignal) -> Iterator[None]:
    caught = [n for n in SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]  # nohup ignores one
    before = {number: signal.signal(number, stop.note) for number in caught}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


def _server_command(arguments: argparse.Namespace) -> list[str]:
    usage_error: Callable[[str], NoReturn] = arguments.usage_error
    try:
        words = shlex.split(arguments.server)
    except ValueError as error:
        usage_error(f"--server cannot be read: {error}")
    if not words:
        usage_error("--server must name a command")
    if "run" in words and any(Path(word).name == "coverage" for word in words[:3]):
        usage_error("--server is measured anyway: name it without 'coverage run'")
    return words


def _url(raw: str) -> str:
    try:
        parts = urlsplit(raw)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port  # raises where it is no port
    except ValueError:
        is_good = False
    if not is_good or not raw.isascii() or any(character <= " " for character in raw):
        raise argparse.ArgumentTypeError(
            f"must be an address such as http://127.0.0.1:8000/, got {raw!r}"
        )
    return raw


def _say(text: str) -> None:
    print(f"wsgi-coverage: {text}", file=sys.stderr, flush=True)
