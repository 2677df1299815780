"""Entry point: the command `wsgi-coverage`, from Python's start to its exit code.

Modules are imported by `main` only, so that Ctrl-C during the imports shows no traceback.

Concurrency: runs once, in the main thread.
"""

from __future__ import annotations

from wsgi_coverage.system import interrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> int:
    """Run the command with the process's arguments; return its exit code."""
    return interrupt.command(_load)


def _load() -> Callable[[], int]:
    from wsgi_coverage.cli import main as run

    return run
