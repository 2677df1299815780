"""What went wrong last in this process: a log line, and an entry of /health.

Concurrency: any thread may note a problem; the list is replaced, never changed, so a reader has one
that stays as it is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from wsgi_coverage import clock
from wsgi_coverage.errors import WsgiCoverageError, storage_errors

log: logging.Logger = logging.getLogger("wsgi_coverage")

MOST = 10  # that are kept


class Problems:
    """The last problems of a process."""

    def __init__(self) -> None:
        self.recent: list[str] = []  # the oldest first, each with its time

    def note(self, problem: str) -> None:
        """Log a problem, and keep it for /health."""
        log.warning("%s", problem)
        self._keep(problem)

    def note_once(self, problem: str) -> None:
        """As `note`, unless the last problem was the same: each request may meet it again."""
        if not (self.recent and self.recent[-1].endswith(f" {problem}")):
            self.note(problem)

    def attempt(self, what: str, action: Callable[[], object]) -> None:
        """Call `action`; where it raises an exception, note that it failed.

        Args:
            what: what it does, as a problem's first words.
            action: takes nothing.
        """
        try:
            with storage_errors():
                action()
        except WsgiCoverageError as error:
            self.note_once(f"{what} failed: {error}")
        except Exception as error:
            log.exception("%s failed", what)
            self._keep(f"{what} failed: {type(error).__name__}: {error}")

    def _keep(self, problem: str) -> None:
        self.recent = [*self.recent[1 - MOST :], f"{clock.now_iso()} {problem}"]
