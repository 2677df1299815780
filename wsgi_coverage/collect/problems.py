"""Log the problems of this process, and keep the last ones for /health.

Concurrency: any thread may note a problem; the list is replaced, never changed, so a reader's list
stays as it is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from wsgi_coverage import clock
from wsgi_coverage.errors import WsgiCoverageError, storage_errors

log: logging.Logger = logging.getLogger("wsgi_coverage")

MOST = 10  # problems that are kept


class Problems:
    """The last problems of a process."""

    def __init__(self) -> None:
        self.recent: list[str] = []  # the oldest first, each with its time

    def note(self, problem: str) -> None:
        """Log a problem, and keep it for /health."""
        log.warning("%s", problem)
        self._keep(problem)

    def note_once(self, problem: str) -> None:
        """Log and keep a problem as `note` does, unless it was the last one, too."""
        if not (self.recent and self.recent[-1].endswith(f" {problem}")):
            self.note(problem)

    def attempt(self, what: str, action: Callable[[], object]) -> None:
        """Call `action`; log and keep an exception that it raises, for /health.

        Args:
            what: what the action does: the first words of the message.
            action: called without arguments.
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
