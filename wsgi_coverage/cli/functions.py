"""`wsgi-coverage functions URL`: the figures of every function. No state."""

from __future__ import annotations

import argparse
from typing import Any

from wsgi_coverage.cli import asking, output

COLUMNS = {
    "file": "file",
    "line": "line",
    "name": "function",
    "statements": "statements",
    "covered": "covered",
    "runtime": "at runtime",
    "ran": "ran",
}


def add(commands: Any) -> None:
    """Declare the command."""
    parser = asking.command(
        commands, "functions", "list the published report's figures, function by function"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--unused",
        action="store_const",
        const=True,
        default=False,
        help="only those that never ran, neither at load nor at runtime",
    )
    which.add_argument(
        "--not-at-runtime",
        dest="unused",
        action="store_const",
        const="runtime",
        help="only those that never ran, and those that ran at load only",
    )
    asking.add_snapshot(parser)
    asking.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run it; return the exit code."""
    client = asking.client(arguments)
    found = client.functions(unused=arguments.unused, snapshot=arguments.snapshot)
    if arguments.json:
        output.show_json(found)
    else:
        output.table(found, COLUMNS, left=["file", "name", "ran"])
        output.say_what_is_not_exact(found)
        output.say_what_is_unknown(found, "reason")
    return asking.OK
