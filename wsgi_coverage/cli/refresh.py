"""`wsgi-coverage refresh URL`: have a new report made. No state."""

from __future__ import annotations

import argparse
from typing import Any

from wsgi_coverage.cli import asking, output


def add(commands: Any) -> None:
    """Declare the command."""
    parser = asking.command(
        commands,
        "refresh",
        "have every worker publish, and a new report made",
        ends=asking.ENDS_INCOMPLETE,
    )
    asking.add_wait(parser)
    asking.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run it; return the exit code."""
    with output.progress_on_terminal() as progress:
        answer = asking.client(arguments).refresh(wait=arguments.wait, progress=progress)
    if arguments.json:
        output.show_json(answer)
    else:
        output.show(_sentence(answer["summary"]))
    for warning in answer["warnings"]:
        output.say(warning)
    return asking.gathered(answer)


def _sentence(summary: dict[str, Any]) -> str:
    percent = summary.get("percent")
    if percent is None:
        return f"no figures: {summary.get('reason') or 'no data yet'}"
    statements = output.plural(summary["statements"], "statement")
    return f"{percent:.2f} % of {statements} in {output.plural(summary['files'], 'file')}"
