"""The command `wsgi-coverage`: parse its arguments, run a subcommand, turn errors to exit codes.

Results go to stdout, progress, warnings and errors to stderr. Exit codes: 0 done, 1 failed, 2 wrong
usage; commands with more exit codes document them. The commands that send requests to one dashboard
are rows of a table; each other one is a module.

Concurrency: a command runs once, in the main thread.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import wsgi_coverage
from wsgi_coverage.cli import affected, collect, dashboard, demo, gate, pods, run, test
from wsgi_coverage.cli.output import say
from wsgi_coverage.client import ClientError
from wsgi_coverage.errors import WsgiCoverageError, is_disk_full
from wsgi_coverage.system import interrupt

# Functions that add a command, its arguments and `run` to the parser; in the help's order.
COMMANDS = (
    demo.add,
    run.add,
    test.add,
    *(command.add for command in dashboard.COMMANDS),
    collect.add,
    gate.add,
    affected.add,
)


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
        with pods.resolved(arguments, say):
            code: int = arguments.run(arguments)
        sys.stdout.flush()
    except ClientError as error:
        say(error)
        return error.exit_code
    except WsgiCoverageError as error:
        say(error)
        return 1
    except KeyboardInterrupt:
        if arguments.run is run.run:
            raise  # the program's own; Python ends the process by it
        return interrupt.INTERRUPTED
    except OSError as error:
        # A closed pipe, as in `wsgi-coverage … | head`, is not reported.
        if is_disk_full(error):
            say("no room on the disk that stdout is written to")
        elif not isinstance(error, BrokenPipeError):
            raise
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
        "-V", "--version", action="version", version=f"wsgi-coverage {wsgi_coverage.__version__}"
    )
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for add in COMMANDS:
        add(commands)
    return parser
