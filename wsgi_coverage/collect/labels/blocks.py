"""Label what runs in a block that is no request of WSGI: a task of a queue, a request of ASGI.

Concurrency: functions without state; any thread, task or greenlet may call them.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from wsgi_coverage.collect import forks
from wsgi_coverage.collect.labels.labelling import Labelling, is_labelled
from wsgi_coverage.collect.labels.requests import opened, why_no_label

log: logging.Logger = logging.getLogger("wsgi_coverage")


@contextlib.contextmanager
def labelled(label: str | None) -> Iterator[str | None]:
    """Record what runs in the block for a label, as if it was a request with it.

    Nothing is raised: where it cannot be recorded, the block runs without a label. So it does where
    what runs has a label already, which it keeps.

    Args:
        label: up to 200 characters, as in the header X-Coverage-Context; None: for no label.

    Yields:
        Why what runs in the block is not recorded for the label; None: it is.
    """
    worker = forks.current()
    if label is None or is_labelled():
        yield "there is no label" if label is None else "it has a label already"
        return
    if (why_not := why_no_label(label)) is not None:
        yield why_not
        return
    block, why_not = opened(worker, label)
    if block is None:
        yield why_not
        return
    token = Labelling.enter(block)
    try:
        yield None
    finally:
        with contextlib.suppress(ValueError):  # an asynchronous generator ends in another context
            Labelling.leave(token)
        try:
            if worker is not None and block.is_open:
                worker.engine.close_labelled(block)
        except Exception:
            log.exception("what ran for a label could not be stored")
