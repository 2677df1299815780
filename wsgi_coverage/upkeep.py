"""What a worker sees to on its own: sources parsed ahead, the fleet's agent, old data files.

The modules that do it are imported when it is done: most workers never do any of it.

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
    """Have a worker see to what it can do on its own.

    Args:
        worker: of this process; not yet configured, which may start the process that parses ahead.
        settings: of the application.
    """
    worker.data_file_writer.plan_meanwhile(partial(_plan, worker, settings))
    worker.on_last_end(partial(_tidy, worker, settings))
    if settings.store is not None:
        from wsgi_coverage.fleet.asking import Fleet

        worker.on_check(Fleet(worker, settings).see_to_agent)


def _plan(worker: Worker, settings: Settings) -> Meanwhile | None:
    """What is to be parsed ahead."""
    from wsgi_coverage import ahead

    return ahead.plan(worker, settings)


def _tidy(worker: Worker, settings: Settings) -> None:
    """The last process of the host ends."""
    from wsgi_coverage.control import Control

    Control(worker, settings).tidy()
