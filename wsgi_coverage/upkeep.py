"""Set up background work of a worker: parsing ahead, the fleet's agent, tidying old data files.

Modules for that are imported only when it is done, which most workers never do.

Concurrency: called once for each application, under the lock that makes the worker or before
requests come. Of two applications in one process, the first one's sources are parsed ahead and the
first one's agent is started; at the end, the last one's folders are tidied.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsgi_coverage.collect.saves.autosave import Meanwhile
    from wsgi_coverage.collect.worker import Worker
    from wsgi_coverage.settings import Settings


def set_up(worker: Worker, settings: Settings) -> None:
    """Register background work with a worker.

    Args:
        worker: this process's worker; call this before `worker.configure`, which may start the
            process that parses ahead.
        settings: the application's settings.
    """
    worker.data_file_writer.plan_meanwhile(partial(_plan, worker, settings))
    worker.on_last_end(partial(_tidy, worker, settings))
    if settings.store is not None:
        from wsgi_coverage.fleet.asking import Fleet

        worker.on_check(Fleet(worker, settings).see_to_agent)


def _plan(worker: Worker, settings: Settings) -> Meanwhile | None:
    """Return what is to be parsed ahead; None for nothing."""
    from wsgi_coverage import ahead

    return ahead.plan(worker, settings)


def _tidy(worker: Worker, settings: Settings) -> None:
    """Tidy the application's folders, when the last process of the host ends."""
    from wsgi_coverage.control import Control

    Control(worker, settings).tidy()
