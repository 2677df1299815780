"""How far a report is, on a terminal.

Concurrency: shown from one thread, taken away from another after that has ended.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from wsgi_coverage import terminal
from wsgi_coverage.client.progress import Progress


@contextlib.contextmanager
def on_terminal() -> Iterator[Progress | None]:
    """What to tell of progress; None where stderr is no terminal. The line goes at the end."""
    if not sys.stderr.isatty():
        yield None
        return

    def show(done: int, total: int | None) -> None:
        text = "gathering the workers' data" if total is None else f"{done} of {total} files"
        terminal.show(text)

    try:
        yield show
    finally:
        terminal.show("")
