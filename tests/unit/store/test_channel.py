"""Reaching every live worker at once."""

import contextlib
import errno
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from wsgi_coverage import liveness
from wsgi_coverage.store.channel import (
    HAS_SOCKETS,
    Listener,
    address_of,
    call_all,
    listening,
    sweep_dead,
)

pytestmark = pytest.mark.skipif(not HAS_SOCKETS, reason="no Unix-domain sockets here")

Start = Callable[..., Listener]


DEEP = "/".join(["deep"] * 30)
NEEDS_PROC = pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="a path longer than an address needs proc(5)"
)


@pytest.fixture(params=["", pytest.param(DEEP, marks=NEEDS_PROC)], ids=["short", "deep"])
def folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A socket's address has 108 bytes: one folder leaves room for it, the other does not."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="c-") as made:
        folder = Path(made, request.param)
        folder.mkdir(parents=True, exist_ok=True)
        yield folder


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Workers that answer each call with what `answer` returns."""
    running: list[tuple[Listener, threading.Thread, threading.Event]] = []

    def run(identity: str, answer: Callable[[str], dict[str, Any]]) -> Listener:
        listener = Listener(folder, {"id": identity, "host": "h", "pid": len(running) + 1})
        stop = threading.Event()

        def serve() -> None:
            while not stop.is_set():
                try:
                    listener.serve(None, answer)
                except OSError:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        running.append((listener, thread, stop))
        return listener

    yield run
    for listener, thread, stop in running:
        stop.set()
        listener.wake()
        thread.join(10)
        listener.close()


def test_every_worker_is_asked_and_answers(folder: Path, start: Start) -> None:
    for name in ("a", "b", "c"):
        start(name, lambda verb, name=name: {"did": verb, "by": name})

    answers = call_all(folder, "publish", wait=10)

    assert sorted((each["id"], each["did"], each["by"]) for each in answers) == [
        ("a", "publish", "a"),
        ("b", "publish", "b"),
        ("c", "publish", "c"),
    ]
    assert all(each["answered"] for each in answers)


def test_the_caller_can_leave_itself_out(folder: Path, start: Start) -> None:
    start("a", lambda verb: {})
    start("b", lambda verb: {})

    assert [each["id"] for each in call_all(folder, "status", wait=10, but={1})] == ["b"]


def test_a_worker_that_does_not_answer_in_time_is_named(folder: Path, start: Start) -> None:
    held = threading.Event()
    start("quick", lambda verb: {})
    start("slow", lambda verb: {"late": held.wait(30)})

    answers = {each["id"]: each["answered"] for each in call_all(folder, "status", wait=0.2)}
    held.set()

    assert answers == {"quick": True, "slow": False}


@pytest.mark.skipif(not Path("/proc/net/unix").exists(), reason="no list of sockets here")
def test_a_worker_that_answers_nobody_is_seen_and_not_called(folder: Path, start: Start) -> None:
    start("a", lambda verb: {})
    silent = Listener(folder, {"id": "b", "host": "h", "pid": os.getpid()}, answers=False)

    assert silent._path.name in Path("/proc/net/unix").read_text()
    assert [each["id"] for each in call_all(folder, "status", wait=10)] == ["a"]
    silent.close()
    assert not [*folder.glob("*.unready")]


def test_who_waits_for_answers_gives_signs_of_life(folder: Path, start: Start) -> None:
    held = threading.Event()
    start("slow", lambda verb: {"late": held.wait(30)})

    with liveness.during(held.set):
        answers = call_all(folder, "status", wait=30)

    assert [each["late"] for each in answers] == [True]


def test_a_dead_workers_traces_are_swept_away(folder: Path) -> None:
    listener = Listener(folder, {"id": "dead", "host": "h", "pid": 1})
    listener._socket.close()  # as the kernel does when a process is killed
    assert len(list(folder.iterdir())) == 2

    answers = call_all(folder, "status", wait=5)

    assert answers == []
    assert list(folder.iterdir()) == []


def test_a_worker_that_ends_before_it_hears_the_question_is_no_straggler(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = socket.socket.connect
    listener = Listener(folder, {"id": "a", "host": "h", "pid": 1})

    def ended_meanwhile(self: socket.socket, address: str) -> None:
        connect(self, address)
        listener.close()

    monkeypatch.setattr(socket.socket, "connect", ended_meanwhile)

    assert call_all(folder, "status", wait=5) == []


def test_a_worker_that_ends_before_it_answers_is_no_straggler(folder: Path, start: Start) -> None:
    listener = Listener(folder, {"id": "a", "host": "h", "pid": 1})
    start("b", lambda verb: {})

    def hear_and_end() -> None:
        connection, _ = listener._socket.accept()
        connection.recv(1)
        listener.close()
        connection.close()

    ending = threading.Thread(target=hear_and_end)
    ending.start()

    assert [each["id"] for each in call_all(folder, "status", wait=5)] == ["b"]
    ending.join(10)


def test_a_worker_that_is_just_starting_is_not_taken_for_dead(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listen = socket.socket.listen

    def called_meanwhile(self: socket.socket, backlog: int) -> None:
        assert call_all(folder, "status", wait=5) == []
        listen(self, backlog)

    monkeypatch.setattr(socket.socket, "listen", called_meanwhile)
    listener = Listener(folder, {"id": "a", "host": "h", "pid": 1})
    threading.Thread(target=listener.serve, args=(10, lambda verb: {})).start()

    assert [each["answered"] for each in call_all(folder, "status", wait=10)] == [True]
    listener.close()


def test_a_closed_worker_leaves_no_trace(folder: Path) -> None:
    listener = Listener(folder, {"id": "a", "host": "h", "pid": 1})

    listener.close()

    assert list(folder.iterdir()) == []


def test_sockets_are_for_the_own_user_only(folder: Path, start: Start) -> None:
    start("a", lambda verb: {})

    (path,) = folder.glob("*.socket")
    assert path.stat().st_mode & 0o777 == 0o600


def test_serving_gives_up_after_its_timeout(folder: Path) -> None:
    listener = Listener(folder, {"id": "a", "host": "h", "pid": 1})

    served = listener.serve(0.01, lambda verb: {})
    listener.close()

    assert served is False


def test_a_socket_whose_descriptor_somebody_closed_is_not_open(folder: Path) -> None:
    listener = Listener(folder, {"id": "a", "host": "h", "pid": 1})
    assert listener.is_open

    os.close(listener._socket.fileno())

    assert not listener.is_open
    listener.close()


def test_a_descriptor_that_is_somebody_elses_by_now_is_left_alone(folder: Path) -> None:
    listener = Listener(folder, {"id": "a", "host": "h", "pid": 1})
    descriptor = listener._socket.fileno()
    with socket.socket(socket.AF_UNIX) as other:
        with address_of(folder / "other") as address:
            other.bind(address)
        other.listen()
        os.dup2(other.fileno(), descriptor)

        with pytest.raises(OSError, match="Bad file descriptor"):
            listener.serve(0.01, lambda verb: {})
        listener.close()

        assert os.fstat(descriptor).st_ino == os.fstat(other.fileno()).st_ino
        os.close(descriptor)


NO_CALL = [b"", b"\n", b"no json\n", b"[]\n", b'{"verb": 1', b"x" * 70_000, b"[" * 60_000 + b"\n"]


@pytest.mark.parametrize("line", NO_CALL)
def test_garbage_on_the_socket_harms_nobody(folder: Path, start: Start, line: bytes) -> None:
    start("a", lambda verb: {"verb": verb})
    (path,) = folder.glob("*.socket")

    with socket.socket(socket.AF_UNIX) as connection:
        with address_of(path) as address:
            connection.connect(address)
        with contextlib.suppress(BrokenPipeError):
            connection.sendall(line)

    assert [each["answered"] for each in call_all(folder, "status", wait=10)] == [True]


@pytest.mark.parametrize("answer", [b"no json\n", b"[1]\n", b'"x"\n', b"[" * 60_000 + b"\n"])
def test_an_answer_that_is_none_is_no_answer(folder: Path, answer: bytes) -> None:
    listener = Listener(folder, {"id": "a", "host": "h", "pid": 1})

    def say() -> None:
        connection, _ = listener._socket.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(answer)

    thread = threading.Thread(target=say)
    thread.start()

    answers = call_all(folder, "status", wait=10)

    thread.join(10)
    listener.close()
    assert [(each["id"], each["answered"]) for each in answers] == [("a", False)]


def test_an_answer_does_not_change_whose_it_is(folder: Path, start: Start) -> None:
    start("a", lambda verb: {"id": ["b"], "pid": "x", "verb": verb})

    [answer] = call_all(folder, "status", wait=10)

    assert (answer["id"], answer["pid"], answer["verb"]) == ("a", 1, "status")


def test_who_sends_a_call_byte_by_byte_holds_a_worker_up_for_a_bounded_time(
    folder: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsgi_coverage.store.channel.SEND_TIMEOUT", 0.5)
    start("a", lambda verb: {})
    (path,) = folder.glob("*.socket")
    done = threading.Event()

    def drip() -> None:
        with socket.socket(socket.AF_UNIX) as connection, address_of(path) as address:
            connection.connect(address)
            with contextlib.suppress(OSError):
                while not done.wait(0.1):
                    connection.sendall(b" ")

    thread = threading.Thread(target=drip)
    thread.start()
    thread.join(10)
    has_ended = not thread.is_alive()
    done.set()
    thread.join(10)

    assert has_ended
    assert [each["answered"] for each in call_all(folder, "status", wait=10)] == [True]


def test_a_record_without_its_socket_is_no_worker(folder: Path) -> None:
    (folder / "1-aa.json").write_text(json.dumps({"id": "a", "host": "h", "pid": 1}))

    assert call_all(folder, "status", wait=5) == []


def test_who_listens_is_known_without_asking(folder: Path) -> None:
    identity = {"id": "mine", "host": "h", "pid": os.getpid()}
    listener = Listener(folder, identity)

    assert listening(folder) == {"mine"}

    listener.close()
    assert listening(folder) == set()


def test_a_process_that_is_no_longer_there_does_not_listen(folder: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    listener = Listener(folder, {"id": "killed", "host": "h", "pid": ended.pid})
    ended.wait()

    assert listening(folder) == set()

    listener.close()


def test_what_a_killed_process_has_left_is_swept_and_nothing_else(folder: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pid = ended.pid
    left = [f"{pid}-0123abcd.{each}" for each in ("json", "socket", "unready")]
    left += [
        ".building-0123456789abcdef",
        ".building-0123456789abcdef.lock",
        ".wsgi-coverage-new-0",
    ]
    kept = ["about.json", "index", f"{pid}-load.lines", ".wsgi-coverage-new-1"]
    for name in (*left, *kept):
        (folder / name).write_text("[]")
    os.utime(folder / ".wsgi-coverage-new-0", (0, 0))
    living = Listener(folder, {"id": "a", "host": "h", "pid": os.getpid()})
    its = {path.name for path in folder.iterdir() if path.name.startswith(f"{os.getpid()}-")}

    sweep_dead(folder)

    assert {path.name for path in folder.iterdir()} == {*kept, *its}
    assert len(its) == 2
    living.close()


def test_a_socket_that_the_new_user_may_not_reach_is_closed_and_raises_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after gunicorn's --user, in a folder of root's."""
    listener = Listener(folder, {"id": "a", "host": "h", "pid": 1})
    assert listener.is_reachable

    def refuse(*args: object, **keywords: object) -> NoReturn:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", refuse)
        patch.setattr(os, "unlink", refuse)
        reachable = listener.is_reachable
        listener.close()

    assert not reachable
    assert not listener.is_open
