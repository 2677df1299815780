"""Front door for the terminal: `wsgi-coverage`.

What was asked for goes to stdout, narration and errors to stderr. Exit codes: 0 done, 1 failed, 2
wrong usage; a command that has more says so. Each command is a module with `add`, which declares
its arguments, and `run`, which returns the exit code. Runs once, in the main thread.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import wsgi_coverage
from wsgi_coverage.cli import demo, health, run, test
from wsgi_coverage.errors import WsgiCoverageError

COMMANDS = (demo, health, run, test)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: the arguments; None: the process's.

    Returns:
        The exit code.

    Raises:
        SystemExit: argparse's, after ``--help``, ``--version`` (0) and wrong usage (2).
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.run is None:
        parser.print_help(sys.stderr)
        return 2
    try:
        code: int = arguments.run(arguments)
    except WsgiCoverageError as error:
        print(f"wsgi-coverage: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of a pipe has gone, as in `wsgi-coverage … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wsgi-coverage",
        description="Live code coverage for running Python web applications.",
        epilog="'wsgi-coverage COMMAND --help' tells more about a command.",
    )
    parser.add_argument(
        "--version", action="version", version=f"wsgi-coverage {wsgi_coverage.__version__}"
    )
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser
