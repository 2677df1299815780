"""`wsgi-coverage run`: run a program measured, with its dashboard on a side port. No state."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from typing import Any, NoReturn

from wsgi_coverage import bounds
from wsgi_coverage import settings as settings_module
from wsgi_coverage.cli.asking import whole_number
from wsgi_coverage.cli.program import Program
from wsgi_coverage.collect import children
from wsgi_coverage.collect.labels.serving import Labels
from wsgi_coverage.errors import NotMeasuringError, SettingsError
from wsgi_coverage.settings import OF_PROGRAMS, SIDE_PORT, URL_PREFIX, Settings
from wsgi_coverage.sideport import program as beside
from wsgi_coverage.sideport import server as sideport
from wsgi_coverage.store.days import DaysKept
from wsgi_coverage.system import interrupt

VARIABLE = "COVERAGE_PORT"
DATA_FOLDER = "COVERAGE_DATA_DIR"  # py-coverage-http's
DATA_FILE = "COVERAGE_FILE"  # coverage.py's, which says more
DEFAULT_HOST = "127.0.0.1"

DESCRIPTION = f"""\
Run a Python program, measured from its first line, as 'python script.py …' or 'python -m module …'
would. Its forks, and the Python processes that it starts, are measured too.

While it runs, a port of its own answers: the dashboard at {URL_PREFIX}/, all data at /coverage,
and /coverage/reset. At the end its data files lie where 'coverage combine' looks for them.
"""


def add(commands: Any) -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        "run",
        help="run any Python program, measured, with a dashboard on a port of its own",
        usage="wsgi-coverage run [-h] [--port N] [--host HOST] [--insecure] "
        "(SCRIPT | -m MODULE) [ARGUMENT ...]",
        description=DESCRIPTION,
        epilog="exit code: the program's; 1 if it could not be started, 2 for wrong usage",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--port",
        type=whole_number(0, bounds.MAX_PORT),
        metavar="N",
        help=f"where to answer; 0 takes any free port (default: {VARIABLE}, or {SIDE_PORT})",
    )
    parser.add_argument(
        "--host", default=DEFAULT_HOST, help=f"the address to answer on (default: {DEFAULT_HOST})"
    )
    parser.add_argument(
        "--insecure",
        action="store_true",
        help="answer everybody who reaches the port, without a password",
    )
    parser.add_argument(
        "-m",
        dest="module",
        nargs=argparse.REMAINDER,
        metavar="MODULE",
        help="run a module, as python -m does",
    )
    parser.add_argument(
        "script", nargs=argparse.REMAINDER, metavar="SCRIPT", help="run a script, as python does"
    )
    parser.set_defaults(run=run, usage_error=parser.error)


def run(arguments: argparse.Namespace) -> NoReturn:
    """Run the program; the process ends with it."""
    ctrl_c = interrupt.Hold()  # else Ctrl-C during the start could leave the memory behind
    command = arguments.module if arguments.module is not None else arguments.script
    if arguments.module is None and command[:1] == ["--"]:
        command = command[1:]
    if not command:
        arguments.usage_error("name a script, or a module by -m")
    port = _port_of_environment() if arguments.port is None else arguments.port
    program = Program(command, is_module=arguments.module is not None)
    settings = settings_module.load({}, env=os.environ, defaults=OF_PROGRAMS)
    if not settings.disabled:
        _measure(settings, arguments.host, port, is_insecure=arguments.insecure)
    program.run(ctrl_c)
    sys.exit(0)  # the command's own handling of stdout errors is not for the program's output


def _measure(settings: Settings, host: str, port: int, *, is_insecure: bool) -> None:
    if children.is_below_another(os.environ):
        children.start()  # a program that has started itself anew: the first process has the port
        return
    if not beside.leave(host, port, insecure=is_insecure):
        return  # after an exec by the program: the port is served already, or may not be
    beside.admitting(settings, host, insecure=is_insecure)  # refuse before anything is begun
    try:
        listening = sideport.bind(host, port)
    except OSError as error:
        raise SettingsError(
            f"port {port} on {host} cannot be used: {error.strerror or error}; name another by "
            f"--port or {VARIABLE}, 0 takes any free one"
        ) from None
    try:
        with settings.reading_config_file():
            worker = children.begin(
                os.environ,
                config_file=settings.config_file,
                branch=settings.branch,
                interval=settings.autosave_interval,
                data_folder=_data_folder(),
                days=DaysKept(settings.seen_days, settings.release or ""),
                labels=Labels(settings.labels, settings.contexts_include),
            )
    except OSError as error:
        listening.close()
        raise NotMeasuringError(f"measuring cannot be started: {error}") from error
    except SettingsError:
        listening.close()
        raise
    address = _address(listening)
    beside.serve(worker, settings, listening, host=host, insecure=is_insecure)
    print(f"wsgi-coverage: {address}{URL_PREFIX}/", file=sys.stderr, flush=True)


def _data_folder() -> str | None:
    return None if os.environ.get(DATA_FILE) else os.environ.get(DATA_FOLDER) or None


def _port_of_environment() -> int:
    raw = os.environ.get(VARIABLE, "").strip()
    if not raw:
        return SIDE_PORT
    try:
        return bounds.whole_number(raw, 0, bounds.MAX_PORT)
    except ValueError as error:
        raise SettingsError(f"{VARIABLE} {error}, got {raw!r}") from None


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
