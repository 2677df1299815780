"""The worker of this process, made once; and what a forked child renews.

Concurrency: `_making` guards `_worker` and is held while the first caller makes it, so that two
threads make one. It is new in every child.
"""

from __future__ import annotations

import os
import threading
from functools import partial
from pathlib import Path
from typing import Any

from coverage import Coverage

from wsgi_coverage.collect import restarting
from wsgi_coverage.collect.engines import core
from wsgi_coverage.collect.servers import modwsgi
from wsgi_coverage.collect.worker import Worker
from wsgi_coverage.compat import files
from wsgi_coverage.data import forksafe
from wsgi_coverage.system import workdir

_making = threading.RLock()
_worker: Worker | None = None
_hooked = False
# The hooks of the parent, as C functions that do nothing until there is something to do, and once
# children register late: a Python function writes to pages of memory, each of which a fork copies.
_before_hook: Any = partial(int)
_after_hook: Any = partial(int)


def start(
    *, config_file: Path | None = None, branch: bool | None = None, wraps: bool = False
) -> Worker:
    """Return this process's worker, made by the first call; later configurations are ignored.

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


def note_folder() -> None:
    """Take over the folder in which a running Coverage resolves relative paths.

    To be called before settings are read.
    """
    if _worker is None and Coverage.current() is not None:
        workdir.note(files.names_from())


def current() -> Worker | None:
    """Return this process's worker; None: there is none."""
    return _worker


def _hook() -> None:
    global _hooked
    if not _hooked and hasattr(os, "register_at_fork"):
        _before_hook.__setstate__((_before, (), {}, None))
        forksafe.register()  # hooks before a fork that were registered first are called last
        os.register_at_fork(
            before=_before_hook, after_in_parent=_after_hook, after_in_child=_after_in_child
        )
        restarting.prepare()
        _hooked = True


def _before() -> None:
    if _worker is None:
        return
    if _worker.be_late is None and _worker.before_fork():
        # For good: another thread may fork at the same time.
        _after_hook.__setstate__((_worker.after_fork_in_parent, (), {}, None))
    if _worker.be_late is not None:
        _before_hook.__setstate__(forksafe.IDLE)


def _after_in_child() -> None:
    global _making
    _making = threading.RLock()
    _before_hook.__setstate__((_before, (), {}, None))
    if _worker is not None:
        (_worker.be_late or _worker.after_fork_in_child)()
