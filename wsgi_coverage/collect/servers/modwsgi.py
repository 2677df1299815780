"""mod_wsgi and threads with a trace function.

On Python 3.11 a thread that the threading module made, and the main thread, which ends the process,
hang once a request has come if they have a trace function, be it coverage.py's or a plain one
(measured with mod_wsgi 6.1.1; 3.12 and 3.13 are free of it). The threads that serve never have one
there, so next to nothing less is measured without: see the diagnosis unseen-threads.

Concurrency: no state.
"""

from __future__ import annotations

import sys
import threading


def traced_threads_hang() -> bool:
    """Tell whether a thread with a trace function would hang here once a request has come."""
    return "mod_wsgi" in sys.modules and sys.version_info < (3, 12)


def spare_threads() -> None:
    """Set no trace function in threads that the application starts from now on."""
    if traced_threads_hang():
        threading.settrace(None)


def spare_this_thread() -> None:
    """Remove the trace function of a thread of our own."""
    if traced_threads_hang():
        sys.settrace(None)
