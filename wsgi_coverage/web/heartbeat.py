"""Tell gunicorn that its worker is alive while a request waits.

gunicorn kills a sync worker that gave no sign of life for `--timeout` seconds, and a sync worker
gives one between requests only. The worker object is found on the stack of the request's thread, in
the frames of gunicorn's modules. Other servers end no worker by default; uWSGI's harakiri and
mod_wsgi's request-timeout cannot be put off from Python.

Concurrency: one Heartbeat belongs to one request, and so to one thread.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable

log: logging.Logger = logging.getLogger("wsgi_coverage")

INTERVAL = 0.25  # seconds; gunicorn's shortest timeout is 1 second
WORKERS = "gunicorn.workers"


class Heartbeat:
    """Notifies gunicorn's worker when called, at most every INTERVAL seconds; never raises."""

    def __init__(self) -> None:
        self._due = time.monotonic() + INTERVAL
        self._notify: Callable[[], object] | None = None
        self._searched = False

    def __call__(self) -> None:
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + INTERVAL
        try:
            if not self._searched:
                self._searched = True
                self._notify = _gunicorn_worker()
            if self._notify is not None:
                self._notify()
        except Exception:
            self._notify = None
            log.exception("gunicorn could not be notified that this worker is alive")


def _gunicorn_worker() -> Callable[[], object] | None:
    """Return `notify` of the gunicorn worker that serves this request; None where there is none."""
    worker_class = getattr(sys.modules.get(f"{WORKERS}.base"), "Worker", None)
    if worker_class is None:
        return None
    frame = sys._getframe()  # noqa: SLF001  documented, and the only way to a caller
    while (caller := frame.f_back) is not None:
        frame = caller
        if str(frame.f_globals.get("__name__")).startswith(WORKERS):
            found = frame.f_locals.get("self")
            if isinstance(found, worker_class):
                return found.notify  # type: ignore[no-any-return]
    return None
