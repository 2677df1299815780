"""What the process that waits for the autosave does until then."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wsgi_coverage.collect.saves import autosave
from wsgi_coverage.data.reading import Reading
from wsgi_coverage.store.memory import Memory
from wsgi_coverage.store.processes import noted_now

LONG = 60.0  # seconds


class Meanwhile:
    """Something to be done; notes when it is."""

    def __init__(self, do: Callable[[Callable[[], object]], None], *, after: int = 0) -> None:
        self._do = do
        self._looks_left = after
        self.readings: list[Reading] = []

    def is_time(self) -> bool:
        self._looks_left -= 1
        return self._looks_left < 0

    def __call__(self, reading: Reading, tick: Callable[[], object]) -> None:
        self.readings.append(reading)
        self._do(tick)


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autosave, "CHECK_INTERVAL", 0.01)


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory(tmp_path)


@pytest.fixture
def worker() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of what leads to the worker, the worker's first."""
    its, ours = socket.socketpair()
    with its, ours:
        yield its, ours


@pytest.fixture
def wait(memory: Memory, worker: tuple[socket.socket, socket.socket]) -> Callable[..., bool]:
    def until_over(meanwhile: Meanwhile | None, seconds: float = LONG) -> bool:
        process, start = (os.getpid(), noted_now()), worker[1].fileno()
        return autosave._Wait(memory, seconds, process=process, start=start).until_over(meanwhile)

    return until_over


def test_something_is_done_once_when_it_is_time(
    wait: Callable[..., bool], worker: tuple[socket.socket, socket.socket], memory: Memory
) -> None:
    memory.place("app.py", "v1", 10)
    meanwhile = Meanwhile(lambda _: None, after=3)

    all_ended = wait(meanwhile, 3.0)

    assert not all_ended
    assert [[*reading.names()] for reading in meanwhile.readings] == [["app.py"]]


def until_stopped(tick: Callable[[], object], stopped: list[type]) -> None:
    deadline = time.monotonic() + LONG
    try:
        while time.monotonic() < deadline:
            tick()
    except BaseException as error:
        stopped.append(type(error))
        raise


def test_it_goes_on_while_another_process_marks_lines(
    wait: Callable[..., bool], worker: tuple[socket.socket, socket.socket], memory: Memory
) -> None:
    slot = memory.table.claim(flags=0, turn=0, epoch=0, token=1)
    worker[0].close()

    all_ended = wait(None, 0.2)
    slot.free()

    assert not all_ended
    assert wait(None)


def test_it_ends_when_the_worker_does(
    wait: Callable[..., bool], worker: tuple[socket.socket, socket.socket]
) -> None:
    stopped: list[type] = []

    def do(tick: Callable[[], object]) -> None:
        tick()
        worker[0].close()
        until_stopped(tick, stopped)

    assert wait(Meanwhile(do))
    assert stopped == [autosave._OverError]


def test_it_ends_when_the_memory_has_gone(wait: Callable[..., bool], memory: Memory) -> None:
    stopped: list[type] = []

    def do(tick: Callable[[], object]) -> None:
        (memory.folder / "control").unlink()
        until_stopped(tick, stopped)

    assert not wait(Meanwhile(do))
    assert stopped == [autosave._OverError]


def test_it_ends_when_the_memory_is_to_be_written(
    wait: Callable[..., bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(autosave, "LEAST_LEFT", 0.0)
    stopped: list[type] = []

    assert not wait(Meanwhile(lambda tick: until_stopped(tick, stopped)), 0.2)
    assert stopped == [autosave._OverError]


def test_nothing_is_begun_right_before_that(wait: Callable[..., bool]) -> None:
    meanwhile = Meanwhile(lambda _: None)

    wait(meanwhile, 0.1)

    assert meanwhile.readings == []


def test_the_wait_goes_on_whatever_comes_of_it(
    wait: Callable[..., bool], worker: tuple[socket.socket, socket.socket]
) -> None:
    def do(_: object) -> None:
        worker[0].close()
        raise ZeroDivisionError

    assert wait(Meanwhile(do))
