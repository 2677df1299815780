"""`wsgi-coverage pause URL`: measure nothing until 'resume'. No state."""

from __future__ import annotations

import argparse
from typing import Any

from wsgi_coverage.cli import asking


def add(commands: Any) -> None:
    """Declare the command."""
    parser = asking.command(
        commands, "pause", "measure nothing until 'resume'", ends=asking.ENDS_INCOMPLETE
    )
    asking.add_wait(parser)
    asking.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run it; return the exit code."""
    answer = asking.client(arguments).pause(wait=arguments.wait)
    return asking.done(answer, "paused in", as_json=arguments.json)
