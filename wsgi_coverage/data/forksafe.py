"""No fork of this process while one of its threads is inside SQLite for us.

SQLite holds locks of its own for moments. A child that another thread forks at such a moment waits
for ever at its own first call of SQLite, since nobody is there who would release them. So what is
done with SQLite in a measured process is done inside of `no_fork`, and a fork waits for its end.

Each page of memory that is written to around a fork is copied. So the hooks are built-in functions,
which write to few.

Concurrency: `_turn` is held by the thread that is inside, and by one that forks. It is Python's own
lock, which no monkey patch replaces, and its holder may take it again: it is not inside SQLite when
a signal handler of its thread forks. Nobody waits for it for longer than `PATIENCE`: the
application's hooks may wait for a thread that waits here.
"""

from __future__ import annotations

import contextlib
import os
import time
from _thread import RLock
from collections.abc import Iterator
from functools import partial

PATIENCE = 1.0  # seconds: a disk that does not answer must not stop forks
PAUSE = 0.0001  # seconds, in which somebody who waits gets the lock
EVERY = 0.002  # seconds between two pauses, at least

_turn = RLock()
_is_registered = False
_since = 0.0  # when the lock was taken last, by a thread that is inside


def register() -> None:
    """Have forks of this process wait; to be called once."""
    global _is_registered
    os.register_at_fork(
        before=partial(_turn.acquire, True, PATIENCE),
        after_in_parent=_turn.release,
        after_in_child=_turn._at_fork_reinit,  # type: ignore[attr-defined]  # noqa: SLF001  as logging does
    )
    _is_registered = True


@contextlib.contextmanager
def no_fork() -> Iterator[None]:
    """Have nothing fork this process inside, from any thread but this one."""
    global _since
    if not _is_registered:
        yield
        return
    try:
        _turn.acquire(timeout=PATIENCE)
        _since = time.monotonic()
        yield
    finally:
        # Not by a function in Python, where a handler of the application's may raise at its start.
        try:
            _turn.release()
        except RuntimeError as error:
            if not _is_not_held(error):
                raise


@contextlib.contextmanager
def forks() -> Iterator[None]:
    """Inside of `no_fork`, where this thread uses no SQLite for a while: a fork may come here.

    Outside of it this does nothing.
    """
    global _since
    try:
        if _is_registered:
            _turn.release()
        was_inside = _is_registered
    except RuntimeError as error:
        if not _is_not_held(error):
            raise
        was_inside = False
    if not was_inside:
        yield
        return
    try:
        time.sleep(PAUSE)
        yield
    finally:
        _turn.acquire(timeout=PATIENCE)
        _since = time.monotonic()


def pause() -> None:
    """Inside of `no_fork`, between two steps: let a fork come, if none could for a while."""
    if _is_registered and time.monotonic() > _since + EVERY:
        with forks():
            pass


def _is_not_held(error: RuntimeError) -> bool:
    """Tell whether a lock was not this thread's to release, from what a handler raises.

    It was waited for in vain, or a handler has raised before it was taken.
    """
    return error.__traceback__ is not None and error.__traceback__.tb_next is None
