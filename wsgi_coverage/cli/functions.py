"""`wsgi-coverage functions URL`: the figures of every function. No state."""

from __future__ import annotations

import argparse
from typing import Any

from wsgi_coverage.cli import asking

COLUMNS = {
    "file": "file",
    "line": "line",
    "name": "function",
    "statements": "statements",
    "covered": "covered",
    "runtime": "at runtime",
}


def add(commands: Any) -> None:
    """Declare the command."""
    parser = asking.command(
        commands, "functions", "list the published report's figures, function by function"
    )
    parser.add_argument(
        "--unused", action="store_true", help="only those of which nothing ran at runtime"
    )
    asking.add_snapshot(parser)
    asking.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run it; return the exit code."""
    client = asking.client(arguments)
    found = client.functions(unused=arguments.unused, snapshot=arguments.snapshot)
    if arguments.json:
        asking.show_json(found)
    else:
        asking.table(found, COLUMNS, left=["file", "name"])
    return asking.OK
