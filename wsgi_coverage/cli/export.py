"""`wsgi-coverage export URL`: download a report in any format. No state."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from wsgi_coverage.cli import asking, output

FORMATS = ("coverage", "json", "xml", "lcov", "html")
BINARY = ("coverage", "html")

DESCRIPTION = """\
Download the published report: the combined .coverage file, coverage.py's JSON, XML (Cobertura) or
LCOV report, or its HTML report as a zip archive. A file that is given is there whole afterwards, or
as it was before.
"""


def add(commands: Any) -> None:
    """Declare the command."""
    parser = asking.command(commands, "export", "download the published report", DESCRIPTION)
    parser.add_argument(
        "--format", choices=FORMATS, default="coverage", help="default: coverage, the data file"
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="where to (default: stdout)"
    )
    asking.add_snapshot(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run it; return the exit code."""
    file = arguments.output
    if file is None and arguments.format in BINARY and sys.stdout.isatty():
        output.say("that is nothing for a terminal: name a file with -o")
        return asking.USAGE
    target = sys.stdout.buffer if file is None else file
    asking.client(arguments).export(target, format=arguments.format, snapshot=arguments.snapshot)
    return asking.OK
