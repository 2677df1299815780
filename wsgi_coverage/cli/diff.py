"""`wsgi-coverage diff URL A [B]`: the lines that only one of two reports has. No state."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from wsgi_coverage.cli import asking, output
from wsgi_coverage.client import Diff

DESCRIPTION = """\
Show the lines, and branches, that only one of two reports has, per file. A and B are ids of
snapshots, or `current` for the published report.
"""


def add(commands: Any) -> None:
    """Declare the command."""
    what = "show the lines that only one of two reports has"
    # With A and B after it, a URL that may be left out could not be told from A.
    parser = asking.command(commands, "diff", what, DESCRIPTION, takes_pods=False)
    parser.add_argument("a", metavar="A", help="a snapshot's id, or current")
    parser.add_argument("b", metavar="B", nargs="?", default="current", help="default: current")
    asking.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run it; return the exit code."""
    answer = asking.client(arguments).diff(arguments.a, arguments.b)
    if arguments.json:
        output.show_json(answer)
    else:
        for line in _lines(answer):
            output.show(line)
    return asking.OK


def _lines(answer: Diff) -> Iterator[str]:
    """What to show a reader."""
    a, b = _name(answer["a"]), _name(answer["b"])
    for file in answer["files"]:
        yield file["file"]
        for name, only in ((a, file["only_a"]), (b, file["only_b"])):
            if only is None:
                yield f"  cannot be compared: {file.get('reason')}"
                break
            if only["lines"]:
                yield f"  only in {name}: {output.ranges(only['lines'])}"
            if only.get("branches"):
                branches = ", ".join(f"{start}->{end}" for start, end in only["branches"])
                yield f"  only in {name}, branches: {branches}"
    if not answer["files"]:
        yield f"{a} and {b} have executed the same"


def _name(report: dict[str, Any]) -> str:
    return str(report["id"]) if report["label"] is None else f"{report['id']} ({report['label']})"
