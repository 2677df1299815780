"""`wsgi-coverage resume URL`: measure again after a pause. No state."""

from __future__ import annotations

import argparse
from typing import Any

from wsgi_coverage.cli import asking


def add(commands: Any) -> None:
    """Declare the command."""
    parser = asking.command(
        commands, "resume", "measure again after a pause", ends=asking.ENDS_INCOMPLETE
    )
    asking.add_wait(parser)
    asking.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run it; return the exit code."""
    answer = asking.client(arguments).resume(wait=arguments.wait)
    return asking.done(answer, "measuring in", as_json=arguments.json)
