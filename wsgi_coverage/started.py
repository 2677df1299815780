"""Entry point: a Python that starts where `WSGI_COVERAGE_CHILDREN` is set; children.pth comes here.

Concurrency: runs once, in the main thread, before the program's first line.
"""

from __future__ import annotations

import logging
import os

from wsgi_coverage.system import interrupt

log: logging.Logger = logging.getLogger("wsgi_coverage")


def begin() -> None:
    """Have this process measured, and its side port served again, if it had one; never raises."""
    with interrupt.Hold() as ctrl_c:
        from wsgi_coverage.collect import children  # coverage.py is slow to import

        worker = children.start()
        if worker is not None and children.announced_port(os.environ) is not None:
            from wsgi_coverage.sideport import program as beside  # what knows HTTP, too

            try:
                beside.serve_again(worker)
            except Exception:
                log.exception("the side port cannot be served again")
        if ctrl_c.release():
            interrupt.end()
