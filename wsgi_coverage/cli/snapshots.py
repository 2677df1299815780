"""`wsgi-coverage snapshots URL`: list them, or delete some. No state."""

from __future__ import annotations

import argparse
from typing import Any

from wsgi_coverage.cli import asking, output

COLUMNS = {"id": "id", "taken_at": "taken at", "size": "bytes", "label": "label"}


def add(commands: Any) -> None:
    """Declare the command."""
    parser = asking.command(commands, "snapshots", "list the snapshots, or delete some")
    parser.add_argument(
        "--delete",
        action="append",
        default=[],
        metavar="ID",
        help="delete this one; may be given again",
    )
    asking.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run it; return the exit code."""
    client = asking.client(arguments)
    for identity in arguments.delete:
        client.delete_snapshot(identity)
    if arguments.delete:
        return asking.OK
    found = client.snapshots()
    if arguments.json:
        output.show_json(found)
    else:
        output.table(found, COLUMNS, left=["id", "taken_at", "label"])
    return asking.OK
