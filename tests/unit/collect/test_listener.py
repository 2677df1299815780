"""The worker's one thread, without anything that is measured."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from wsgi_coverage.collect import listener as service_module
from wsgi_coverage.collect.listener import Service
from wsgi_coverage.store.channel import HAS_SOCKETS, Listener, call_all

pytestmark = pytest.mark.skipif(not HAS_SOCKETS, reason="no Unix-domain sockets here")

IDENTITY = {"id": "a", "host": "h", "pid": os.getpid()}
TIMEOUT = 10.0  # seconds


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="s-") as made:
        yield Path(made)


@pytest.fixture
def noted() -> list[str]:
    return []


@pytest.fixture
def service(folder: Path, noted: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """One that listens and is not started yet."""
    monkeypatch.setattr(service_module, "RETRY_INTERVAL", 0.01)
    made = Service(
        folder=lambda: folder,
        answer=lambda verb: {"verb": verb},
        autosave=lambda: None,
        note=noted.append,
    )
    made.listen(IDENTITY)
    yield made
    made.close()
    made.stop()


def until(check: Callable[[], Any]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def answers(folder: Path) -> list[str]:
    return [each["verb"] for each in call_all(folder, "status", wait=TIMEOUT) if each["answered"]]


def test_a_worker_whose_socket_the_application_closed_has_another_at_the_next_autosave(
    service: Service, folder: Path, noted: list[str]
) -> None:
    service.interval = 0.05
    service.start()
    closed = service._listener
    assert closed is not None

    os.close(closed._socket.fileno())
    until(lambda: service._listener is not closed)

    assert answers(folder) == ["status"]
    assert noted == ["the channel failed: [Errno 9] Bad file descriptor"]
    assert len(list(folder.iterdir())) == 2  # a socket and its record


def test_a_channel_that_goes_on_failing_is_noted_once_until_it_has_worked(
    service: Service, folder: Path, noted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = iter([True] * 5 + [False] + [True] * 5)
    ended, serve = threading.Event(), Listener.serve

    def serve_or_fail(self: Listener, timeout: float | None, answer: Any) -> bool:
        fails = next(turns, None)
        if fails is None:
            ended.set()
            return serve(self, timeout, answer)
        if fails:
            raise OSError(24, "Too many open files")
        return False

    monkeypatch.setattr(Listener, "serve", serve_or_fail)
    service.start()

    assert ended.wait(TIMEOUT)
    assert noted == ["the channel failed: [Errno 24] Too many open files"] * 2
    assert answers(folder) == ["status"]


def test_a_thread_ends_at_the_next_autosave_when_the_worker_has_another_socket(
    service: Service, folder: Path, noted: list[str]
) -> None:
    service.interval = 0.05
    service.start()
    thread = service._thread
    assert thread is not None

    service.forget()
    service.listen(IDENTITY)
    service.start()

    thread.join(TIMEOUT)
    assert not thread.is_alive()
    assert answers(folder) == ["status"]
    assert noted == []
    assert len(list(folder.iterdir())) == 2


def test_a_socket_that_is_made_anew_while_the_worker_ends_leaves_no_trace(
    service: Service, folder: Path
) -> None:
    old = service._listener
    assert old is not None
    os.close(old._socket.fileno())
    stopping = threading.Event()
    stopping.set()

    service._mended(old, stopping)

    assert list(folder.iterdir()) == []


def test_signals_are_left_alone_by_a_thread_of_its_own_and_heard_in_the_main_thread() -> None:
    # Under gevent what looks like a thread runs in the application's main thread.
    script = """
import signal, threading
from wsgi_coverage.collect.listener import leave_signals_alone

masks = []

def run():
    leave_signals_alone()
    masks.append(signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, []))

run()
thread = threading.Thread(target=run)
thread.start()
thread.join()
print(masks)
"""
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )

    assert told.stdout.strip() == "[False, True]"
