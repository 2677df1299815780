"""`wsgi-coverage snapshot URL`: keep a report of everything executed up to now. No state."""

from __future__ import annotations

import argparse
from typing import Any

from wsgi_coverage.cli import asking, output

DESCRIPTION = """\
Keep a report of everything executed up to now, and print its id. The published report stays as it
is.
"""


def add(commands: Any) -> None:
    """Declare the command."""
    parser = asking.command(
        commands,
        "snapshot",
        "keep a report of everything executed up to now",
        DESCRIPTION,
        ends=asking.ENDS_INCOMPLETE,
    )
    parser.add_argument("--label", help="is kept with it")
    parser.add_argument(
        "--reset", action="store_true", help="and forget all of it, in the same step"
    )
    asking.add_wait(parser)
    asking.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run it; return the exit code."""
    answer = asking.client(arguments).snapshot(
        label=arguments.label, reset=arguments.reset, wait=arguments.wait
    )
    if arguments.json:
        output.show_json(answer)
    else:
        output.show(answer["id"])
    return asking.gathered(answer)
