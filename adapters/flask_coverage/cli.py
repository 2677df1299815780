"""The ``flask-coverage`` command: the ``flask`` command, measured from before the first import.

Concurrency: runs once, in the main thread.
"""

from __future__ import annotations

import sys

from flask.cli import cli

from flask_coverage.extension import start_early
from wsgi_coverage.errors import WsgiCoverageError

HELP = """\
usage: flask-coverage FLASK-ARGUMENTS...

Starts measuring, then runs the flask command with the same arguments:

    flask-coverage --app myapp run --debug

The application says what is shown and to whom: FlaskCoverage(app).
'flask-coverage routes', 'flask-coverage shell' and the like work too; 'flask --help' has them all.

For gunicorn and other servers set COVERAGE_PROCESS_START, or call start_early() first of all.
"""


def main() -> None:
    """Run the command with the process's arguments."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(HELP)
        return
    try:
        start_early()
    except WsgiCoverageError as error:
        sys.exit(f"flask-coverage: {error}")
    # Leave sys.argv as it is: the reloader starts this same command again.
    cli.main(args=arguments, prog_name="flask-coverage")
