"""uWSGI's workers: it imports the application, then forks in C, without Python's at-fork hooks.

uWSGI does not hold the GIL when it forks. Measured with uWSGI 2.0.31:

- A worker that is forked while a thread of the master holds the GIL waits for it for ever.
- A thread of the master does not run in a worker, but Python keeps its state, with frames on a
  stack that the next thread gets: reading them ends the process by a segmentation fault.

Concurrency: `forget_threads_of_the_master` is called right after a fork, by the only thread.
"""

from __future__ import annotations

import _imp
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or "uwsgi" in sys.modules:  # a fork takes longer with each library that is loaded
    import ctypes


def is_here() -> bool:
    """Tell whether uWSGI runs this process."""
    return "uwsgi" in sys.modules


def is_to_fork() -> bool:
    """Tell whether this process has imported the application and has not forked workers yet.

    True, too, in a process without workers that has not begun to serve.
    """
    module: Any = sys.modules.get("uwsgi")
    return hasattr(module, "worker_id") and module.worker_id() == 0 and module.mule_id() == 0


def check_threads() -> None:
    """Refuse to measure in a worker where Python still has the state of a thread of the master.

    Raises:
        RuntimeError: there is such a thread.
    """
    tasks = Path("/proc/self/task")
    main = threading.main_thread()  # known by the id that it had in the master
    known = {each.native_id for each in threading.enumerate() if each is not main} - {None}
    if is_here() and tasks.exists() and not all((tasks / str(each)).exists() for each in known):
        raise RuntimeError(
            "uWSGI forked this worker while threads of the application ran: start it with "
            "--lazy-apps or --py-call-uwsgi-fork-hooks"
        )


def options(modules: Mapping[str, Any]) -> dict[str, str]:
    """Return uWSGI's options; empty in a process that uWSGI does not run."""
    found = getattr(modules.get("uwsgi"), "opt", {})
    return {_text(name): _text(value) for name, value in found.items()}


def _text(raw: object) -> str:
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)


def forget_threads_of_the_master() -> None:
    """Have Python drop the state of the master's threads, in a worker that has no threads yet.

    This calls Python's own function for forked children, which also runs the at-fork hooks and
    needs the import lock. It does nothing if that lock is held. It must not be called after a fork
    that ran those hooks: Python would drop the state of the threads that they have started.
    """
    if len(sys._current_frames()) > 1 and not _imp.lock_held():  # noqa: SLF001  no other way
        _imp.acquire_lock()
        ctypes.pythonapi.PyOS_AfterFork_Child()
