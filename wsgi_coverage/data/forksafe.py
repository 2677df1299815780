"""Prevent a fork of this process while one of its threads is inside SQLite for us.

SQLite holds locks of its own for moments. A child that another thread forks at such a moment waits
for ever at its own first call of SQLite, because no thread there releases them. So code that uses
SQLite in a measured process runs inside of `no_fork`, and a fork waits for its end.

Each page of memory that is written to around a fork is copied. So the hooks are built-in functions,
which write to few pages, while no thread is inside `no_fork`.

Concurrency: the thread that is inside `no_fork` holds `_lock`, and sets `_hook`, so that forks wait
for it. `_forking` counts the forks that do not wait; a thread that enters `no_fork` waits until
there is none. A forking thread is counted before it calls `_hook`, and an entering one sets `_hook`
before it reads the count, so that one of them notices the other. No monkey patch replaces the lock.
It is re-entrant: a signal handler may fork in the thread that holds it, which is not inside SQLite
then. No thread waits for longer than `TIMEOUT`, because the application's hooks may wait for a
thread that waits here.
"""

from __future__ import annotations

import contextlib
import os
import time
from _thread import RLock, get_ident
from collections.abc import Iterator
from functools import partial
from typing import Any

TIMEOUT = 1.0  # seconds; a disk that does not answer must not stop forks
YIELD_TIME = 0.0001  # seconds in which a waiting thread gets the lock
PAUSE_INTERVAL = 0.002  # seconds between two times that `allow_fork` lets forks happen, at least
IDLE: Any = (int, (), {}, None)  # the state of a hook that does nothing

_lock = RLock()
_forking: list[None] = []  # one entry for each fork that does not wait
_hook: Any = partial(int)
_owner = 0  # id of the thread that is inside `no_fork`
_since = 0.0  # when it entered, or has let forks happen last
_is_registered = False


def register() -> None:
    """Register the at-fork hooks; to be called once."""
    global _is_registered
    # Hooks before a fork that were registered first are called last.
    os.register_at_fork(before=_hook, after_in_child=partial(_hook.__setstate__, IDLE))
    os.register_at_fork(
        before=partial(_forking.append, None),
        # Not `pop`, which fails for a fork that began before this was registered.
        after_in_parent=partial(_forking.__delitem__, slice(-1, None)),
        after_in_child=_forking.clear,
    )
    renew = _lock._at_fork_reinit  # type: ignore[attr-defined]  # noqa: SLF001  as logging does
    os.register_at_fork(after_in_child=renew)
    _is_registered = True


@contextlib.contextmanager
def no_fork() -> Iterator[None]:
    """Keep other threads of this process from forking during the block, for a second at most."""
    global _owner
    if not _is_registered:
        yield
        return
    me = get_ident()
    is_outermost = _owner != me
    # An application's signal handler may raise at any call, and at the start of a Python function.
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
    """Allow forks during a block inside of `no_fork` that does not use SQLite.

    Outside of `no_fork` this does nothing.
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
    """Let waiting forks happen, between two steps inside of `no_fork`, if none could for 2 ms."""
    if _owner == get_ident() and time.monotonic() > _since + PAUSE_INTERVAL:
        with forks():
            pass


def _come_in() -> None:
    """Have new forks wait, and wait for the end of those that have begun."""
    global _since
    _hook.__setstate__((_wait, (), {}, None))
    deadline = time.monotonic() + TIMEOUT
    while _forking and time.monotonic() < deadline:
        time.sleep(YIELD_TIME)
    _since = time.monotonic()


def _wait() -> None:
    """Wait before a fork until no thread is inside `no_fork`; count the fork only after that."""
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
    """Tell whether an exception of `release` means that this thread does not hold the lock.

    That is so if it was not acquired in time, or a signal handler has raised before. An exception
    that a signal handler raises during `release` has a longer traceback.
    """
    return error.__traceback__ is not None and error.__traceback__.tb_next is None
