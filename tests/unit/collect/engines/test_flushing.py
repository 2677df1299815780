"""What coverage.py's cores have seen gets into the host's memory, whatever happens meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import coverage
import pytest
import scripts
from scripts import FORK, LINE, REMOVE

Measure = Callable[..., dict[str, Any]]

LOADED = [1, 5, 9]
FIRST, SECOND = 2, 6
HELPERS = (
    FORK
    + LINE
    + """
import warnings
from wsgi_coverage.collect.engines import base
from wsgi_coverage.compat import measurement

def alone():
    "Nothing is flushed but by whoever asks: the thread that does so every moment ends."
    forks.current()._service.stop()

def live(name="app.py"):
    "How much coverage.py has seen of a file and still holds."
    collector = measurement.collector_of(forks.current().engine.coverage)
    return sum(len(seen) for file, seen in collector.data.copy().items() if file.endswith(name))

def arcs(name="app.py"):
    "All arcs of a file that are in the memory."
    return sorted({
        ends_of(number)
        for reading in forks.current().memories.readings()
        for _, record in reading.in_contexts(None)
        if record.has_arcs and record.name.endswith(name)
        for number in record.numbers
    })

def contexts(name="app.py"):
    "Executed lines of a file by context, in the memory and in data files."
    out = {}
    for measured_as, context, lines in measured():
        if measured_as == name and lines:
            out.setdefault(context, set()).update(lines)
    return {context: sorted(lines) for context, lines in out.items()}
"""
)

STARTED = HELPERS + scripts.STARTED
WRAPPED = HELPERS + scripts.WRAPPED

# A module with many functions of one line each, which are line 2, 4, ...
MANY = """
FUNCTIONS = 400
Path("many.py").write_text("".join(f"def f{n}():\\n    return {n}\\n" for n in range(FUNCTIONS)))
sys.path.insert(0, "")

def line_of(number):
    return 2 * number + 2
"""

TESTS = """\
import app


def test_one():
    app.first()


def test_two():
    app.second()


def test_both():
    app.first()
    app.second()
"""


@pytest.fixture
def tests_module(tmp_path: Path) -> None:
    (tmp_path / "some_tests.py").write_text(TESTS)


def lines_of(path: Path, name: str = "app.py") -> list[int]:
    data = coverage.CoverageData(str(path))
    data.read()
    (found,) = [each for each in data.measured_files() if Path(each).name == name]
    return sorted(data.lines(found) or ())


def run_coverage(folder: Path, *arguments: str) -> str:
    environ = {name: value for name, value in os.environ.items() if "COV" not in name}
    ran = subprocess.run(
        [sys.executable, "-m", "coverage", *arguments],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


# A flush


def test_a_flush_moves_what_was_seen_to_the_memory(
    measure: Measure, core: str, branch: bool
) -> None:
    told = measure(
        STARTED
        + """
alone()
app.first()
before = [live(), published().get("app.py")]
new = engine.flush()
after = [live(), published().get("app.py")]
app.first()
app.second()
engine.flush()
tell(before=before, new=new, after=after, last=[live(), published()["app.py"]], arcs=arcs())
""",
        core=core,
        branch=branch,
    )

    seen, lines = told["before"]
    assert seen
    assert FIRST not in (lines or ())
    assert told["new"]
    assert told["after"] == [0, sorted([*LOADED, FIRST])]
    assert told["last"] == [0, sorted([*LOADED, FIRST, SECOND])]
    if branch:
        assert {(FIRST, -1), (SECOND, -5)} <= {tuple(arc) for arc in told["arcs"]}
    else:
        assert told["arcs"] == []


def test_the_thread_flushes_what_nobody_asks_for(measure: Measure, core: str, branch: bool) -> None:
    told = measure(
        STARTED
        + """
flushed = threading.Event()
flush = worker._service._flush

def noticed():
    new = flush()
    if FIRST in published().get("app.py", ()):
        flushed.set()
    return new

FIRST = 2
worker._service._flush = noticed
app.first()
tell(flushed=flushed.wait(60))
""",
        core=core,
        branch=branch,
    )

    assert told["flushed"]


def test_a_second_flush_of_the_same_adds_nothing(measure: Measure, core: str, branch: bool) -> None:
    told = measure(
        STARTED
        + """
alone()
app.first()
engine.flush()

def of_app():
    logs = [path.read_text() for path in sorted(worker.memory.folder.glob("*.log"))]
    return published()["app.py"], arcs(), [log.count('app.py"') for log in logs]

before = of_app()
app.first()
engine.flush()
tell(same=of_app() == before)
""",
        core=core,
        branch=branch,
    )

    assert told["same"]


def test_arcs_are_those_that_coverage_py_writes(
    measure: Measure, core: str, branch: bool, tmp_path: Path
) -> None:
    if not branch:
        pytest.skip("there are arcs of branches only")
    work = """
        import app
        stop, tick = threading.Event(), threading.Event()
        tick.set()
        app.first()
        {between}
        app.first()
        app.second()
        stop.set()
        app.loop(stop, tick)
        stop.clear()
        stop.wait = lambda seconds: stop.set()
        app.loop(stop, tick)
        """
    measure(work.format(between=""), core=core, branch=True, command=("-m", "coverage", "run"))
    theirs = coverage.CoverageData(str(tmp_path / ".coverage"))
    theirs.read()
    wanted = sorted(theirs.arcs(str(tmp_path / "app.py")) or ())
    (tmp_path / ".coverage").unlink()

    told = measure(
        HELPERS
        + """
        start_early()
        """.strip()
        + "\n"
        + _flat(work.format(between="forks.current().flush()"))
        + "forks.current().flush()\ntell(arcs=arcs())\n",
        core=core,
        branch=True,
    )

    assert [tuple(arc) for arc in told["arcs"]] == wanted


def _flat(script: str) -> str:
    return "\n".join(line.strip() for line in script.splitlines()) + "\n"


# Forks


FORKING = """
alone()
NAME = "append" if engine.measuring.branch else "_mark"
owner = worker.memory if engine.measuring.branch else engine
original = getattr(owner, NAME)
status = []

def forking_within(*args):
    "Fork, in the middle of a flush, which both go on with."
    delattr(owner, NAME)
    pid = os.fork()
    if pid:
        status.append(ended(pid))
    else:
        signal.alarm(60)
    return original(*args)
"""


def test_a_fork_in_the_middle_of_a_flush_loses_nothing_in_either_process(
    measure: Measure, core: str, branch: bool
) -> None:
    told = measure(
        STARTED
        + FORKING
        + """
app.first()
mine = os.getpid()
setattr(owner, NAME, forking_within)
engine.flush()
if os.getpid() != mine:
    app.second()
    engine.flush()
    Path("child").write_text(json.dumps(published()["app.py"]))
    os._exit(0)
engine.flush()
parent = published()["app.py"]
reset()
app.first()
engine.flush()
tell(status=status, child=json.loads(Path("child").read_text()), parent=parent, left=live(),
     after_reset=published()["app.py"])
""",
        core=core,
        branch=branch,
    )

    assert told["status"] == [0]
    assert told["child"] == told["parent"] == sorted([*LOADED, FIRST, SECOND])
    assert told["left"] == 0
    assert told["after_reset"] == [FIRST]


def test_a_child_that_was_forked_in_the_middle_of_a_flush_has_it_all_by_itself(
    measure: Measure, core: str, branch: bool
) -> None:
    """Its parent is killed before it goes on."""
    told = measure(
        STARTED
        + FORKING
        + """
warnings.simplefilter("ignore", DeprecationWarning)  # of a fork with threads
reset()
line = Line()

def work():
    alone()
    app.first()
    setattr(owner, NAME, killed_within)
    engine.flush()
    line.come()  # the grandchild: it has all

def killed_within(*args):
    delattr(owner, NAME)
    if os.fork():
        os.kill(os.getpid(), signal.SIGKILL)
    signal.alarm(60)
    return original(*args)

pid = fork(work)
line.wait()
killed = ended(pid)
lines = published()["app.py"]
line.go_on()
tell(killed=killed, lines=lines)
""",
        core=core,
        branch=branch,
    )

    assert told["killed"] == -signal.SIGKILL
    assert told["lines"] == [FIRST]


def test_a_fork_in_the_middle_of_a_flush_of_what_an_older_phase_left_loses_nothing(
    measure: Measure, core: str, branch: bool
) -> None:
    """The child's thread flushes the same meanwhile."""
    told = measure(
        WRAPPED
        + FORKING
        + """
wrap()
alone()
app.first()
request("/second")
mine = os.getpid()

def forking_and_flushed_within(*args):
    delattr(owner, NAME)
    pid = os.fork()
    if pid:
        status.append(ended(pid))
    else:
        signal.alarm(60)
        alone()
        engine.flush()
    return original(*args)

setattr(owner, NAME, forking_and_flushed_within)
error = None
try:
    engine.flush()
except Exception as found:
    error = repr(found)
if os.getpid() != mine:
    Path("child").write_text(json.dumps([error, contexts()]))
    os._exit(0)
tell(status=status, child=json.loads(Path("child").read_text()), parent=[error, contexts()])
""",
        core=core,
        branch=branch,
    )

    assert told["status"] == [0]
    phases = {"load": sorted([*LOADED, FIRST]), "runtime": [SECOND]}
    assert told["parent"] == [None, phases]
    assert told["child"] == [None, phases]


def test_no_line_of_200_children_that_threads_fork_during_flushes_is_lost(
    measure: Measure, core: str, branch: bool
) -> None:
    told = measure(
        HELPERS
        + MANY
        + """
warnings.simplefilter("ignore", DeprecationWarning)  # of a fork with threads: the application's
start_early()
import many
worker = forks.current()
done = threading.Event()
codes, problems = [], []

def flush_all_the_time():
    while not done.is_set():
        try:
            worker.flush()
        except Exception as error:
            problems.append(repr(error))

def run_only(number):
    getattr(many, f"f{number}")()

def fork_some(first):
    for number in range(first, first + 50):
        codes.append(ended(fork(run_only, number)))

threads = [threading.Thread(target=fork_some, args=(50 * n,)) for n in range(4)]
flusher = threading.Thread(target=flush_all_the_time)
for thread in (flusher, *threads):
    thread.start()
for thread in threads:
    thread.join()
done.set()
flusher.join()
worker.flush()
lines = set(published()["many.py"])
tell(codes=[code for code in codes if code], forks=len(codes), problems=problems,
     lost=[n for n in range(200) if line_of(n) not in lines],
     more=[n for n in range(200, FUNCTIONS) if line_of(n) in lines])
""",
        core=core,
        branch=branch,
    )

    assert told["problems"] == []
    assert told["codes"] == []
    assert told["forks"] == 200
    assert told["lost"] == []
    assert told["more"] == []


def test_a_kill_of_a_child_loses_nothing_that_it_has_flushed(
    measure: Measure, core: str, branch: bool
) -> None:
    told = measure(
        STARTED
        + """
line = Line()

def work():
    app.first()
    forks.current().flush()
    line.come()

pid = fork(work)
line.wait()
os.kill(pid, signal.SIGKILL)
code = ended(pid)
lines = published()["app.py"]
worker.save()
(path,) = worker.store.published()
data = coverage.CoverageData(str(path))
data.read()
tell(code=code, lines=lines, saved=sorted(data.lines(str(Path("app.py").resolve()))))
""",
        core=core,
        branch=branch,
    )

    assert told["code"] == -signal.SIGKILL
    assert told["lines"] == told["saved"] == sorted([*LOADED, FIRST])


@pytest.mark.skipif(
    coverage.version_info < (7, 17), reason="there patch = fork stops measuring in such a child"
)
@pytest.mark.parametrize("branch", [False, True])
def test_a_child_in_which_coverage_py_begins_anew_is_measured_into_the_same_memory(
    measure: Measure, branch: bool
) -> None:
    told = measure(
        STARTED
        + """
def work():
    app.first()
    forks.current().flush()

code = ended(fork(work))
worker.flush()
tell(code=code, lines=published()["app.py"])
""",
        core="ctrace",
        branch=branch,
        config="patch = fork\nparallel = true\n",
    )

    assert told["code"] == 0
    assert told["lines"] == sorted([*LOADED, FIRST])


# Resets and collections


def test_what_was_not_flushed_at_a_reset_does_not_count_and_what_runs_after_it_does(
    measure: Measure, core: str, branch: bool
) -> None:
    told = measure(
        STARTED
        + """
alone()
app.first()
reset()
engine.flush()
at_once = published().get("app.py")
app.second()
engine.flush()
tell(at_once=at_once, lines=published()["app.py"])
""",
        core=core,
        branch=branch,
    )

    assert told["at_once"] is None
    assert told["lines"] == [SECOND]


def test_what_a_child_had_not_flushed_at_a_reset_does_not_count(
    measure: Measure, core: str, branch: bool
) -> None:
    told = measure(
        STARTED
        + """
line = Line()

def work():
    forks.current()._service._flush = lambda: False  # but it answers
    app.first()
    line.come()  # its parent resets
    forks.current().flush()
    line.come()
    app.second()
    forks.current().flush()
    line.come()

pid = fork(work)
line.wait()
reset()
line.go_on()
line.wait()
at_once = published().get("app.py")
line.go_on()
line.wait()
lines = published().get("app.py")
line.go_on()
tell(code=ended(pid), at_once=at_once, lines=lines)
""",
        core=core,
        branch=branch,
    )

    assert told["code"] == 0
    assert told["at_once"] is None
    assert told["lines"] == [SECOND]


COLLECTED = """
def collect(name="app.py"):
    "Executed lines of a file, by what a collection hands out."
    _, found = control().snapshot(label=None, wait=30, reset=True, keep=False, detail=True)
    files = found["files"] if found else {}
    return files[name]["executed_lines"] if name in files else []
"""


def test_a_collection_has_what_ran_before_it_and_the_next_what_ran_after(
    measure: Measure, core: str, branch: bool
) -> None:
    told = measure(
        STARTED
        + COLLECTED
        + """
line = Line()

def work():
    app.second()
    line.come()
    app.first()
    line.come()
    line.come()

pid = fork(work)
line.wait()
rounds = [collect()]
line.go_on()
line.wait()
rounds += [collect(), collect()]
app.first()
line.go_on()
line.wait()
rounds += [collect()]
line.go_on()
code = ended(pid)
app.second()
rounds += [collect(), collect()]
tell(code=code, rounds=rounds)
""",
        core=core,
        branch=branch,
    )

    assert told["code"] == 0
    first, *rest = told["rounds"]
    assert first == sorted([*LOADED, SECOND])
    assert rest == [[FIRST], [], [FIRST], [SECOND], []]


def test_what_a_worker_failed_to_hand_over_is_in_the_next_collection(
    measure: Measure, core: str, branch: bool
) -> None:
    told = measure(
        STARTED
        + COLLECTED
        + """
line = Line()

def fail():
    raise OSError("not just now")

def work():
    worker = forks.current()
    worker._service._flush = lambda: False  # but it answers
    verbs = worker._verbs
    collect, verbs._collect = verbs._collect, fail
    app.second()
    line.come()
    verbs._collect = collect
    line.come()

pid = fork(work)
line.wait()
rounds = [collect()]
line.go_on()
line.wait()
rounds += [collect(), collect()]
line.go_on()
tell(code=ended(pid), rounds=rounds)
""",
        core=core,
        branch=branch,
    )

    assert told["code"] == 0
    assert told["rounds"][0] == LOADED
    assert SECOND in told["rounds"][1]
    assert told["rounds"][2] == []


def test_each_line_that_runs_once_is_in_one_collection(
    measure: Measure, core: str, branch: bool
) -> None:
    """Two children and two threads run new lines while everything is collected."""
    told = measure(
        HELPERS
        + MANY
        + COLLECTED
        + """
warnings.simplefilter("ignore", DeprecationWarning)
start_early()
import many
ROUNDS, EACH, WORKERS = 6, 12, 4
lines = [Line() for _ in range(WORKERS)]

def work(number):
    for round in range(ROUNDS):
        lines[number].come()
        for each in range(EACH):
            getattr(many, f"f{(number * ROUNDS + round) * EACH + each}")()
            os.sched_yield()
    lines[number].come()

pids = [fork(work, number) for number in range(2)]
threads = [threading.Thread(target=work, args=(number,)) for number in (2, 3)]
for thread in threads:
    thread.start()
collected = []
for _ in range(ROUNDS):
    for line in lines:
        line.wait()
        line.go_on()
    collected.append(collect("many.py"))
for line in lines:
    line.wait()
collected.append(collect("many.py"))
for line in lines:
    line.go_on()
for thread in threads:
    thread.join()
codes = [ended(pid) for pid in pids]
times = {n: sum(line_of(n) in each for each in collected) for n in range(WORKERS * ROUNDS * EACH)}
tell(codes=codes, wrong={n: count for n, count in times.items() if count != 1})
""",
        core=core,
        branch=branch,
    )

    assert told["codes"] == [0, 0]
    assert told["wrong"] == {}


# A memory that goes

MEMORY_GOES = (
    REMOVE
    + """
line = Line()

def work():
    app.first()
    forks.current().flush()
    line.come()  # the memory goes
    forks.current().flush()
    line.come()  # and is there again
    forks.current()._service._flush = lambda: False  # not yet
    app.second()
    line.come()
"""
)


def test_a_memory_that_is_removed_is_made_anew_with_all_that_ran(
    measure: Measure, core: str, branch: bool
) -> None:
    told = measure(
        STARTED
        + REMOVE
        + """
alone()
app.first()
engine.flush()
remove(worker.private)
known = published()["app.py"]
app.second()
engine.flush()
there = Path(worker.private, "control").exists()
tell(known=known, there=there, lines=published()["app.py"])
""",
        core=core,
        branch=branch,
    )

    assert told["known"] == sorted([*LOADED, FIRST])
    assert told["there"]
    assert told["lines"] == sorted([*LOADED, FIRST, SECOND])


@pytest.mark.parametrize("flush", ["", "engine.flush()"])
def test_a_memory_that_is_removed_after_the_load_is_made_anew_with_the_load(
    measure: Measure, core: str, branch: bool, flush: str
) -> None:
    told = measure(
        WRAPPED
        + REMOVE
        + f"""
wrap()
alone()
app.first()
{flush}
request("/second")
engine.flush()
before = contexts()
remove(worker.private)
known = contexts()
request("/second")
engine.flush()
tell(before=before, known=known, lines=contexts())
""",
        core=core,
        branch=branch,
    )

    phases = {"load": sorted([*LOADED, FIRST]), "runtime": [SECOND]}
    assert told["before"] == phases
    assert told["known"] == phases
    assert told["lines"] == phases


def test_a_memory_for_which_there_is_no_room_at_once_is_made_anew_with_all_that_ran(
    measure: Measure, core: str, branch: bool
) -> None:
    told = measure(
        STARTED
        + REMOVE
        + """
alone()
app.first()
engine.flush()
remove(worker.private)
copy_lines = base.copy_lines
failures = 0

def full(*args):
    base.copy_lines = copy_lines
    raise OSError(28, "No space left on device")

base.copy_lines = full
app.second()
for _ in range(2):
    try:
        engine.flush()
    except OSError:
        failures += 1
engine.flush()
tell(failures=failures, lines=published()["app.py"])
""",
        core=core,
        branch=branch,
    )

    assert told["failures"] == 1
    assert told["lines"] == sorted([*LOADED, FIRST, SECOND])


def test_a_memory_that_is_removed_is_made_anew_with_what_ran_in_children_that_have_ended(
    measure: Measure, core: str, branch: bool
) -> None:
    told = measure(
        STARTED
        + REMOVE
        + """
alone()
app.first()
engine.flush()
def work():
    app.second()
code = ended(fork(work))
alone()
engine.flush()  # which reads what others have appended
remove(worker.private)
known = published()["app.py"]
engine.flush()
tell(code=code, known=known, lines=published()["app.py"])
""",
        core=core,
        branch=branch,
    )

    assert told["code"] == 0
    assert told["lines"] == sorted([*LOADED, FIRST, SECOND])
    assert told["known"] == told["lines"]


def test_a_worker_whose_socket_was_removed_is_asked_once_it_has_another(
    measure: Measure, core: str
) -> None:
    told = measure(
        STARTED
        + """
line = Line()

def work():
    service, flushed = forks.current()._service, threading.Event()
    service._flush, service._pause = lambda: flushed.set(), 0.4
    flushed.wait()
    app.second()
    line.come()  # the thread looks for its socket again in 0.8 seconds

pid = fork(work)
line.wait()
for path in worker.private.glob(f"{pid}-*"):
    path.unlink()
gathering = worker.ask_all("publish", wait=30)
lines = published()["app.py"]
line.go_on()
tell(code=ended(pid), complete=gathering.complete, lines=lines,
     pids=[each.pid for each in gathering.workers] == sorted([os.getpid(), pid]))
""",
        core=core,
    )

    assert told["code"] == 0
    assert told["complete"]
    assert told["pids"]
    assert SECOND in told["lines"]


def test_workers_whose_memory_was_removed_are_still_asked_by_others(
    measure: Measure, core: str
) -> None:
    told = measure(
        STARTED
        + MEMORY_GOES
        + """
pid = fork(work)
line.wait()
remove(worker.private)
worker.flush()
line.go_on()
line.wait()
told = [len(worker.ask_all(verb, wait=30).workers) for verb in ("status", "publish")]
line.go_on()
line.wait()
line.go_on()
tell(code=ended(pid), workers=told)
""",
        core=core,
    )

    assert told["code"] == 0
    assert told["workers"] == [2, 2]


def test_a_collection_has_what_workers_ran_whose_memory_was_removed(
    measure: Measure, core: str, branch: bool
) -> None:
    told = measure(
        STARTED
        + COLLECTED
        + MEMORY_GOES
        + """
pid = fork(work)
line.wait()
remove(worker.private)
worker.flush()
line.go_on()
line.wait()
line.go_on()
line.wait()
rounds = [collect()]
line.go_on()
code = ended(pid)
rounds.append(collect())
tell(code=code, rounds=rounds)
""",
        core=core,
        branch=branch,
    )

    assert told["code"] == 0
    assert told["rounds"] == [sorted([*LOADED, FIRST, SECOND]), []]


def test_the_load_of_workers_that_come_one_after_another_takes_no_more_room_than_of_a_few(
    measure: Measure, core: str, branch: bool
) -> None:
    """A server that renews its workers all the time has its memory cgroup to live with."""
    told = measure(
        HELPERS
        + """
import subprocess
worker = forks.start()
script = '''
from wsgi_coverage import CoverageMiddleware
from wsgi_coverage.collect.early import start_early
start_early()
import app
CoverageMiddleware(lambda environ, start_response: [], debug=True)
app.first()
'''
sizes = []
for _ in range(6):
    subprocess.run([sys.executable, "-c", script], check=True)
    sizes.append(sum(each.stat().st_size for each in worker.memory.folder.glob("load*")))
tell(sizes=sizes, lines=contexts()["load"])
""",
        core=core,
        branch=branch,
        config="omit = script.py\n",  # whose own lines are flushed at some moment between
    )

    assert told["lines"] == sorted([*LOADED, FIRST])
    assert told["sizes"][2] == told["sizes"][-1]


@pytest.mark.parametrize("flush", ["", "engine.flush()"])
def test_what_ran_before_an_application_is_wrapped_is_its_load_flushed_or_not(
    measure: Measure, core: str, branch: bool, flush: str
) -> None:
    told = measure(
        WRAPPED.replace("import app\n", "alone()\nimport app\n")
        + f"""
alone()
app.first()
{flush}
wrap()
engine.flush()
loaded = contexts()
reset()
request("/second")
engine.flush()
tell(loaded=loaded, after_reset=contexts())
""",
        core=core,
        branch=branch,
    )

    load = {"load": sorted([*LOADED, FIRST])}
    assert told["loaded"] == load
    assert told["after_reset"] == {**load, "runtime": [SECOND]}


# Contexts


@pytest.mark.usefixtures("tests_module")
@pytest.mark.parametrize("branch", [False, True])
@pytest.mark.parametrize(("static", "before"), [("", ""), ("context = nightly", "nightly|")])
def test_dynamic_contexts_are_in_the_data_file(
    measure: Measure, branch: bool, static: str, before: str
) -> None:
    told = measure(
        HELPERS
        + """
start_early()
import some_tests
for test in (some_tests.test_one, some_tests.test_two, some_tests.test_both):
    test()
worker = forks.current()
worker.flush()
known = contexts()
worker.save()
(path,) = worker.store.published()
data = coverage.CoverageData(str(path))
data.read()
found = {}
for context in data.measured_contexts():
    data.set_query_context(context)
    if lines := data.lines(str(Path("app.py").resolve())):
        found[context] = sorted(lines)
tell(known=known, found=found)
""",
        core="ctrace",
        branch=branch,
        config=f"dynamic_context = test_function\n{static}",
    )

    assert told["found"] == {
        before.rstrip("|"): LOADED,
        f"{before}some_tests.test_one": [FIRST],
        f"{before}some_tests.test_two": [SECOND],
        f"{before}some_tests.test_both": [FIRST, SECOND],
    }
    assert told["known"] == told["found"]


@pytest.mark.usefixtures("tests_module")
def test_dynamic_contexts_end_with_a_reset_and_go_on_after_it(measure: Measure) -> None:
    told = measure(
        HELPERS
        + """
start_early()
import some_tests
worker = forks.current()
some_tests.test_one()
reset()
empty = contexts()
some_tests.test_two()
worker.flush()
tell(empty=empty, after=contexts())
""",
        core="ctrace",
        config="dynamic_context = test_function",
    )

    assert told["empty"] == {}
    assert told["after"] == {"some_tests.test_two": [SECOND]}


def test_a_context_that_somebody_switches_to_has_what_runs_in_it(
    measure: Measure, core: str, branch: bool
) -> None:
    told = measure(
        STARTED
        + """
cov = engine.coverage
app.first()
cov.switch_context("a")
app.first()
cov.switch_context("b")
app.second()
worker.flush()
app.first()
cov.switch_context("")
worker.save()
tell(contexts=contexts())
""",
        core=core,
        branch=branch,
        # Under sysmon a line is reported once, whatever the context.
    )

    found = told["contexts"]
    assert found[""] == sorted([*LOADED, FIRST])
    if core == "ctrace":
        assert found["a"] == [FIRST]
        assert found["b"] == [FIRST, SECOND]
    else:
        assert SECOND in found["b"]


@pytest.mark.parametrize("branch", [False, True])
def test_what_could_not_be_flushed_when_the_context_was_switched_stays_in_its_own(
    measure: Measure, branch: bool
) -> None:
    told = measure(
        STARTED
        + """
alone()
cov = engine.coverage
cov.switch_context("a")
app.first()
memory = worker.memory
append = memory.append

def full(*args):
    raise OSError(28, "No space left on device")

memory.append = full
cov.switch_context("b")
app.second()
memory.append = append
worker.flush()
tell(contexts=contexts())
""",
        core="ctrace",
        branch=branch,
    )

    assert told["contexts"] == {"": LOADED, "a": [FIRST], "b": [SECOND]}


@pytest.mark.usefixtures("tests_module")
@pytest.mark.parametrize("branch", [False, True])
def test_contexts_of_somebody_elses_coverage_are_in_the_memory_too(
    measure: Measure, branch: bool
) -> None:
    told = measure(
        HELPERS
        + """
start_early()
import some_tests
for test in (some_tests.test_one, some_tests.test_two, some_tests.test_both):
    test()
forks.current().flush()
tell(contexts=contexts())
""",
        core="ctrace",
        branch=branch,
        config="dynamic_context = test_function",
        command=("-m", "coverage", "run"),
    )

    assert told["contexts"] == {
        "": LOADED,
        "some_tests.test_one": [FIRST],
        "some_tests.test_two": [SECOND],
        "some_tests.test_both": [FIRST, SECOND],
    }


# What coverage.py is asked


@pytest.mark.parametrize("process_start", [False, True], ids=["ours", "process-start"])
def test_the_coverage_gives_all_that_ran_when_it_is_asked(
    measure: Measure, core: str, branch: bool, process_start: bool
) -> None:
    told = measure(
        STARTED
        + """
def own():
    data = engine.coverage.get_data()
    name = str(Path("app.py").resolve())
    return sorted(data.lines(name) or ()), data.has_arcs(), sorted(data.arcs(name) or ())

app.first()
first = own()
def work():
    app.second()
code = ended(fork(work))
second = own()
reset()
app.first()
tell(ownership=engine.measuring.ownership, code=code, first=first, second=second, third=own(),
     engine=engine.measuring.engine)
""",
        core=core,
        branch=branch,
        env={"COVERAGE_PROCESS_START": ".coveragerc"} if process_start else {},
    )

    assert told["engine"] == "coverage"
    assert told["ownership"] == ("process-start" if process_start else "ours")
    assert told["code"] == 0
    assert [told[each][0] for each in ("first", "second", "third")] == [
        sorted([*LOADED, FIRST]),
        sorted([*LOADED, FIRST, SECOND]),
        [FIRST],
    ]
    assert {told[each][1] for each in ("first", "second", "third")} == {branch}
    if branch:
        first, second, third = (
            {*map(tuple, told[each][2])} for each in ("first", "second", "third")
        )
        assert (FIRST, -1) in first
        assert (SECOND, -5) in second - first
        assert (FIRST, -1) in third < first


@pytest.mark.parametrize("process_start", [False, True], ids=["ours", "process-start"])
@pytest.mark.parametrize("parallel", ["", "parallel = true"])
def test_what_is_left_is_combined_and_reported_by_hand(
    measure: Measure, core: str, branch: bool, process_start: bool, parallel: str, tmp_path: Path
) -> None:
    told = measure(
        STARTED
        + """
app.first()
def work():
    app.second()
tell(code=ended(fork(work)))
""",
        core=core,
        branch=branch,
        config=parallel,
        env={"COVERAGE_PROCESS_START": ".coveragerc"} if process_start else {},
    )

    run_coverage(tmp_path, "combine")
    run_coverage(tmp_path, "report")
    run_coverage(tmp_path, "json", "-o", "report.json")

    report = json.loads((tmp_path / "report.json").read_text())
    assert told["code"] == 0
    assert report["files"]["app.py"]["executed_lines"] == sorted([*LOADED, FIRST, SECOND])
    assert report["meta"]["branch_coverage"] == branch
    assert lines_of(tmp_path / ".coverage") == sorted([*LOADED, FIRST, SECOND])


def test_a_file_that_never_ran_is_in_the_report_at_0(
    measure: Measure, core: str, branch: bool, tmp_path: Path
) -> None:
    (tmp_path / "never.py").write_text("x = 1\n")
    measure(STARTED, core=core, branch=branch)

    run_coverage(tmp_path, "combine")
    run_coverage(tmp_path, "json", "-o", "report.json")

    files = json.loads((tmp_path / "report.json").read_text())["files"]
    assert files["never.py"]["executed_lines"] == []
    assert files["never.py"]["missing_lines"] == [1]


def test_what_its_owner_takes_out_of_a_coverage_is_in_the_memory_too(
    measure: Measure, core: str, branch: bool
) -> None:
    """A line runs after our flush and before its owner's."""
    told = measure(
        STARTED
        + """
import threading
alone()
flush = measurement.hand_over

def flushed_later(*args):
    thread = threading.Thread(target=app.second)
    thread.start()
    thread.join()
    return flush(*args)

measurement.hand_over = flushed_later
app.first()
engine.coverage.save()
measurement.hand_over = flush
worker.flush()
tell(ownership=engine.measuring.ownership,
     lines=sorted({
         line
         for reading in worker.memories.readings()
         for claim, found in reading.executed() if claim.name.endswith("app.py")
         for bits in found.values() for line in range(bits.bit_length()) if bits >> line & 1
     } | {end for arc in arcs() for end in arc if end > 0}))
""",
        core=core,
        branch=branch,
        command=("-m", "coverage", "run"),
    )

    assert told["ownership"] == "foreign"
    assert told["lines"] == sorted([*LOADED, FIRST, SECOND])


# What does not fit a byte a line


def test_lines_beyond_the_end_of_a_source_are_not_lost_or_another_files(
    measure: Measure, core: str, branch: bool, tmp_path: Path
) -> None:
    (tmp_path / "neighbour.py").write_text("x = 1\n" + "\n" * 5000)
    told = measure(
        STARTED
        + """
name = str(Path("app.py").resolve())
import neighbour
before = published()
exec(compile("\\n" * 2999 + "def beyond():\\n    return 4\\nbeyond()\\n", name, "exec"), {})
worker.flush()
first = published()
worker.save()
(path,) = worker.store.published()
data = coverage.CoverageData(str(path))
data.read()
tell(first={file: first.get(file) for file in ("app.py", "neighbour.py")},
     files=sorted(set(first) - {"script.py"}), saved=sorted(data.lines(name)))
""",
        core=core,
        branch=branch,
    )

    assert told["first"] == {"app.py": [*LOADED, 3000, 3001, 3002], "neighbour.py": [1]}
    assert told["files"] == ["app.py", "neighbour.py"]
    assert told["saved"] == [*LOADED, 3000, 3001, 3002]


def test_code_whose_file_is_gone_or_was_never_there_is_measured(
    measure: Measure, core: str, branch: bool
) -> None:
    told = measure(
        HELPERS
        + """
start_early()
worker = forks.current()
Path("gone.py").write_text("x = 1\\ny = 2\\n")
code = compile(Path("gone.py").read_text(), str(Path("gone.py").resolve()), "exec")
Path("gone.py").unlink()
exec(code, {})
exec(compile("x = 1\\n\\nz = 3\\n", str(Path("never.py").resolve()), "exec"), {})
worker.flush()
first = published()
worker.save()
tell(lines={file: first.get(file) for file in ("gone.py", "never.py")},
     saved=len(worker.store.published()))
""",
        core=core,
        branch=branch,
    )

    assert told["lines"] == {"gone.py": [1, 2], "never.py": [1, 3]}
    assert told["saved"] == 1


PLUGIN = """\
import coverage.plugin


class Pages(coverage.plugin.CoveragePlugin):
    def file_tracer(self, filename):
        return Page(filename) if filename.endswith("render.py") else None

    def file_reporter(self, filename):
        return "python"


class Page(coverage.plugin.FileTracer):
    def __init__(self, filename):
        self.page = filename.replace("render.py", "page.html")

    def source_filename(self):
        return self.page

    def line_number_range(self, frame):
        return (10 * frame.f_lineno, 10 * frame.f_lineno + 1)


def coverage_init(reg, options):
    reg.add_file_tracer(Pages())
"""


@pytest.mark.parametrize("branch", [False, True])
def test_lines_that_a_plugin_traces_are_in_the_data_file_with_its_name(
    measure: Measure, branch: bool, tmp_path: Path
) -> None:
    (tmp_path / "a_plugin.py").write_text(PLUGIN)
    (tmp_path / "render.py").write_text("def render():\n    return 1\n")
    (tmp_path / "page.html").write_text("\n" * 50)
    told = measure(
        STARTED
        + """
import render
render.render()
worker.flush()
lines = published()
worker.save()
(path,) = worker.store.published()
data = coverage.CoverageData(str(path))
data.read()
page, own = str(Path("page.html").resolve()), str(Path("app.py").resolve())
tell(lines={name: lines.get(name) for name in ("app.py", "page.html", "render.py")},
     tracers=[data.file_tracer(page), data.file_tracer(own)], saved=sorted(data.lines(page)))
""",
        core="ctrace",
        branch=branch,
        config="plugins = a_plugin",
        env={"PYTHONPATH": str(tmp_path)},
    )

    assert told["lines"]["app.py"] == LOADED
    assert told["lines"]["render.py"] is None
    assert told["lines"]["page.html"] == told["saved"]
    assert set(told["saved"]) >= {10, 11, 20, 21}
    assert told["tracers"] == ["a_plugin.Pages", ""]


def test_more_than_the_bound_of_records_is_told_and_what_was_there_stays(measure: Measure) -> None:
    told = measure(
        STARTED
        + """
from wsgi_coverage.store import log
alone()
worker.flush()
before = published()["app.py"]
most = log.MOST_BYTES
log.MOST_BYTES = sum(path.stat().st_size for path in worker.memory.folder.glob("*.log"))
app.first()
try:
    worker.flush()
except Exception as error:
    slug = error.slug
fresh = [worker.do("status").fresh]
there = published()["app.py"]
log.MOST_BYTES = most
worker.flush()
fresh.append(worker.do("status").fresh)
tell(slug=slug, fresh=fresh, kept=there == before, lines=published())
""",
        core="ctrace",
        branch=True,
    )

    assert told["slug"] == "disk-full"
    assert told["fresh"] == [False, True]
    assert told["kept"]
    assert told["lines"]["app.py"] == sorted([*LOADED, FIRST])


# Ends in the middle


@pytest.mark.parametrize("at", ["take_away", "context_of"])
def test_a_signal_that_ends_the_process_while_the_phase_changes_loses_nothing(
    measure: Measure, core: str, branch: bool, tmp_path: Path, at: str
) -> None:
    told = measure(
        WRAPPED
        + f"""
wrap()
alone()
app.first()
step = measurement.{at}

def ended_after(*args):
    measurement.{at} = step
    found = step(*args)
    os.kill(os.getpid(), signal.SIGTERM)
    for _ in range(1000):  # the handler runs between two of these
        pass
    tell(went_on=True)
    return found

measurement.{at} = ended_after
request("/second")
""",
        core=core,
        branch=branch,
        check=False,
    )

    assert "went_on" not in told
    assert told["returncode"] == -signal.SIGTERM
    (path,) = tmp_path.glob(".coverage.*")
    assert lines_of(path) == sorted([*LOADED, FIRST])
