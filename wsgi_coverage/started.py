"""Entry point: called by children.pth in each Python that starts with `WSGI_COVERAGE_CHILDREN` set.

Concurrency: runs once, in the main thread, before the program's first line.
"""

from __future__ import annotations

import logging
import os

from wsgi_coverage.system import interrupt

log: logging.Logger = logging.getLogger("wsgi_coverage")


def begin() -> None:
    """Measure this process; serve its side port again if it had one before an exec; never raise."""
    with interrupt.Hold() as ctrl_c:
        from wsgi_coverage.collect import children  # coverage.py is slow to import

        worker = children.start()
        if worker is not None and children.announced_port(os.environ) is not None:
            from wsgi_coverage.sideport import program as beside  # imports HTTP modules

            try:
                beside.serve_again(worker)
            except Exception:
                log.exception("the side port cannot be served again")
        if ctrl_c.release():
            interrupt.end()
