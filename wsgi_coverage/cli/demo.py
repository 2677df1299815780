"""The command `wsgi-coverage demo`: its arguments. No state."""

from __future__ import annotations

import argparse
from typing import Any

from wsgi_coverage.bounds import MAX_PORT
from wsgi_coverage.cli.asking import whole_number
from wsgi_coverage.demo import run as demo_run

MAX_WORKERS = 32

DESCRIPTION = """\
Serve a small shop on this machine, measured by wsgi-coverage, send it requests, and show
which of its code ran. The shop and its dashboard stay up until Ctrl-C; nothing is left behind.

gunicorn serves where it is installed (the extra 'demo' installs it), else werkzeug's server does.
"""


def add(commands: Any) -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        "demo",
        help="serve a small shop, measured, and show which of its code ran",
        description=DESCRIPTION,
        epilog="exit code: 0 after Ctrl-C or SIGTERM, 1 if it could not run, 2 for wrong usage",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--port",
        type=whole_number(0, MAX_PORT),
        metavar="N",
        help="where to serve on 127.0.0.1; 0 takes any free port (default: 8000 if it is free)",
    )
    parser.add_argument(
        "--workers",
        type=whole_number(1, MAX_WORKERS),
        default=2,
        metavar="N",
        help=f"gunicorn's worker processes, 1 to {MAX_WORKERS} (default: 2)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; return the exit code."""
    return demo_run.run(arguments.port, arguments.workers)
