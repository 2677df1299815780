"""The one worker of this process, and what a child must make anew.

Concurrency: `_making` guards `_worker` and is held while the first caller makes it, so that two
threads make one. It is new in every child.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

from wsgi_coverage.collect import core, modwsgi, restarting
from wsgi_coverage.collect.worker import Worker
from wsgi_coverage.data import forksafe

_making = threading.RLock()
_worker: Worker | None = None
_hooked = False
_is_to_go_on = False  # after a fork, in the parent; True once there has been anything to do


def start(
    *, config_file: Path | None = None, branch: bool | None = None, wraps: bool = False
) -> Worker:
    """This process's worker; made at the first call, whose configuration holds.

    Args:
        config_file: coverage.py's configuration; None: where coverage.py always looks.
        branch: whether branches are measured; None: as the configuration says.
        wraps: whether an application is about to be wrapped.

    Raises:
        SettingsError: coverage.py's configuration cannot be read.
        UnsupportedPythonError: this Python cannot measure.
    """
    global _worker
    with _making:
        if _worker is None:
            core.check_python()
            _worker = Worker(config_file=config_file, branch=branch, wraps=wraps)
            modwsgi.spare_threads()
            _hook()
        else:
            _worker.note_branch(branch)
        _worker.check_pid()
        return _worker


def current() -> Worker | None:
    """This process's worker, if there is one."""
    return _worker


def _hook() -> None:
    global _hooked
    if not _hooked and hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child
        )
        restarting.prepare()
        _hooked = True


def _before() -> None:
    global _is_to_go_on
    if _worker is not None and _worker.be_late is None and _worker.before_fork():
        _is_to_go_on = True
    forksafe.before_fork()


def _after_in_parent() -> None:
    forksafe.after_fork_in_parent()
    if _is_to_go_on and _worker is not None:
        _worker.after_fork_in_parent()


def _after_in_child() -> None:
    global _making
    _making = threading.RLock()
    forksafe.after_fork_in_child()
    if _worker is not None:
        (_worker.be_late or _worker.after_fork_in_child)()
