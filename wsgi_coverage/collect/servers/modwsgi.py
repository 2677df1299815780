"""Remove trace functions under mod_wsgi on Python 3.11, where threads that have one hang.

After the first request, any thread with a trace function, coverage.py's or a plain one, hangs if
the threading module made it; so does the main thread, which ends the process (measured with
mod_wsgi 6.1.1; not on Python 3.12 and 3.13). The threads that serve requests never have one there,
so next to nothing more is missed without: see the diagnosis unseen-threads.

Concurrency: no state.
"""

from __future__ import annotations

import sys
import threading


def traced_threads_hang() -> bool:
    """Tell whether a thread with a trace function would hang here after the first request."""
    return "mod_wsgi" in sys.modules and sys.version_info < (3, 12)


def spare_threads() -> None:
    """Let threads that the application starts from now on have no trace function."""
    if traced_threads_hang():
        threading.settrace(None)


def spare_this_thread() -> None:
    """Remove the trace function of the calling thread, one of ours."""
    if traced_threads_hang():
        sys.settrace(None)
