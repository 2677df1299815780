"""`wsgi-coverage report URL`: the text report. No state."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from wsgi_coverage.cli import asking, output

DESCRIPTION = """\
Print the published report, as `coverage report` would. `wsgi-coverage refresh` makes a new one.
"""


def add(commands: Any) -> None:
    """Declare the command."""
    parser = asking.command(commands, "report", "print the published report", DESCRIPTION)
    asking.add_snapshot(parser)
    parser.add_argument("--json", action="store_true", help="print coverage.py's JSON report")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run it; return the exit code."""
    client = asking.client(arguments)
    if not arguments.json:
        output.show(client.report(snapshot=arguments.snapshot).rstrip("\n"))
        return asking.OK
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "report.json")
        client.export(target, format="json", snapshot=arguments.snapshot)
        output.show_json(json.loads(target.read_bytes()))
    return asking.OK
