"""A fork waits for who is inside SQLite, and for nobody else."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from wsgi_coverage.data import forksafe

SOON = 10.0  # seconds
NOT_YET = 0.05


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadPoolExecutor]:
    """Threads, in a process where nobody is inside."""
    monkeypatch.setattr(forksafe, "TIMEOUT", SOON)
    monkeypatch.setattr(forksafe, "_is_registered", True)
    with ThreadPoolExecutor(3) as threads:
        yield threads


def before_fork() -> None:
    """What runs before a fork."""
    forksafe._forking.append(None)
    forksafe._hook()


def after_fork() -> None:
    """What runs after it in the parent."""
    del forksafe._forking[-1:]


def hooks() -> None:
    before_fork()
    after_fork()


def is_waiting(call: Future[None]) -> bool:
    try:
        call.result(NOT_YET)
    except TimeoutError:
        return True
    return False


class Inside:
    """A thread that is inside until it is told to go on, and then lets forks come once."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._is_in, self._is_out = threading.Event(), threading.Event()
        self.go_on, self.end = threading.Event(), threading.Event()
        self.call = pool.submit(self._run)
        assert self._is_in.wait(SOON)

    def _run(self) -> None:
        with forksafe.no_fork():
            self._is_in.set()
            assert self.go_on.wait(SOON)
            with forksafe.forks():
                assert self.end.wait(SOON)


def test_a_fork_waits_until_the_one_inside_lets_it_come(pool) -> None:
    inside = Inside(pool)
    fork = pool.submit(hooks)
    assert is_waiting(fork)

    inside.go_on.set()

    fork.result(SOON)
    inside.end.set()
    inside.call.result(SOON)


def test_the_one_inside_goes_on_when_the_fork_is_over(pool) -> None:
    inside = Inside(pool)
    inside.go_on.set()
    before_fork()
    inside.end.set()
    assert is_waiting(inside.call)

    after_fork()

    inside.call.result(SOON)


def test_a_fork_comes_at_a_pause_of_the_one_inside(pool) -> None:
    is_in, has_forked = threading.Event(), threading.Event()

    def work_in_steps() -> None:
        with forksafe.no_fork():
            is_in.set()
            while not has_forked.is_set():
                forksafe.allow_fork()

    inside = pool.submit(work_in_steps)
    assert is_in.wait(SOON)

    pool.submit(hooks).result(SOON)

    has_forked.set()
    inside.result(SOON)


def test_where_nothing_can_fork_nobody_waits(pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forksafe, "_is_registered", False)
    inside = Inside(pool)

    pool.submit(hooks).result(SOON)

    inside.go_on.set()
    inside.end.set()
    inside.call.result(SOON)


def test_the_thread_that_is_inside_may_fork_itself(pool) -> None:
    def fork_inside() -> None:
        with forksafe.no_fork():
            hooks()

    pool.submit(fork_inside).result(SOON)
    pool.submit(hooks).result(SOON)


def test_the_thread_that_is_inside_may_come_in_again_while_a_fork_waits(pool) -> None:
    is_in, go_on = threading.Event(), threading.Event()

    def come_in_twice() -> None:
        with forksafe.no_fork():
            is_in.set()
            assert go_on.wait(SOON)
            with forksafe.no_fork():
                assert is_waiting(fork)

    inside = pool.submit(come_in_twice)
    assert is_in.wait(SOON)
    fork = pool.submit(hooks)
    assert is_waiting(fork)
    go_on.set()

    inside.result(SOON)
    fork.result(SOON)


def test_a_fork_waits_no_longer_than_it_may(pool, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = Inside(pool)
    monkeypatch.setattr(forksafe, "TIMEOUT", NOT_YET)

    pool.submit(hooks).result(SOON)

    inside.go_on.set()
    inside.end.set()
    inside.call.result(SOON)
    pool.submit(hooks).result(SOON)


def test_a_handler_that_raises_at_any_moment_leaves_nobody_inside(pool) -> None:
    class RaisedError(Exception):
        pass

    def handle(number: int, frame: object) -> None:
        raise RaisedError

    def send(*, later: float) -> None:
        assert is_at_it.wait(SOON)
        is_at_it.clear()
        time.sleep(later)
        signal.pthread_kill(main, signal.SIGUSR1)

    def come_in() -> None:
        is_at_it.set()
        while True:
            with forksafe.no_fork(), forksafe.forks():
                pass

    is_at_it = threading.Event()
    main = threading.get_ident()
    before = signal.signal(signal.SIGUSR1, handle)
    try:
        for number in range(300):
            sending = pool.submit(send, later=number % 17 / 9_973)
            with pytest.raises(RaisedError):
                come_in()
            sending.result(SOON)
            pool.submit(hooks).result(SOON)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_letting_forks_come_outside_does_nothing(pool) -> None:
    inside = Inside(pool)
    fork = pool.submit(hooks)

    with forksafe.forks():
        assert is_waiting(fork)

    inside.go_on.set()
    inside.end.set()
    fork.result(SOON)
