"""No fork of this process while one of its threads is inside SQLite for us.

SQLite holds locks of its own for moments. A child that another thread forks at such a moment waits
for ever at its own first call of SQLite, since nobody is there who would release them. So what is
done with SQLite in a measured process is done inside of `no_fork`, and a fork waits for its end.

Concurrency: `_turn` is held by the thread that is inside, or by the one that forks. `_gate` is held
by who waits for it, and by who forks, so that the one inside cannot overtake them. Both are
Python's own locks, which no monkey patch replaces, and their holder may take them again: it is not
inside SQLite when a signal handler of its thread forks. A child makes them anew.
"""

from __future__ import annotations

import contextlib
from _thread import RLock, get_ident
from collections.abc import Iterator

PATIENCE = 1.0  # seconds that a fork waits at most: a disk that does not answer must not stop it

_gate = RLock()
_turn = RLock()
_inside: list[int] = []  # the threads that are, which is one, as often as it has come in
_held: dict[int, list[RLock]] = {}  # by the thread that forks


@contextlib.contextmanager
def no_fork() -> Iterator[None]:
    """Have nothing fork this process inside, from any thread but this one."""
    turn = _enter()
    try:
        yield
    finally:
        _inside.pop()
        turn.release()


@contextlib.contextmanager
def forks() -> Iterator[None]:
    """Inside of `no_fork`, where this thread uses no SQLite for a while: a fork may come here.

    Outside of it this does nothing.
    """
    if get_ident() not in _inside:
        yield
        return
    _inside.pop()
    _turn.release()
    try:
        yield
    finally:
        _enter()


def before_fork() -> None:
    """In an at-fork hook: wait until no other thread is inside of `no_fork`."""
    _held[get_ident()] = [lock for lock in (_gate, _turn) if lock.acquire(timeout=PATIENCE)]


def after_fork_in_parent() -> None:
    """In an at-fork hook: let the others go on."""
    for lock in _held.pop(get_ident(), ()):
        lock.release()


def after_fork_in_child() -> None:
    """In an at-fork hook: no other thread is inside here."""
    global _gate, _turn, _inside, _held
    _gate, _turn, _held = RLock(), RLock(), {}
    if get_ident() not in _inside:
        _inside = []


def _enter() -> RLock:
    turn = _turn
    if get_ident() in _inside:  # who waits at the gate waits for this thread
        turn.acquire()
    else:
        with _gate:
            turn.acquire()
    _inside.append(get_ident())
    return turn
