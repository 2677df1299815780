"""`wsgi-coverage affected URL --diff main`: list the tests to run for a change. No state.

Further exit code: 5 where the change may concern every label.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from wsgi_coverage.cli import asking, output

EVERY = 5

DESCRIPTION = """\
List the labels for which code ran that has changed in this checkout since a revision: the tests to
run. A change of which that cannot be told concerns every label; all
are listed then, and stderr says why.
"""
ENDS = f"{asking.ENDS}, 5 the change may concern every label"


def add(commands: Any) -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        "affected",
        help="list the labels for which code ran that has changed since a revision",
        description=DESCRIPTION + asking.ABOUT_URL,
        epilog=ENDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    asking.add_url(parser, "url", "?")
    asking.add_access(parser)
    parser.add_argument(
        "--diff",
        required=True,
        metavar="REVISION",
        help="a branch, a tag or a commit; the comparison begins at the merge base",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FILE",
        help="a data file that was exported, instead of a dashboard",
    )
    parser.add_argument(
        "--ignore",
        action="append",
        default=[],
        metavar="PATTERN",
        help="files that concern no label, docs/* for instance; may be given again",
    )
    asking.add_snapshot(parser)
    parser.add_argument("--json", action="store_true", help="print the labels and reasons as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; return the exit code."""
    from wsgi_coverage.client.affected import affected_by_change  # coverage.py is slow to import

    if (arguments.url is None) == (arguments.data is None):
        raise asking.WrongUsageError(
            "name either a dashboard by its URL, or a data file by --data, and not both"
        )
    found = affected_by_change(
        arguments.data or asking.client(arguments),
        Path(),
        arguments.diff,
        snapshot=arguments.snapshot,
        ignored=arguments.ignore,
    )
    reasons = found.reasons()
    labels = sorted(found.known if reasons else found.labels)
    if arguments.json:
        output.show_json(
            {"every": bool(reasons), "reasons": reasons, "labels": labels, "of": len(found.known)}
        )
    else:
        output.show_lines(labels)
        for reason in reasons:
            output.say(f"every label may be concerned: {reason}")
    return EVERY if reasons else asking.OK
