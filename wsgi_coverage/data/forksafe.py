"""No fork of this process while one of its threads is inside SQLite for us.

SQLite holds locks of its own for moments. A child that another thread forks at such a moment waits
for ever at its own first call of SQLite, since nobody is there who would release them. So what is
done with SQLite in a measured process is done inside of `no_fork`, and a fork waits for its end.

Each page of memory that is written to around a fork is copied. So the hooks are built-in functions,
which write to few, until a thread is inside.

Concurrency: `_turn` is held by the thread that is inside. It first says that it is there, by
`_hook`, and then looks whether somebody forks; who forks says so first, by `_forking`, and then
calls `_hook`. So one of them sees the other at least: who wants in goes back, who forks waits. The
lock is Python's own, which no monkey patch replaces, and who holds it may take it again: it is not
inside SQLite when a signal handler of its thread forks. A child makes it anew.
"""

from __future__ import annotations

import contextlib
import os
import time
from _thread import RLock, get_ident
from collections.abc import Iterator
from functools import partial
from typing import Any

PATIENCE = 1.0  # seconds that a fork waits at most: a disk that does not answer must not stop it
PAUSE = 0.0005  # seconds

_turn = RLock()
_inside: list[int] = []  # the thread that is, as often as it has come in
_forking: list[None] = []  # one for each thread that forks
_hook: Any = partial(int)  # waits if a thread is inside, or does nothing


def register() -> None:
    """Have forks of this process wait, and children begin anew."""
    os.register_at_fork(before=_hook)
    # Before the other: the last that was registered comes first.
    os.register_at_fork(before=partial(_forking.append, None), after_in_parent=_forking.pop)


@contextlib.contextmanager
def no_fork() -> Iterator[None]:
    """Have nothing fork this process inside, from any thread but this one."""
    turn = _enter()
    try:
        yield
    finally:
        _leave(turn)


@contextlib.contextmanager
def forks() -> Iterator[None]:
    """Inside of `no_fork`, where this thread uses no SQLite for a while: a fork may come here.

    Outside of it this does nothing.
    """
    if get_ident() not in _inside:
        yield
        return
    _leave(_turn)
    try:
        yield
    finally:
        _enter()


def after_fork_in_child() -> None:
    """In an at-fork hook: no other thread is inside here."""
    global _turn
    _forking.clear()
    if _inside and get_ident() not in _inside:
        _turn = RLock()
        _inside.clear()
        _hook.__setstate__((int, (), {}, None))


def _enter() -> RLock:
    turn = _turn
    turn.acquire()
    _inside.append(get_ident())
    if len(_inside) == 1:
        deadline = time.monotonic() + 10 * PATIENCE
        _hook.__setstate__((_wait, (), {}, None))
        while _forking and time.monotonic() < deadline:
            _leave(turn)
            time.sleep(PAUSE)
            turn.acquire()
            _inside.append(get_ident())
            _hook.__setstate__((_wait, (), {}, None))
    return turn


def _leave(turn: RLock) -> None:
    if _inside:  # a greenlet may have forked amid another's work
        _inside.pop()
    if not _inside:
        _hook.__setstate__((int, (), {}, None))
    turn.release()


def _wait() -> None:
    """In an at-fork hook: wait until nobody is inside; who comes then goes back."""
    if _turn.acquire(timeout=PATIENCE):
        _turn.release()
