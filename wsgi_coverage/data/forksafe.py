"""Prevent a fork of this process while one of its threads is inside SQLite for us.

SQLite holds locks of its own for moments. A child that another thread forks at such a moment waits
for ever at its own first call of SQLite, because no thread there releases them. So code that uses
SQLite in a measured process runs inside of `no_fork`, and a fork waits for its end.

Each page of memory that is written to around a fork is copied. So the hooks are built-in functions,
which write to few, until a thread is inside.

Concurrency: `_lock` is held by the thread that is inside, which has `_hook` wait for it. `_forking`
counts the forks that do not wait: a thread that enters waits until there is none. A forking thread
is counted before it calls `_hook`, and an entering one sets `_hook` before it looks at the count,
so that one of them sees the other. The lock is Python's own, which no monkey patch replaces, and
its holder may take it again: it is not inside SQLite when a signal handler of its thread forks. No
thread waits for longer than `TIMEOUT`: the application's hooks may wait for a thread that waits
here.
"""

from __future__ import annotations

import contextlib
import os
import time
from _thread import RLock, get_ident
from collections.abc import Iterator
from functools import partial
from typing import Any

TIMEOUT = 1.0  # seconds: a disk that does not answer must not stop forks
YIELD_TIME = 0.0001  # seconds, in which a waiting thread gets the lock
PAUSE_INTERVAL = 0.002  # seconds between two pauses, at least
IDLE: Any = (int, (), {}, None)  # the state of a hook that does nothing

_lock = RLock()
_forking: list[None] = []  # one for each
_hook: Any = partial(int)
_owner = 0  # the thread that is inside
_since = 0.0  # when it came in
_is_registered = False


def register() -> None:
    """Register the at-fork hooks; to be called once."""
    global _is_registered
    # Hooks before a fork that were registered first are called last.
    os.register_at_fork(before=_hook, after_in_child=partial(_hook.__setstate__, IDLE))
    os.register_at_fork(
        before=partial(_forking.append, None),
        # As `pop`, which fails for a fork that had begun before this was registered.
        after_in_parent=partial(_forking.__delitem__, slice(-1, None)),
        after_in_child=_forking.clear,
    )
    renew = _lock._at_fork_reinit  # type: ignore[attr-defined]  # noqa: SLF001  as logging does
    os.register_at_fork(after_in_child=renew)
    _is_registered = True


@contextlib.contextmanager
def no_fork() -> Iterator[None]:
    """Keep other threads of this process from forking inside of the block."""
    global _owner
    if not _is_registered:
        yield
        return
    me = get_ident()
    is_outermost = _owner != me
    # A handler of the application's may raise at any call, and where a function in Python begins.
    try:
        if _lock.acquire(timeout=TIMEOUT) and is_outermost:
            _owner = me
            _come_in()
        yield
    finally:
        try:
            if is_outermost and _owner == me:
                _hook.__setstate__(IDLE)
        finally:
            if is_outermost and _owner == me:
                _owner = 0
            try:
                _lock.release()
            except RuntimeError as error:
                if not is_not_held(error):
                    raise


@contextlib.contextmanager
def forks() -> Iterator[None]:
    """Inside of `no_fork`: a block without SQLite, in which forks may happen.

    Outside of it this does nothing.
    """
    global _owner
    me = get_ident()
    if _owner != me:
        yield
        return
    try:
        _hook.__setstate__(IDLE)
        _owner = 0
        _lock.release()
        time.sleep(YIELD_TIME)
        yield
    finally:
        if _lock.acquire(timeout=TIMEOUT):
            _owner = me
            _come_in()


def allow_fork() -> None:
    """Inside of `no_fork`, between two steps: let a fork happen, if none could for a while."""
    if _owner == get_ident() and time.monotonic() > _since + PAUSE_INTERVAL:
        with forks():
            pass


def _come_in() -> None:
    """Have forks wait, and wait for those that do not."""
    global _since
    _hook.__setstate__((_wait, (), {}, None))
    deadline = time.monotonic() + TIMEOUT
    while _forking and time.monotonic() < deadline:
        time.sleep(YIELD_TIME)
    _since = time.monotonic()


def _wait() -> None:
    """In an at-fork hook: wait until no thread is inside; until then this fork does not count."""
    del _forking[-1:]
    try:
        _lock.acquire(timeout=TIMEOUT)
    finally:
        _forking.append(None)
        try:
            _lock.release()
        except RuntimeError as error:
            if not is_not_held(error):
                raise


def is_not_held(error: RuntimeError) -> bool:
    """Tell from a release's exception whether the lock was not this thread's.

    It was waited for in vain, or a handler has raised before it was taken.
    """
    return error.__traceback__ is not None and error.__traceback__.tb_next is None
