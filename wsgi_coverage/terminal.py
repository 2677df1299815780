"""A line on a terminal that takes its own place again and again, as progress does.

Concurrency: functions without state.
"""

from __future__ import annotations

import os
import sys

BEGIN = "\r\x1b[K"  # to the line's beginning, and erase it


def show(text: str, *, end: str = "") -> None:
    """Show a text in the place of the last one, on stderr; of one that is too long, the beginning.

    A line that wrapped would not be taken away by the next one.
    """
    sys.stderr.write(f"{BEGIN}{text[: _room()]}{end}")
    sys.stderr.flush()


def _room() -> int | None:
    """The columns but the last, which would move the cursor on; None: nobody knows."""
    try:
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):
        return None
    return max(columns - 1, 1) if columns else None
