"""A function called in a child process: what it gets, what comes back, and every way to fail."""

import colorsys
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from errno import ENOSPC
from pathlib import Path
from typing import Any

import coverage
import pytest

from wsgi_coverage.errors import BuildFailedError, ConfigurationError, is_disk_full
from wsgi_coverage.offload import child, child_main, interpreter, process, progress
from wsgi_coverage.report import offloading
from wsgi_coverage.store import private
from wsgi_coverage.system import workdir

pytestmark = pytest.mark.skipif(not hasattr(os, "posix_spawn"), reason="no child can be started")

JOBS = """
import errno, os, pathlib, signal, sys, time

from wsgi_coverage.offload import progress

def about():
    fds = pathlib.Path("/proc/self/fd")
    return {
        "pid": os.getpid(),
        "cwd": os.getcwd(),
        "nice": os.nice(0),
        "environment": dict(os.environ),
        "modules": sorted(sys.modules),
        "files": [os.readlink(fd) for fd in fds.iterdir() if fd.exists()],
        "group": os.getpgid(0),
        "ignored": [s for s in signal.Signals if signal.getsignal(s) is signal.SIG_IGN],
    }

def stat_of(path):
    return os.path.basename(path)

def fill_the_disk():
    raise OSError(errno.ENOSPC, "No space left on device")

def refuse():
    from wsgi_coverage.errors import ConfigurationError

    raise ConfigurationError("it is refused")

def fail():
    raise RuntimeError("two many cooks")

def complain_and_die(number):
    sys.stderr.write("one\\ntwo\\nthree\\nlast words\\n")
    sys.stderr.flush()
    signal.raise_signal(number)

def print_and_return():
    print("a plugin talks", flush=True)
    return "value"

def write_garbage(garbage):
    os.write(0, garbage)
    time.sleep(60)

def hang_up():
    os.close(0)
    for fd in range(3, 20):
        try:
            os.close(fd)
        except OSError:
            pass
    time.sleep(60)

def finish(times, mark):
    for _ in range(times):
        progress.note(1, 1)
    pathlib.Path(mark).touch()

def who():
    return os.getpid(), os.getppid()

def forbid_forks():
    def refused():
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    os.fork = refused
    return os.getpid()

def take(size):
    global taken
    taken = bytes(1) * size
    return os.getpid()

def count(total):
    for done in range(1, total + 1):
        progress.note(done, total)
        time.sleep(0.03)
"""

Call = Callable[..., Any]


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module of functions to call, which is found through this process's sys.path alone."""
    (tmp_path / "jobs_of_the_test.py").write_text(JOBS)
    monkeypatch.syspath_prepend(tmp_path)
    import jobs_of_the_test  # type: ignore[import-not-found]

    yield jobs_of_the_test
    del sys.modules["jobs_of_the_test"]


def call(function: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
    return child.call(function, *arguments, **{"tick": lambda: None, **more})


def test_the_value_comes_from_another_process_with_less_priority(jobs: Any) -> None:
    about = call(jobs.about)

    assert about["pid"] != os.getpid()
    assert about["nice"] == min(os.nice(0) + child_main.NICENESS, 19)


def test_it_works_in_the_same_folder(
    jobs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert call(jobs.about)["cwd"] == str(tmp_path)


def test_no_variable_of_measuring_or_of_python_reaches_it(
    jobs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text("raise SystemExit('this ran')")
    for name in ("COVERAGE_PROCESS_START", "WSGI_COVERAGE_PASSWORD", "PYTHONSTARTUP", "COV_CORE_X"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "shop.settings")

    about = call(jobs.about)

    leaked = ("COVERAGE_", "WSGI_COVERAGE_", "PYTHON", "COV_")
    assert [name for name in about["environment"] if name.startswith(leaked)] == []
    assert about["environment"]["DJANGO_SETTINGS_MODULE"] == "shop.settings"
    assert "sitecustomize" not in about["modules"]


def test_no_server_framework_is_imported_there(jobs: Any) -> None:
    assert {"werkzeug", "jinja2", "site"}.isdisjoint(call(jobs.about)["modules"])


def test_a_module_of_the_application_does_not_hide_one_of_python(jobs: Any, tmp_path: Path) -> None:
    (tmp_path / "colorsys.py").write_text("raise SystemExit('the wrong one')")

    assert call(colorsys.rgb_to_hsv, 0, 0, 0) == (0.0, 0.0, 0)


def test_no_open_file_is_inherited(jobs: Any) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    try:
        inherited = call(jobs.about)["files"]
        assert os.readlink(f"/proc/self/fd/{writer}") not in inherited
    finally:
        os.close(reader)
        os.close(writer)


def test_nothing_is_left_open_here(jobs: Any) -> None:
    call(jobs.about)
    before = sorted(os.listdir("/proc/self/fd"))

    call(jobs.about)
    with pytest.raises(BuildFailedError):
        call(jobs.fail)

    assert sorted(os.listdir("/proc/self/fd")) == before


def test_ctrl_c_does_not_reach_it_and_no_signal_stays_ignored(
    jobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        about = call(jobs.about)
    finally:
        signal.signal(signal.SIGTERM, before)

    assert about["group"] == about["pid"]
    assert signal.SIGTERM not in about["ignored"]


def test_a_large_job_and_a_large_value_go_through(jobs: Any) -> None:
    name = "x" * 3_000_000

    assert call(jobs.stat_of, name) == name


def test_a_file_name_that_is_no_utf8_goes_through(jobs: Any) -> None:
    name = os.fsdecode(b"caf\xe9")

    assert call(jobs.stat_of, name) == name


def test_what_is_printed_there_is_no_message(jobs: Any) -> None:
    assert call(jobs.print_and_return) == "value"


def test_progress_comes_through_and_signs_of_life_are_given(jobs: Any) -> None:
    noted: list[tuple[int, int]] = []
    ticks: list[None] = []

    with progress.told_to(lambda done, total: noted.append((done, total))):
        call(jobs.count, 20, tick=lambda: ticks.append(None))

    assert noted == sorted(noted)
    assert len(noted) > 2
    assert noted[-1] == (20, 20)
    assert len(ticks) > 1


def test_one_that_nobody_listens_to_is_not_held_up_by_its_progress(
    jobs: Any, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    begun = child.begin(jobs.finish, 20_000, mark)  # messages, far more than a socket holds

    # To look whether it is done would be to listen.
    assert is_so(mark.exists)
    assert is_so(begun.is_done)
    assert begun.error is None


def test_an_error_there_is_named(jobs: Any, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(BuildFailedError, match="RuntimeError: two many cooks"):
        call(jobs.fail)

    assert "in fail" in caplog.text  # the traceback


def test_a_full_disk_there_is_a_full_disk_here(jobs: Any) -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        call(jobs.fill_the_disk)

    assert caught.value.errno == ENOSPC
    assert is_disk_full(caught.value)


def test_an_error_of_ours_there_is_the_same_error_here(jobs: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^it is refused$"):
        call(jobs.refuse)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT])
def test_its_death_is_named_with_its_last_words(jobs: Any, number: signal.Signals) -> None:
    with pytest.raises(BuildFailedError) as caught:
        call(jobs.complain_and_die, number)

    assert f"was killed by {number.name} before it was done" in str(caught.value)
    assert "two | three | last words" in str(caught.value)


def test_an_early_exit_is_named(jobs: Any) -> None:
    with pytest.raises(BuildFailedError, match="ended with exit code 3 before it was done"):
        call(os._exit, 3)


def test_its_death_is_noticed_where_a_fork_of_the_worker_holds_its_channel_open(
    jobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = []
    spawn = process._spawn

    def while_somebody_forks(command: Any, env: Any, channel: int, stderr: int) -> int:
        held.append(os.dup(channel))
        return spawn(command, env, channel, stderr)

    monkeypatch.setattr(process, "_spawn", while_somebody_forks)
    try:
        with pytest.raises(BuildFailedError, match="was killed by SIGKILL"):
            call(jobs.complain_and_die, signal.SIGKILL, silence=20)
    finally:
        os.close(held[0])


def test_one_that_hangs_up_is_given_up(jobs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsgi_coverage.offload.process.REAP_TIMEOUT", 0.05)

    with pytest.raises(BuildFailedError):
        call(jobs.hang_up)


def test_one_that_says_nothing_is_given_up(jobs: Any) -> None:
    with pytest.raises(BuildFailedError, match="sent no message for 1 seconds"):
        call(time.sleep, 60, silence=1)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff\x00 no JSON\n",
        b"[1, 2]\n",
        b'{"kind": "else"}\n',
        b'{"kind": "files", "done": "x"}\n',
        b'{"kind": "value", "pickle": "AAAA"}\n',
    ],
)
def test_garbage_on_the_pipe_is_an_error(jobs: Any, garbage: bytes) -> None:
    with pytest.raises(BuildFailedError, match="sent an invalid message"):
        call(jobs.write_garbage, garbage)


def test_garbage_without_an_end_is_an_error(jobs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "MAX_LINE", 1000)

    with pytest.raises(BuildFailedError, match="sent an invalid message"):
        call(jobs.write_garbage, b"x" * 2000)


def test_whatever_fails_no_process_is_left(jobs: Any) -> None:
    before = children()

    for job, arguments in [(jobs.fail, ()), (jobs.write_garbage, (b"x\n",)), (jobs.about, ())]:
        with contextlib.suppress(BuildFailedError):
            call(job, *arguments)

    assert children() == before


def is_so(check: Callable[[], bool]) -> bool:
    """Wait until something is so; False where it is not after some seconds."""
    deadline = time.monotonic() + 20
    while not (found := check()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


def children() -> set[str]:
    """This process's children, those included that nobody has waited for."""
    out = set()
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if entry.read_text().rpartition(")")[2].split()[1] == str(os.getpid()):
                out.add(entry.parent.name)
    return out


def test_it_ends_where_a_fork_of_a_killed_worker_holds_its_channel_open(
    jobs: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = tmp_path / "child_main.py"
    text = Path(child_main.__file__).read_text()
    script.write_text(text.replace("SILENCE_TIMEOUT = 120 ", "SILENCE_TIMEOUT = 1 "))
    command = interpreter.command(sys.executable, script)
    job = child._job((jobs.stat_of, ("x" * 3_000_000,), {}), child._circumstances(plugins=False))
    channel = process.start_apart(command, interpreter.environment(os.environ))
    with channel:
        channel.setblocking(True)
        channel.sendall(job)
        assert channel.recv(1, socket.MSG_PEEK)  # it has greeted; all that follows stays unread

        assert is_so(lambda: has_hung_up(channel))


def has_hung_up(channel: socket.socket) -> bool:
    poll = select.poll()
    poll.register(channel, 0)
    return bool(poll.poll(0))


@contextlib.contextmanager
def on_sigchld(handler: Any) -> Iterator[None]:
    before = signal.signal(signal.SIGCHLD, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


def reap_everything(*_: object) -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


@pytest.mark.parametrize("handler", [reap_everything, signal.SIG_IGN])
def test_an_application_that_reaps_every_child_disturbs_nothing(jobs: Any, handler: Any) -> None:
    with on_sigchld(handler):
        assert call(jobs.print_and_return) == "value"
        with pytest.raises(BuildFailedError, match="ended before it was done; it wrote: two"):
            call(jobs.complain_and_die, signal.SIGKILL)


@pytest.mark.parametrize("executable", ["", None, "uwsgi"])
def test_python_is_found_where_the_server_embeds_it_and_the_server_is_not_started(
    jobs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, executable: str | None
) -> None:
    server = tmp_path / "uwsgi"
    server.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    server.chmod(0o700)
    given = executable and str(server)
    monkeypatch.setattr(sys, "executable", given)
    monkeypatch.setattr(sys, "_base_executable", given)

    assert call(jobs.print_and_return) == "value"
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize(
    "script",
    [
        "exit 3",
        "exec sleep 60",
        "echo usage: python",
        """echo '{"kind": "hello", "version": "cpython-27 2070f"}'; sleep 60""",
    ],
)
def test_what_is_not_this_python_is_passed_over(
    jobs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    wrong = tmp_path / "python3"
    wrong.write_text(f"#!/bin/sh\n{script}\n")
    wrong.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(wrong))
    monkeypatch.setattr(child, "GREETING_TIMEOUT", 2.0)

    assert interpreter.candidates()[0] == str(wrong)
    assert call(jobs.print_and_return) == "value"


def test_where_no_python_is_that_is_said(jobs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreter, "candidates", lambda: ["/nowhere/python"])

    with pytest.raises(child.NoInterpreterError, match="/nowhere/python does not start"):
        call(jobs.print_and_return)


def test_one_that_can_start_no_thread_is_passed_over(
    jobs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python3"
    python.write_text(f"""#!{sys.executable}
import runpy, sys, threading
def refused(_): raise RuntimeError("can't start new thread")
threading.Thread.start = refused
runpy.run_path(sys.argv[-1], run_name="__main__")
""")
    python.chmod(0o700)
    monkeypatch.setattr(interpreter, "candidates", lambda: [str(python)])

    with pytest.raises(child.NoInterpreterError, match="can't start new thread"):
        call(jobs.print_and_return)


@pytest.fixture
def waiting(jobs: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder in which processes wait; it is empty, and its path is short."""
    with tempfile.TemporaryDirectory(dir=private.SHORT) as name:
        monkeypatch.setattr(private, "SHARED_MEMORY", Path(name))
        yield private.private_folder(Path(name, "data")).parent


def sockets(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_socket()]


def open_files(pid: int) -> list[str]:
    """What a process has open; it has a pidfd of the worker's once it waits."""
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was closed just now
            found.append(os.readlink(link))
    return found


def pidfds(pid: int) -> str:
    """What the system says of a process's descriptors, of pidfds whose they are."""
    found = []
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was closed just now
            found.append(path.read_text())
    return "".join(found)


def has_ended(pid: int) -> bool:
    """Wait for the end of a process; False where it has not ended after some seconds."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], 20)[0])
    finally:
        os.close(fd)


def one_that_waits(jobs: Any) -> int:
    """The process id of a process that waits: one that was forked by the first, which ended."""
    call(jobs.who, waits=True)
    return int(call(jobs.who, waits=True)[0])


def test_a_process_that_waits_does_the_next_call_and_is_no_child(waiting: Path, jobs: Any) -> None:
    before = children()
    pid = one_that_waits(jobs)

    again, parent = call(jobs.who, waits=True)

    assert again == pid != os.getpid()
    assert parent != os.getpid()
    assert children() == before
    assert call(jobs.who)[0] != pid
    assert [path.stat().st_mode & 0o777 for path in sockets(waiting)] == [0o600]


def test_it_has_no_file_open_while_it_waits(waiting: Path, jobs: Any) -> None:
    pid = one_that_waits(jobs)
    assert is_so(lambda: "anon_inode:[pidfd]" in open_files(pid))

    there = {name.partition(":")[0] for name in open_files(pid)}

    assert there == {"/dev/null", "socket", "anon_inode"}


def test_what_it_does_is_told_like_that_of_any_other(waiting: Path, jobs: Any) -> None:
    noted: list[int] = []
    call(jobs.who, waits=True)

    with progress.told_to(lambda done, total: noted.append(done)):
        call(jobs.count, 20, waits=True)
    with pytest.raises(ConfigurationError, match=r"^it is refused$"):
        call(jobs.refuse, waits=True)

    assert noted[-1] == 20


def test_another_process_of_the_host_is_served_by_it_and_it_ends_with_the_last(
    waiting: Path, jobs: Any, tmp_path: Path
) -> None:
    pid = one_that_waits(jobs)
    code = f"""
import sys
sys.path[:] = {sys.path!r}
from pathlib import Path
from wsgi_coverage.offload import child
from wsgi_coverage.store import private
private.SHARED_MEMORY = Path({str(waiting.parent)!r})
import jobs_of_the_test as jobs
print(child.call(jobs.who, tick=lambda: None, waits=True)[0], flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env=dict(os.environ),  # C code has variables of its own, readline for instance
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        told = other.stdout.readline()
        waits_for = f"Pid:\t{other.pid}\n"
        assert is_so(lambda: waits_for in pidfds(pid))
        other.communicate()  # ends it

    assert told == f"{pid}\n"
    assert has_ended(pid)
    assert sockets(waiting) == []


@pytest.mark.parametrize(
    "change", ["environment", "folder", "option", "upgrade", "upgrade of coverage.py"]
)
def test_it_does_no_call_that_would_start_another_process(
    waiting: Path, jobs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    pid = one_that_waits(jobs)
    if change == "environment":
        monkeypatch.setenv("SHOP", "x")
    elif change == "folder":
        monkeypatch.chdir(tmp_path)
    elif change == "option":
        monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path))
    elif change == "upgrade":
        monkeypatch.setattr(child, "INSTALLED", 1)
    else:
        monkeypatch.setattr(coverage, "__version__", "99.0")

    assert call(jobs.who, waits=True)[0] != pid


def test_it_works_in_the_folder_that_has_the_name_now(
    waiting: Path, jobs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "current"
    folder.mkdir()
    monkeypatch.setattr(workdir, "_folder", str(folder))
    pid = one_that_waits(jobs)
    folder.rename(tmp_path / "before")
    folder.mkdir()

    about = call(jobs.about, waits=True)

    assert about["pid"] == pid
    assert about["cwd"] == str(folder)


def test_one_waits_however_often_the_environment_changes(
    waiting: Path, jobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids = []
    for number in range(3):
        monkeypatch.setenv("SHOP", str(number))
        pids.append(one_that_waits(jobs))

    assert len(set(pids)) == 3
    assert has_ended(pids[0])
    assert has_ended(pids[1])
    assert len(sockets(waiting)) == 1


def test_a_test_runner_finds_it_there_in_every_test(
    waiting: Path, jobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = one_that_waits(jobs)
    monkeypatch.setenv("PYTEST_CURRENT_TEST", "another test")

    assert call(jobs.who, waits=True)[0] == pid


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_one_that_dies_is_replaced(waiting: Path, jobs: Any, when: str) -> None:
    pid = one_that_waits(jobs)
    if when == "before":
        os.kill(pid, signal.SIGKILL)
        assert has_ended(pid)
    else:
        with pytest.raises(BuildFailedError, match="was killed by SIGKILL"):  # another did so, too
            call(jobs.complain_and_die, signal.SIGKILL, waits=True)
        assert "ended before it was done" in (child.lost() or "")

    again, _ = call(jobs.who, waits=True)

    assert again != pid
    assert one_that_waits(jobs) == call(jobs.who, waits=True)[0]


def test_one_that_is_stopped_costs_two_seconds_once(waiting: Path, jobs: Any) -> None:
    pid = one_that_waits(jobs)
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        another, _ = call(jobs.who, waits=True)
        first, began = time.monotonic() - began, time.monotonic()
        call(jobs.who, waits=True)
        second = time.monotonic() - began
    finally:
        os.kill(pid, signal.SIGCONT)

    assert another != pid
    assert first < child.GREETING_TIMEOUT / 2
    assert second < child.WAKE_TIMEOUT
    assert has_ended(pid)


@pytest.mark.parametrize("answer", [b"", b"no message", b"\xff\n", b"[]\n"])
def test_another_program_that_listens_there_holds_nobody_up(
    waiting: Path, jobs: Any, answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "WAKE_TIMEOUT", 0.5)
    pid = one_that_waits(jobs)
    [place] = sockets(waiting)
    place.unlink()
    assert has_ended(pid)

    def chatter(connected: socket.socket) -> None:
        with connected, contextlib.suppress(OSError):
            for _ in range(100):
                connected.sendall(answer)
                time.sleep(0.1)

    with socket.socket(socket.AF_UNIX) as other, ThreadPoolExecutor(1) as pool:
        other.bind(str(place))
        other.listen()
        pool.submit(lambda: chatter(other.accept()[0]))
        began = time.monotonic()

        assert call(jobs.print_and_return, waits=True) == "value"
        assert time.monotonic() - began < 5


GREETING = json.dumps({"kind": "hello", "version": child_main.python_version()}).encode() + b"\n"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"no message\n", "sent an invalid message"),
        (b"", "sent no message for 1 seconds"),
        (None, "ended before it was done"),
    ],
)
def test_one_that_is_lost_after_its_greeting_has_the_call_done_by_a_child_and_that_is_said(
    waiting: Path,
    jobs: Any,
    caplog: pytest.LogCaptureFixture,
    answer: bytes | None,
    told: str,
) -> None:
    pid = one_that_waits(jobs)
    [place] = sockets(waiting)
    place.unlink()
    assert has_ended(pid)
    done = threading.Event()

    def deceive(connected: socket.socket) -> None:
        with connected:
            connected.sendall(GREETING + (answer or b""))
            if answer is not None:
                done.wait(30)

    with socket.socket(socket.AF_UNIX) as other, ThreadPoolExecutor(1) as pool:
        other.bind(str(place))
        other.listen()
        pool.submit(lambda: deceive(other.accept()[0]))

        value = call(jobs.print_and_return, waits=True, silence=1)
        done.set()

    assert value == "value"
    assert told in (offloading.problem() or "")
    assert [told in line for line in caplog.messages] == [True]
    assert one_that_waits(jobs) == call(jobs.who, waits=True)[0]
    assert offloading.problem() is None


def test_one_that_cannot_fork_does_not_wait_and_its_value_counts(waiting: Path, jobs: Any) -> None:
    pid = call(jobs.forbid_forks, waits=True)

    assert has_ended(pid)
    assert sockets(waiting) == []


def test_calls_at_the_same_time_are_done_by_several(waiting: Path, jobs: Any) -> None:
    call(jobs.who, waits=True)
    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(call, jobs.count, 5, waits=True) for _ in range(8)]

    assert [each.result() for each in done] == [None] * 8
    assert len(sockets(waiting)) == 1


def test_one_that_takes_much_memory_does_not_wait(waiting: Path, jobs: Any) -> None:
    pid = call(jobs.take, child_main.MOST_MEMORY, waits=True)

    assert has_ended(pid)
    assert sockets(waiting) == []


def test_who_removes_the_socket_ends_it(waiting: Path, jobs: Any) -> None:
    pid = one_that_waits(jobs)
    assert is_so(lambda: "anon_inode:[pidfd]" in open_files(pid))

    sockets(waiting)[0].unlink()

    assert has_ended(pid)


def test_none_waits_for_the_first_process_of_a_container(
    waiting: Path, jobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsgi_coverage.offload.child.os.getpid", lambda: 1)

    assert has_ended(call(jobs.who, waits=True)[0])
    assert sockets(waiting) == []
