"""Ends that run no exit handlers: all lines are there, and nothing of ours delays them."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import coverage
import pytest
import scripts
from scripts import FORK

Measure = Callable[..., dict[str, Any]]

LOADED = [1, 5, 9]
FIRST, SECOND = 2, 6

RUN = ("-m", "wsgi_coverage", "run", "--port", "0")
MEASURED_BY = pytest.mark.parametrize("command", [(), RUN], ids=["start-early", "run"])
METHODS = pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])

HELPERS = (
    FORK
    + """
import warnings

def on_sigterm():
    "What SIGTERM does here."
    found = signal.getsignal(signal.SIGTERM)
    return found.name if isinstance(found, signal.Handlers) else getattr(found, "__module__", "?")

def terminate():
    "End this process; the handler runs between two of the steps that follow."
    os.kill(os.getpid(), signal.SIGTERM)
    for _ in range(1000):
        pass
"""
)

STARTED = HELPERS + scripts.STARTED

# What several methods of multiprocessing start imports the script anew, as another module.
MULTIPROCESSING = (
    HELPERS
    + """
import multiprocessing
warnings.simplefilter("ignore", DeprecationWarning)  # of a fork in a process that has threads
start_early()
import app

def tell_how(connection):
    app.second()
    connection.send([on_sigterm(), forks.current() is not None])

def loop(number):
    return number + app.first()
"""
)


def lines_in(folder: Path) -> list[int]:
    """Lines of app.py in all data files."""
    lines: set[int] = set()
    for path in folder.glob(".coverage.*"):
        data = coverage.CoverageData(str(path))
        data.read()
        for name in data.measured_files():
            if Path(name).name == "app.py":
                lines.update(data.lines(name) or ())
        data.close()
    return sorted(lines)


# SIGTERM is nobody else's


def test_the_process_that_was_started_heeds_sigterm(measure: Measure, core: str) -> None:
    told = measure(STARTED + "tell(on=on_sigterm())", core=core)

    assert told["on"] == "wsgi_coverage.collect.exits"


def test_where_nothing_is_held_back_sigterm_is_as_it_was(measure: Measure) -> None:
    told = measure(
        STARTED + "tell(on=on_sigterm(), engine=engine.measuring.engine)",
        core=None,
    )

    if told["engine"] == "memory":
        assert told["on"] == "SIG_DFL"


@MEASURED_BY
def test_no_handler_is_left_in_a_forked_child(
    measure: Measure, core: str, command: tuple[str, ...]
) -> None:
    told = measure(
        STARTED
        + """
warnings.simplefilter("ignore", DeprecationWarning)
told, tell_it = os.pipe()

def work(depth):
    os.write(tell_it, (on_sigterm() + ",").encode())
    if depth:
        sys.exit(ended(fork(work, depth - 1)))

codes = [ended(fork(work, 2))]  # its child, and that one's, too
thread = threading.Thread(target=lambda: codes.append(ended(fork(work, 1))))
thread.start()
thread.join()
os.close(tell_it)
tell(codes=codes, children=os.read(told, 1000).decode(), parent=on_sigterm())
""",
        core=core,
        command=command,
    )

    assert told["codes"] == [0, 0]
    assert told["children"] == "SIG_DFL," * 5
    assert told["parent"] == "wsgi_coverage.collect.exits"


@MEASURED_BY
@METHODS
def test_no_handler_is_left_in_a_child_of_multiprocessing_which_is_measured(
    measure: Measure, core: str, command: tuple[str, ...], method: str, tmp_path: Path
) -> None:
    told = measure(
        MULTIPROCESSING
        + f"""
if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    here, there = context.Pipe()
    process = context.Process(target=tell_how, args=(there,))
    process.start()
    process.join()
    on, is_measured = here.recv()
    tell(on=on, is_measured=is_measured, code=process.exitcode)
""",
        core=core,
        command=command,
    )

    assert told["is_measured"]
    assert told["code"] == 0
    assert told["on"] == "SIG_DFL"
    assert lines_in(tmp_path) == sorted([*LOADED, SECOND])


@METHODS
def test_a_pool_ends_that_is_terminated(measure: Measure, core: str, method: str) -> None:
    told = measure(
        MULTIPROCESSING
        + f"""
if __name__ == "__main__":
    with multiprocessing.get_context("{method}").Pool(2) as pool:
        found = pool.map(loop, range(20))
    pool.join()
    tell(found=found)
""",
        core=core,
    )

    assert told["found"] == [*range(1, 21)]


@MEASURED_BY
def test_thirty_pools_end_one_after_another(measure: Measure, command: tuple[str, ...]) -> None:
    told = measure(
        MULTIPROCESSING
        + """
if __name__ == "__main__":
    context, found = multiprocessing.get_context("fork"), []
    for number in range(30):
        with context.Pool(2) as pool:
            found.append(sum(pool.map(loop, [number] * 4)))
    tell(found=found, lines=published()["app.py"])
""",
        core="ctrace",
        command=command,
    )

    assert told["found"] == [4 * number + 4 for number in range(30)]
    assert FIRST in told["lines"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_handler_of_the_applications_is_left_alone(
    measure: Measure, core: str, when: str, tmp_path: Path
) -> None:
    told = measure(
        HELPERS
        + f"""
WHEN = "{when}"
"""
        + """
came = []

def theirs(number, frame):
    came.append(os.getpid())

def install():
    signal.signal(signal.SIGTERM, theirs)

if WHEN == "before":
    install()
start_early()
if WHEN == "after":
    install()
import app
app.first()
mine = signal.getsignal(signal.SIGTERM) is theirs

def work():
    app.second()
    os.kill(os.getpid(), signal.SIGTERM)
    if came != [os.getpid()] or signal.getsignal(signal.SIGTERM) is not theirs:
        sys.exit(1)

code = ended(fork(work))
os.kill(os.getpid(), signal.SIGTERM)
tell(mine=mine, code=code, came=came == [os.getpid()], lines=published().get("app.py"))
""",
        core=core,
    )

    assert told["returncode"] == 0
    assert told["mine"]
    assert told["code"] == 0
    assert told["came"]
    assert lines_in(tmp_path) == sorted([*LOADED, FIRST, SECOND])


def test_sigterm_that_is_ignored_stays_so(measure: Measure, core: str) -> None:
    told = measure(
        HELPERS
        + """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
start_early()
mine = on_sigterm()
terminate()
told, tell_it = os.pipe()
code = ended(fork(lambda: os.write(tell_it, on_sigterm().encode())))
tell(mine=mine, code=code, child=os.read(told, 100).decode())
""",
        core=core,
    )

    assert told == {**told, "mine": "SIG_IGN", "code": 0, "child": "SIG_IGN"}


def test_a_handler_that_calls_the_one_before_goes_on_as_it_does_without_us(
    measure: Measure, core: str, tmp_path: Path
) -> None:
    told = measure(
        STARTED
        + """
before = signal.getsignal(signal.SIGTERM)

def theirs(number, frame):
    app.second()
    if callable(before):
        before(number, frame)
    tell(went_on=True)
    sys.exit(3)

signal.signal(signal.SIGTERM, theirs)
app.first()
terminate()
""",
        core=core,
        check=False,
    )

    assert told["went_on"]
    assert told["returncode"] == 3
    assert lines_in(tmp_path) == sorted([*LOADED, FIRST, SECOND])


# SIGTERM ends the process, and all lines are there


@MEASURED_BY
def test_sigterm_ends_the_process_with_all_lines(
    measure: Measure, core: str, branch: bool, command: tuple[str, ...], tmp_path: Path
) -> None:
    told = measure(
        STARTED + "app.first()\nterminate()\ntell(went_on=True)",
        core=core,
        branch=branch,
        command=command,
        check=False,
    )

    assert "went_on" not in told
    assert told["returncode"] == -signal.SIGTERM
    assert lines_in(tmp_path) == sorted([*LOADED, FIRST])


IN_A_FLUSH = """
NAME = "append" if engine.measuring.branch else "_mark"
owner = worker.memory if engine.measuring.branch else engine
original = getattr(owner, NAME)
arrived, go_on = threading.Event(), threading.Event()
worker._service.stop()

def held_up(*args):
    delattr(owner, NAME)
    arrived.set()
    go_on.wait()
    return original(*args)

setattr(owner, NAME, held_up)
app.first()
threading.Thread(target=worker.flush, daemon=True).start()
arrived.wait()
app.second()
"""


def test_sigterm_while_another_thread_is_in_a_flush_ends_the_process_with_all_lines(
    measure: Measure, core: str, branch: bool, tmp_path: Path
) -> None:
    told = measure(
        STARTED
        + IN_A_FLUSH
        + """
is_free_within = engine.is_free_within

def waiting(seconds):
    go_on.set()
    return is_free_within(seconds)

engine.is_free_within = waiting
terminate()
tell(went_on=True)
""",
        core=core,
        branch=branch,
        check=False,
    )

    assert "went_on" not in told
    assert told["returncode"] == -signal.SIGTERM
    assert lines_in(tmp_path) == sorted([*LOADED, FIRST, SECOND])


def test_sigterm_ends_the_process_while_a_flush_of_another_thread_does_not_end(
    measure: Measure, core: str
) -> None:
    told = measure(
        STARTED
        + IN_A_FLUSH
        + """
from wsgi_coverage.collect import worker as worker_module
worker_module.END_TIMEOUT = 0.01
terminate()
tell(went_on=True)
""",
        core=core,
        check=False,
    )

    assert "went_on" not in told
    assert told["returncode"] == -signal.SIGTERM


# What a process does as it ends: the script asks for it by its own end, or by a signal.
AT_THE_END = """
from wsgi_coverage.collect.saves import saving
save_readings = saving.save_readings

def terminated_before(*args):
    saving.save_readings = save_readings
    terminate()
    return save_readings(*args)

saving.save_readings = terminated_before
app.first()
"""


@pytest.mark.parametrize("end", ["", "terminate()", "os._exit(3)"])
def test_sigterm_while_a_process_writes_its_data_as_it_ends_loses_nothing(
    measure: Measure, core: str, branch: bool, end: str, tmp_path: Path
) -> None:
    """Whoever ends a group of processes often asks twice."""
    told = measure(
        STARTED + AT_THE_END + end,
        core=core,
        branch=branch,
        env={"WSGI_COVERAGE_AUTOSAVE_INTERVAL": "0"},  # nobody else writes it
        check=False,
    )

    assert told["returncode"] in (0, 3, -signal.SIGTERM)
    assert lines_in(tmp_path) == sorted([*LOADED, FIRST])


def test_sigterm_in_the_middle_of_a_save_loses_nothing(
    measure: Measure, core: str, branch: bool, tmp_path: Path
) -> None:
    """What is to be written once only at a time is being written by this very process."""
    told = measure(
        STARTED + AT_THE_END + "worker.data_file_writer.save_here()\ntell(went_on=True)",
        core=core,
        branch=branch,
        env={"WSGI_COVERAGE_AUTOSAVE_INTERVAL": "0"},
        check=False,
    )

    assert "went_on" not in told
    assert told["returncode"] == -signal.SIGTERM
    assert lines_in(tmp_path) == sorted([*LOADED, FIRST])


@pytest.mark.parametrize("step", ["before_fork", "after_fork_in_parent"])
def test_sigterm_around_a_fork_ends_the_process_with_all_lines(
    measure: Measure, core: str, step: str, tmp_path: Path
) -> None:
    told = measure(
        STARTED
        + f"""
name = "{"stop" if step == "before_fork" else "start"}"
"""
        + """
service = worker._service
step = getattr(service, name)
mine = os.getpid()

def terminated_within():
    if os.getpid() == mine:
        terminate()
    step()

setattr(service, name, terminated_within)
app.first()
pid = os.fork()
if pid == 0:
    os._exit(0)
tell(went_on=True)
""",
        core=core,
        check=False,
    )

    assert "went_on" not in told
    assert told["returncode"] == -signal.SIGTERM
    assert lines_in(tmp_path) == sorted([*LOADED, FIRST])


def test_sigterm_to_a_parent_leaves_what_its_child_runs_afterwards(
    measure: Measure, core: str, branch: bool, tmp_path: Path
) -> None:
    """The last process to end writes what is left."""
    told = measure(
        STARTED
        + """
came, come = os.pipe()
gone, go = os.pipe()
app.first()
if os.fork() == 0:
    os.close(go)
    os.write(come, b".")
    os.read(gone, 1)  # its parent has ended
    app.second()
    os._exit(0)
os.read(came, 1)
terminate()
""",
        core=core,
        branch=branch,
        check=False,
    )

    assert told["returncode"] == -signal.SIGTERM
    assert lines_in(tmp_path) == sorted([*LOADED, FIRST, SECOND])


def test_a_child_that_is_terminated_has_what_it_has_flushed_and_ends_by_the_signal(
    measure: Measure, core: str, branch: bool
) -> None:
    told = measure(
        STARTED
        + """
def work():
    app.second()
    forks.current().flush()
    terminate()

code = ended(fork(work))
tell(code=code, lines=published()["app.py"])
""",
        core=core,
        branch=branch,
    )

    assert told["code"] == -signal.SIGTERM
    assert told["lines"] == sorted([*LOADED, SECOND])


@METHODS
@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_a_process_of_multiprocessing_flushes_before_its_parent_ends_it(
    measure: Measure, core: str, method: str, end: str, tmp_path: Path
) -> None:
    told = measure(
        MULTIPROCESSING
        + """
def wait_for_the_end(connection):
    forks.current()._service._flush = lambda: False  # not by itself
    app.second()
    connection.send("ready")
    connection.recv()
"""
        + f"""
if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    here, there = context.Pipe()
    process = context.Process(target=wait_for_the_end, args=(there,))
    process.start()
    here.recv()
    process.{end}()
    process.join()
    tell(code=process.exitcode, lines=published()["app.py"])
""",
        core=core,
    )

    assert told["code"] == -(signal.SIGTERM if end == "terminate" else signal.SIGKILL)
    assert told["lines"] == sorted([*LOADED, SECOND])
    assert lines_in(tmp_path) == sorted([*LOADED, SECOND])


@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_a_process_of_multiprocessing_that_has_ended_or_is_stopped_may_be_ended(
    measure: Measure, end: str
) -> None:
    told = measure(
        MULTIPROCESSING
        + """
def wait_for_the_end(connection):
    connection.send("ready")
    connection.recv()
"""
        + f"""
if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    codes = []
    for before in (signal.SIGSTOP, signal.SIGKILL):
        here, there = context.Pipe()
        process = context.Process(target=wait_for_the_end, args=(there,))
        process.start()
        here.recv()
        os.kill(process.pid, before)
        process.{end}()
        os.kill(process.pid, signal.SIGCONT)
        process.join()
        process.{end}()
        codes.append(process.exitcode)
    tell(codes=codes)
""",
        core="ctrace",
    )

    first, second = told["codes"]
    assert first == -(signal.SIGTERM if end == "terminate" else signal.SIGKILL)
    assert second == -signal.SIGKILL


def test_a_sigterm_that_comes_before_python_has_set_itself_up_in_a_child_ends_it(
    measure: Measure, core: str
) -> None:
    told = measure(
        HELPERS
        + """
parent = os.getpid()
os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGTERM))  # before ours
start_early()
codes = [ended(fork(lambda: sys.exit(3))) for _ in range(5)]
tell(codes=codes, still_here=os.getpid() == parent)
""",
        core=core,
    )

    assert told["codes"] == [-signal.SIGTERM] * 5
    assert told["still_here"]


def test_sigterm_waits_in_a_child_until_it_has_its_default_action_there(
    measure: Measure, core: str
) -> None:
    """What comes before Python has set itself up in a child is forgotten by it."""
    told = measure(
        HELPERS
        + """
def is_blocked():
    return signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, [])

early = []
os.register_at_fork(after_in_child=lambda: early.append(is_blocked()))  # before ours
start_early()
told, tell_it = os.pipe()

def work():
    os.write(tell_it, json.dumps([*early, is_blocked(), on_sigterm()]).encode())

code = ended(fork(work))
tell(code=code, child=json.loads(os.read(told, 100)), parent=is_blocked())
""",
        core=core,
    )

    assert told["code"] == 0
    assert told["child"] == [True, False, "SIG_DFL"]
    assert not told["parent"]


@pytest.mark.parametrize("theirs", [False, True])
def test_what_signals_are_blocked_is_the_same_after_a_fork_in_both_processes(
    measure: Measure, core: str, theirs: bool
) -> None:
    told = measure(
        HELPERS
        + f"""
import subprocess
warnings.simplefilter("ignore", DeprecationWarning)  # of forks with threads: the application's
start_early()
how = signal.SIG_BLOCK if {theirs} else signal.SIG_UNBLOCK
"""
        + """
signal.pthread_sigmask(how, {signal.SIGTERM, signal.SIGUSR1})

def blocked():
    return sorted(signal.pthread_sigmask(signal.SIG_BLOCK, []))

before = blocked()
wrong = []

def fork_one():
    mine = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    wrong.append(ended(fork(lambda: sys.exit(blocked() != sorted(mine)))))
    wrong.append(int(blocked() != sorted(mine)))

for _ in range(3):
    fork_one()
    thread = threading.Thread(target=fork_one)
    thread.start()
    thread.join()
program = "import signal; print(sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, []))))"
started = [
    json.loads(subprocess.check_output([sys.executable, "-c", program], **keywords))
    for keywords in ({}, {"preexec_fn": lambda: None}, {"start_new_session": True})
]
tell(before=before, after=blocked(), wrong=any(wrong), started=started)
""",
        core=core,
    )

    assert (signal.SIGTERM in told["before"]) == theirs
    assert told["after"] == told["before"]
    assert not told["wrong"]
    assert told["started"] == [told["before"]] * 3


def test_a_program_of_whatever_name_heeds_sigterm(
    measure: Measure, core: str, tmp_path: Path
) -> None:
    (tmp_path / "multiprocessing_jobs.py").write_text(
        "import runpy, sys\nrunpy.run_path(sys.argv[1], run_name='__main__')\n"
    )
    told = measure(
        STARTED + "app.first()\nterminate()",
        core=core,
        command=("multiprocessing_jobs.py",),
        env={"WSGI_COVERAGE_AUTOSAVE_INTERVAL": "0"},
        check=False,
    )

    assert told["returncode"] == -signal.SIGTERM
    assert lines_in(tmp_path) == sorted([*LOADED, FIRST])


# os._exit


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("os._exit(0)", 0),
        ("os._exit(7)", 7),
        ("os._exit(status=3)", 3),
        ("threading.Thread(target=os._exit, args=(5,)).start() or threading.Event().wait()", 5),
    ],
)
def test_a_forked_child_that_ends_by_os_exit_leaves_its_lines(
    measure: Measure, core: str, branch: bool, how: str, code: int
) -> None:
    told = measure(
        STARTED
        + f"""
def work():
    app.second()
    {how}

tell(code=ended(fork(work)), lines=published()["app.py"])
""",
        core=core,
        branch=branch,
    )

    assert told["code"] == code
    assert SECOND in told["lines"]


def test_so_does_the_process_that_was_started(
    measure: Measure, core: str, branch: bool, tmp_path: Path
) -> None:
    told = measure(STARTED + "app.first()\nos._exit(4)", core=core, branch=branch, check=False)

    assert told["returncode"] == 4
    assert lines_in(tmp_path) == sorted([*LOADED, FIRST])


def test_os_exit_refuses_what_it_always_did(measure: Measure, core: str) -> None:
    told = measure(
        STARTED
        + """
refused = []
for arguments in ((), ("a",), (1, 2)):
    try:
        os._exit(*arguments)
    except TypeError:
        refused.append(len(arguments))
app.first()
worker.flush()
tell(refused=refused, lines=published()["app.py"], name=os._exit.__name__)
""",
        core=core,
    )

    assert told["refused"] == [0, 1, 2]
    assert told["lines"] == sorted([*LOADED, FIRST])
    assert told["name"] == "_exit"


def test_a_child_that_fails_to_flush_ends_by_os_exit_all_the_same(
    measure: Measure, core: str
) -> None:
    told = measure(
        STARTED
        + """
import logging
logging.disable()

def work():
    def fails(*args):
        raise OSError(28, "No space left on device")
    engine._write = fails
    app.second()
    sys.exit(6)

tell(code=ended(fork(work)))
""",
        core=core,
    )

    assert told["code"] == 6
