"""`wsgi-coverage diff URL A [B]`: the lines that only one of two reports has. No state."""

from __future__ import annotations

import argparse
from typing import Any

from wsgi_coverage.cli import asking

DESCRIPTION = """\
Show the lines, and branches, that only one of two reports has, per file. A and B are ids of
snapshots, or `current` for the published report.
"""


def add(commands: Any) -> None:
    """Declare the command."""
    parser = asking.command(
        commands, "diff", "show the lines that only one of two reports has", DESCRIPTION
    )
    parser.add_argument("a", metavar="A", help="a snapshot's id, or current")
    parser.add_argument("b", metavar="B", nargs="?", default="current", help="default: current")
    asking.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run it; return the exit code."""
    answer = asking.client(arguments).diff(arguments.a, arguments.b)
    asking.show_json(answer)
    return asking.OK
