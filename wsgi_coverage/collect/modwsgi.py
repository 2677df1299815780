"""What mod_wsgi does to threads that Python's threading module made.

On Python 3.11 such a thread, and the main thread, which ends the process, runs in circles once a
request has come, if it has a trace function, be it coverage.py's or a plain one (measured with
mod_wsgi 6.1.1; 3.12 and 3.13 are free of it). The threads that serve never have one there, so
without it next to nothing less is measured: see the diagnosis unseen-threads.

Concurrency: no state.
"""

from __future__ import annotations

import sys
import threading


def traced_threads_hang() -> bool:
    """Tell whether no thread may have a trace function once a request has come."""
    return "mod_wsgi" in sys.modules and sys.version_info < (3, 12)


def spare_threads() -> None:
    """Give no trace function to threads that the application starts from now on."""
    if traced_threads_hang():
        threading.settrace(None)


def spare_this_thread() -> None:
    """Take the trace function of a thread of our own away."""
    if traced_threads_hang():
        sys.settrace(None)
