"""Show progress as one line of a terminal that is overwritten.

Concurrency: functions without state.
"""

from __future__ import annotations

import os
import sys

BEGIN = "\r\x1b[K"  # moves to the beginning of the line, and erases it


def show(text: str, *, end: str = "") -> None:
    """Overwrite the last line on stderr.

    Args:
        text: the line; cut to the width of the terminal, because the next call could not overwrite
            a line that wraps.
        end: written after it; by default nothing, so that the next call overwrites the line.
    """
    sys.stderr.write(f"{BEGIN}{text[: _room()]}{end}")
    sys.stderr.flush()


def _room() -> int | None:
    """Return the number of columns to use, all but the last, which may wrap; None: unknown."""
    try:
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):
        return None
    return max(columns - 1, 1) if columns else None
