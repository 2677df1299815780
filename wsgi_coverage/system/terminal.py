"""Show progress as one line of a terminal that is overwritten.

Concurrency: functions without state.
"""

from __future__ import annotations

import os
import sys

BEGIN = "\r\x1b[K"  # to the line's beginning, and erase it


def show(text: str, *, end: str = "") -> None:
    """Overwrite the last line on stderr; of a text that is too long only the beginning is shown.

    A line that wrapped would not be overwritten by the next one.

    Args:
        text: the line.
        end: follows it; the default leaves the cursor there.
    """
    sys.stderr.write(f"{BEGIN}{text[: _room()]}{end}")
    sys.stderr.flush()


def _room() -> int | None:
    """The columns but the last, which would move the cursor on; None: not known."""
    try:
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):
        return None
    return max(columns - 1, 1) if columns else None
