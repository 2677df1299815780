"""Serve the shop by werkzeug's server, where gunicorn is not installed.

`python -m wsgi_coverage.demo.serve FD`

Concurrency: a process of its own; each request has a thread of werkzeug's.
"""

from __future__ import annotations

import os
import socket
import sys

from werkzeug.serving import WSGIRequestHandler, make_server

from wsgi_coverage.collect.early import start_early
from wsgi_coverage.middleware import CoverageMiddleware


class QuietRequestHandler(WSGIRequestHandler):
    """A request handler that logs errors, but not each request."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log nothing."""


def main() -> None:
    """Serve the shop, measured, on an inherited socket, until a signal ends it."""
    start_early()
    from wsgi_coverage.demo.shop.app import application  # only now, so that its imports count

    inherited = int(sys.argv[1])
    with socket.socket(fileno=os.dup(inherited)) as listening:
        host, port = listening.getsockname()[:2]
    server = make_server(
        host,
        port,
        CoverageMiddleware(application),
        threaded=True,
        request_handler=QuietRequestHandler,
        fd=inherited,
    )
    server.serve_forever()


if __name__ == "__main__":
    main()
