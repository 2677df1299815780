"""`wsgi-coverage reset URL`: forget every line executed so far, in every worker. No state."""

from __future__ import annotations

import argparse
from typing import Any

from wsgi_coverage.cli import asking


def add(commands: Any) -> None:
    """Declare the command."""
    parser = asking.command(
        commands,
        "reset",
        "forget every line executed so far, in every worker",
        ends=asking.ENDS_INCOMPLETE,
    )
    asking.add_wait(parser)
    asking.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run it; return the exit code."""
    answer = asking.client(arguments).reset(wait=arguments.wait)
    return asking.done(answer, "forgotten by", as_json=arguments.json)
