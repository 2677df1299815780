"""`wsgi-coverage files URL`: the figures of every file. No state."""

from __future__ import annotations

import argparse
from typing import Any

from wsgi_coverage.cli import asking, output

COLUMNS = {
    "file": "file",
    "statements": "statements",
    "missing": "missing",
    "branches": "branches",
    "missing_branches": "missing",
    "percent": "percent",
    "load_only": "load only",
    "runtime": "at runtime",
    "runtime_percent": "percent",
    "ran": "ran",
}


def add(commands: Any) -> None:
    """Declare the command."""
    parser = asking.command(commands, "files", "list the published report's figures, file by file")
    asking.add_snapshot(parser)
    asking.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run it; return the exit code."""
    found = asking.client(arguments).files(snapshot=arguments.snapshot)
    if arguments.json:
        output.show_json(found)
        return asking.OK
    there = {key for each in found for key in each}
    columns = {key: name for key, name in COLUMNS.items() if key in there or key == "file"}
    output.table(found, columns, left=["file", "ran"])
    output.say_what_is_not_exact(found)
    output.say_what_is_unknown(found, "runtime_reason")
    for each in found:
        if each["statements"] is None:
            output.say(f"{each['file']} has no figures: {each.get('reason')}")
    return asking.OK
