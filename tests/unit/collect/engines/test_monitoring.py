"""Lines that are marked in shared memory by a tool of sys.monitoring.

Whatever is measured is measured in a child process: this one may be measured itself.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripts import TELL, told_by

from wsgi_coverage.collect.engines import monitoring

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="sys.monitoring is there from Python 3.12 on"
)

PRELUDE = (
    TELL
    + """
import gc, os, random, signal, sys, threading, time
from pathlib import Path
import wsgi_coverage
from wsgi_coverage.collect.engines.monitoring import Measured, Monitoring
from wsgi_coverage.data.phases import Phase
from wsgi_coverage.store.memory import CHUNK, MOST_CHUNKS, Memory

LOAD, RUNTIME = Phase.LOAD, Phase.RUNTIME
HERE = Path.cwd() / "sources"
HERE.mkdir()
sys.path.insert(0, str(HERE))
sys.dont_write_bytecode = True

def new_memory(name):
    folder = Path.cwd() / name
    folder.mkdir()
    return Memory(folder)

def classify(filename, frame):
    path = Path(filename)
    return Measured(filename, path.name) if path.parent == HERE else None

def source(name, text, *, edited=False):
    path = HERE / f"{name}.py"
    path.write_bytes(text.encode())
    if not edited:
        os.utime(path, (10**9, 10**9))
    return path

def module(name, text):
    source(name, text)
    return __import__(name)

def functions(count, first=0):
    "So many functions of four lines each; the lines that run of number n are 4n + 2 and 4n + 3."
    return "".join(
        f"def f{n}():\\n    x = {n}\\n    return x\\n\\n" for n in range(first, first + count)
    )

def lines(name, phase=RUNTIME, *, memory=None):
    "The lines that count, of all versions of a source, as any process sees them."
    reading = Memory((memory or engine.memory).folder).read()
    assert not reading.problems, reading.problems
    out = set()
    for claim in reading.sources:
        if claim.name == f"{name}.py":
            chunk, at, room = claim.place
            plane = reading.by_phase.get(phase, {}).get(chunk, b"")
            out |= {number for number, byte in enumerate(plane[at : at + room]) if byte}
    return sorted(out - {0})

class Late(Exception):
    "What a handler raises, as a time limit does."

def begin():
    "Measure from now on, as runtime."
    engine.start()
    engine.switch(RUNTIME, 0)

def begin_epoch(epoch, phase=RUNTIME):
    engine.memory.announce(epoch=epoch, oldest=epoch, paused=False)
    engine.switch(phase, epoch)

def like_ours(text, name, **names):
    "Compile a function as if it were one of the package."
    filename = os.path.join(os.path.dirname(wsgi_coverage.__file__), "collect", "stand_in.py")
    exec(compile(text, filename, "exec"), names)
    return names[name]

engine = Monitoring(new_memory("memory"), classify)
"""
)

Measure = Callable[..., dict[str, Any]]


@pytest.fixture
def measure(tmp_path: Path) -> Measure:
    """Run a script in a child process, in a folder of its own; return what it told."""

    def run(script: str) -> dict[str, Any]:
        path = tmp_path / "script.py"
        path.write_text(PRELUDE + textwrap.dedent(script))
        return told_by(path)

    return run


# What is marked


def test_lines_are_marked_when_they_run_in_their_phase(measure: Measure) -> None:
    told = measure(
        """
        engine.start()
        engine.switch(LOAD, 0)
        app = module("app", functions(3))
        engine.switch(RUNTIME, 0)
        app.f1()
        app.f1()
        tell(load=lines("app", LOAD), run=lines("app"), untold=lines("app", None),
             sources=engine.sources, problems=engine.unmeasured)
        """
    )

    assert told["load"] == [1, 5, 9]
    assert told["run"] == [6, 7]
    assert told["untold"] == []
    assert told["sources"] == 1
    assert told["problems"] == {}


def test_what_runs_before_anybody_tells_of_a_phase_is_of_none(measure: Measure) -> None:
    told = measure(
        """
        engine.start()
        module("app", functions(1)).f0()
        tell(untold=lines("app", None), run=lines("app"), load=lines("app", LOAD))
        """
    )

    assert told == {"untold": [1, 2, 3], "run": [], "load": []}


def test_a_line_is_marked_anew_in_each_epoch_and_phase(measure: Measure) -> None:
    told = measure(
        """
        app = module("app", functions(2))
        engine.start()
        seen = []
        for epoch, phase in [(0, LOAD), (0, RUNTIME), (1, RUNTIME), (2, RUNTIME), (2, LOAD)]:
            before = lines("app", phase)
            begin_epoch(epoch, phase)
            engine.memory.end_epochs(epoch)
            after = lines("app", phase)
            app.f1()
            seen.append([before, after, lines("app", phase)])
        tell(seen=seen)
        """
    )

    assert told["seen"] == [
        [[], [], [6, 7]],
        [[], [], [6, 7]],
        [[6, 7], [], [6, 7]],
        [[6, 7], [], [6, 7]],
        [[6, 7], [6, 7], [6, 7]],
    ]


def test_nothing_counts_that_runs_in_a_pause_and_everything_after_it(measure: Measure) -> None:
    told = measure(
        """
        app = module("app", functions(3))
        begin()
        app.f0()
        engine.switch(RUNTIME, 0, paused=True)
        app.f1()
        late = module("late", functions(1))
        paused = lines("app"), lines("late")
        engine.switch(RUNTIME, 0)
        app.f1()
        late.f0()
        tell(paused=paused, after=[lines("app"), lines("late")])
        """
    )

    assert told["paused"] == [[2, 3], []]
    assert told["after"] == [[2, 3, 6, 7], [2, 3]]


LOOPS = """
import asyncio
app = module("app", '''
def loop(turns):
    for step in turns:
        x = 1
    return 2


def generator():
    while True:
        yield 1
        x = 2


async def coroutine(events):
    for event in events:
        await event.wait()
        x = 3
''')
begin()

class Turns:
    "Each step of a loop in another thread is taken when it is asked for."

    def __init__(self):
        self.go, self.done = threading.Semaphore(0), threading.Semaphore(0)

    def __iter__(self):
        while True:
            self.done.release()
            self.go.acquire()
            yield 1

    def take(self):
        self.go.release()
        assert self.done.acquire(timeout=20)

turns = Turns()
threading.Thread(target=app.loop, args=(turns,), daemon=True).start()
assert turns.done.acquire(timeout=20)
turns.take()
generator = app.generator()
next(generator)
next(generator)

async def main():
    events = [asyncio.Event() for _ in range(2)]
    task = asyncio.create_task(app.coroutine(events))
    await asyncio.sleep(0)
    begin_epoch(1)
    engine.memory.end_epochs(1)
    before = lines("app")
    turns.take()
    next(generator)
    for event in events:
        event.set()
    await task
    tell(before=before, after=lines("app"))

asyncio.run(main())
"""


def test_threads_generators_and_coroutines_that_wait_are_seen_again_in_a_new_epoch(
    measure: Measure,
) -> None:
    told = measure(LOOPS)

    assert told["before"] == []
    assert told["after"] == [3, 4, 9, 10, 11, 15, 16, 17]


def test_carriage_returns_alone_end_lines(measure: Measure) -> None:
    told = measure(
        """
        begin()
        old = "\\r".join(f"x{n} = {n}" for n in range(1, 300)) + "\\r"
        module("old", old)
        module("mixed", "x = 1\\r\\ny = 2\\rz = 3\\nw = 4")
        module("form", "x = 1\\n\\f\\ny = 2\\n\\v = 3\\n".replace("\\v", "z"))
        tell(old=lines("old"), mixed=lines("mixed"), form=lines("form"), why=engine.unmeasured)
        """
    )

    assert told["old"] == list(range(1, 300))
    assert told["mixed"] == [1, 2, 3, 4]
    assert told["form"] == [1, 3, 4]
    assert told["why"] == {}


def test_code_with_lines_that_its_source_does_not_have_runs_unmeasured(measure: Measure) -> None:
    """A line number beyond the source would be the byte of another one."""
    told = measure(
        """
        begin()
        app = module("app", functions(1))
        other = module("other", functions(20))
        before = lines("other")
        names = {}
        text = "\\n" * 40 + "def beyond():\\n    return 5\\nx = beyond()\\n"
        exec(compile(text, app.__file__, "exec"), names)
        late = "x = 1\\ndef within():\\n    return 6\\n"
        exec(compile(late, app.__file__, "exec"), names)
        tell(x=names["x"], within=names["within"](), app=lines("app"), before=before,
             other=lines("other"), why=engine.unmeasured)
        """
    )

    assert (told["x"], told["within"]) == (1, 6)
    assert told["app"] == [1, 2, 3]
    assert told["other"] == told["before"]
    assert len(told["why"]) == 2
    assert all("app.py" in what and "line 4" in why for what, why in told["why"].items())


def test_code_of_a_source_edited_since_it_was_imported_is_of_an_unknown_version(
    measure: Measure,
) -> None:
    told = measure(
        """
        app = module("app", functions(3))
        engine = Monitoring(new_memory("later"), classify)
        source("app", "edited = 1\\n" + functions(3), edited=True)
        begin()
        app.f0()
        versions = [claim.version for claim in engine.memory.known()]
        tell(versions=versions, lines=lines("app"))
        """
    )

    assert told == {"versions": ["changed"], "lines": [2, 3]}


def test_functions_that_outlive_their_module_stay_of_the_version_they_came_from(
    measure: Measure,
) -> None:
    told = measure(
        """
        import importlib
        begin()
        app = module("app", functions(2))
        old = app.f1
        old()
        source("app", "edited = 1\\n" * 3 + functions(2))
        importlib.reload(app)
        begin_epoch(1)
        engine.memory.end_epochs(1)
        old()
        app.f0()
        reading = engine.memory.read()
        chunks = reading.by_phase[RUNTIME]
        seen = {
            claim.place.room: [line for line in range(1, claim.place.room)
                               if chunks[claim.place.chunk][claim.place.at + line]]
            for claim in reading.sources
        }
        tell(seen=seen)
        """
    )

    assert told["seen"] == {"10": [6, 7], "13": [5, 6]}


def test_500_functions_compiled_in_passing_leave_no_marks(measure: Measure) -> None:
    told = measure(
        """
        begin()
        app = module("app", functions(2))
        app.f0()
        gc.collect()

        def marks():
            return len(engine._codes), len(engine._cell[0][0])

        before = marks()
        for number in range(500):
            names = {}
            exec(compile(f"def f():\\n    return {number}\\n", app.__file__, "exec"), names)
            names["f"]()
        del names
        gc.collect()
        app.f1()
        tell(before=before, after=marks(), sources=engine.sources,
             claims=len(engine.memory.known()), lines=lines("app"))
        """
    )

    assert told["after"] == [each + 1 for each in told["before"]]
    assert told["sources"] == told["claims"] == 1
    assert told["lines"] == [1, 2, 3, 5, 6, 7]


def test_code_at_the_address_of_code_that_is_gone_is_marked_where_it_belongs(
    measure: Measure,
) -> None:
    told = measure(
        """
        begin()
        first, second = source("first", "\\n" * 50), source("second", "\\n" * 50)
        choose, seen, again = random.Random(1), set(), 0

        def run(path, at):
            names = {}
            exec(compile("\\n" * at + "def f():\\n    return 1\\n", str(path), "exec"), names)
            names["f"]()
            return id(names.pop("f").__code__)

        for number in range(5000):
            if choose.random() < 0.5:
                seen.add(run(first, 10))
            else:
                again += run(second, 20) in seen
            if again == 20:
                break
        tell(again=again, first=lines("first"), second=lines("second"))
        """
    )

    assert told["again"] == 20
    assert told["first"] == [11, 12]
    assert told["second"] == [21, 22]


def test_lines_that_somebody_else_has_seen_can_be_marked(measure: Measure) -> None:
    told = measure(
        """
        app = module("app", functions(3))
        begin()
        engine.mark("app.py", app.__file__, {1, 5, 0, -3, 12, 5000})
        app.f2()
        tell(lines=lines("app"), claims=len(engine.memory.known()))
        """
    )

    assert told == {"lines": [1, 5, 10, 11, 12], "claims": 1}


# Tools


def test_a_python_without_sys_monitoring_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(sys, "monitoring")

    assert "sys.monitoring" in (monitoring.why_not() or "")


def test_a_tool_that_is_taken_is_left_alone_and_the_next_is_used(measure: Measure) -> None:
    told = measure(
        """
        from wsgi_coverage.collect.engines import monitoring
        taken = monitoring.TOOL_IDS[:3]
        for number in taken:
            sys.monitoring.use_tool_id(number, "theirs")
        why = monitoring.why_not()
        begin()
        module("app", functions(1)).f0()
        names = [sys.monitoring.get_tool(number) for number in range(6)]
        tell(why=why, names=[names[number] for number in monitoring.TOOL_IDS], lines=lines("app"))
        """
    )

    assert told["why"] is None
    assert told["names"] == ["theirs"] * 3 + [monitoring.NAME, None, None]
    assert told["lines"] == [1, 2, 3]


def test_when_every_tool_is_taken_that_is_said(measure: Measure) -> None:
    told = measure(
        """
        from wsgi_coverage.collect.engines import monitoring
        before = monitoring.why_not()
        for number in range(6):
            sys.monitoring.use_tool_id(number, "theirs")
        try:
            engine.start()
        except RuntimeError as error:
            tell(error=str(error))
        tell(before=before, why=monitoring.why_not())
        """
    )

    assert told["before"] is None
    assert "taken" in told["why"]
    assert "taken" in told["error"]


# Nothing of ours reaches the application

CLASSIFIERS = {
    "of the package": """
fail = like_ours("def classify(*args): raise ZeroDivisionError('no')", "classify")
""",
    "by a function of the C library": """
fail = like_ours("def classify(*args): return getattr(*args)", "classify")
""",
    "by a frozen module": """
os.mkdir("gone")
os.chdir("gone")
os.rmdir("../gone")
fail = like_ours("def classify(*args): return os.path.abspath('app.py')", "classify", os=os)
""",
    "by the standard library": """
fail = like_ours("def classify(*args): return json.loads('[')", "classify", json=json)
""",
    "by coverage.py": """
import coverage
fail = like_ours(
    "def classify(*args): return coverage.Coverage(config_file='nowhere')", "classify",
    coverage=coverage,
)
""",
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_an_error_in_classifying_a_source_never_reaches_the_application(
    measure: Measure, name: str
) -> None:
    told = measure(
        CLASSIFIERS[name]
        + """
def wanted(filename, frame):
    return fail(filename, frame) if Path(filename).name == "app.py" else classify(filename, frame)
engine._classify = like_ours("def classify(*args): return wanted(*args)", "classify", wanted=fail)
text = functions(1) + "result = f0()\\n"
begin()
app = module("app", text)
engine._classify = classify
other = module("other", functions(1))
other.f0()
why = {Path(what.rpartition(" in ")[2]).name: reason for what, reason in engine.unmeasured.items()}
tell(result=app.result, other=lines("other"), why=why["app.py"])
"""
    )

    assert told["result"] == 0
    assert told["other"] == [1, 2, 3]
    assert ":" in told["why"]


def test_a_source_that_cannot_be_read_is_unmeasured_and_named(measure: Measure) -> None:
    told = measure(
        """
        import zipfile
        with zipfile.ZipFile(HERE / "archive.zip", "w") as archive:
            archive.writestr("packed.py", functions(1))
        sys.path.insert(0, str(HERE / "archive.zip"))

        def classify(filename, frame):
            return Measured(filename, Path(filename).name) if str(HERE) in filename else None

        app, gone = module("app", functions(1)), module("gone", functions(1))
        os.unlink(gone.__file__)
        engine = Monitoring(new_memory("other"), classify)
        begin()
        import packed
        told = [packed.f0(), gone.f0(), app.f0()]
        folder = HERE / "folder.py"
        folder.mkdir()
        exec(compile("x = 1", str(folder), "exec"))
        exec(compile("x = 1", str(HERE / ("n" * 300)), "exec"))
        tell(told=told, app=lines("app"), why=engine.unmeasured)
        """
    )

    assert told["told"] == [0, 0, 0]
    assert told["app"] == [2, 3]
    assert set(told["why"]) == {"packed.py", "gone.py", "folder.py", "n" * 300}
    assert all("cannot be read" in why for why in told["why"].values())


BROKEN = {
    "full": """
for number in range(MOST_CHUNKS):
    engine.memory.place(str(number), "v1", CHUNK)
""",
    "no room for a chunk": """
engine.memory.place("first", "v1", CHUNK)
os.mkdir(engine.memory.folder / "run-0-1.lines")
""",
    "foreign chunk": """
engine.memory.place("first", "v1", CHUNK)
(engine.memory.folder / "run-0-1.lines").write_bytes(b"x" * CHUNK * 2)
""",
    "gone": """
assert engine.memory.remove()
""",
}


@pytest.mark.parametrize("name", BROKEN)
def test_where_there_is_no_place_for_lines_the_application_runs_unmeasured(
    measure: Measure, name: str
) -> None:
    told = measure(
        """
begin()
"""
        + BROKEN[name]
        + """
app = module("app", functions(2))
told = [app.f0(), app.f1(), app.f1()]
tell(told=told, lost=engine.is_lost, marks=len(engine._cell[0][0]),
     why=[what for what in engine.unmeasured if "app.py" in what])
"""
    )

    assert told["told"] == [0, 1, 1]
    assert told["lost"]
    assert told["why"]
    assert told["marks"] == 0


def test_where_a_new_epoch_has_no_room_lines_go_on_to_be_marked_where_they_were(
    measure: Measure,
) -> None:
    told = measure(
        """
        begin()
        app = module("app", functions(2))
        app.f0()
        os.mkdir(engine.memory.folder / "run-1-0.lines")
        try:
            engine.switch(RUNTIME, 1)
        except OSError:
            tell(refused=True)
        app.f1()
        os.rmdir(engine.memory.folder / "run-1-0.lines")
        tell(epoch=engine.epoch, phase=engine.phase, lines=lines("app"))
        begin_epoch(1)
        app.f1()
        tell(later=lines("app"))
        """
    )

    assert told["refused"]
    assert (told["epoch"], told["phase"]) == (0, "runtime")
    assert told["lines"] == [1, 2, 3, 5, 6, 7]
    assert told["later"] == [6, 7]


# Nothing of the application is swallowed

# A signal that comes while a source is looked up: its handler runs in a callback of ours.
HANDLERS = {
    "of the application": """
class Late(Exception):
    pass

def handler(*args):
    raise Late
""",
    "of a package beside the standard library": """
names = {}
text = "class Late(Exception): pass\\ndef handler(*args): raise Late"
filename = os.path.join(os.path.dirname(os.__file__), "site-packages", "tasks", "timeouts.py")
exec(compile(text, filename, "exec"), {"__name__": "tasks.timeouts"}, names)
names["handler"].__globals__.update(names)
Late, handler = names["Late"], names["handler"]
""",
    "of an application in a folder named coverage": """
names = {"__name__": "app"}
text = "class Late(Exception): pass\\ndef handler(*args): raise Late"
exec(compile(text, "/srv/coverage/app.py", "exec"), names)
Late, handler = names["Late"], names["handler"]
""",
    "with an error of the standard library": """
Late = json.JSONDecodeError

def handler(*args):
    json.loads("[")
""",
    "that a function of the C library raises": """
class Late(Exception):
    pass

def throwing():
    while True:
        yield

generator = throwing()
next(generator)

def raising(kind):
    "A handler without a frame of its own."
    import functools
    import operator
    return functools.partial(operator.methodcaller("throw", kind), generator)

handler = lambda *args: generator.throw(Late)
""",
}


@pytest.mark.parametrize("name", HANDLERS)
def test_what_a_signal_handler_raises_within_a_callback_reaches_the_application(
    measure: Measure, name: str
) -> None:
    told = measure(
        HANDLERS[name]
        + """
signal.signal(signal.SIGUSR1, handler)
armed = []

def raise_signal():
    if armed:
        armed.pop()
        signal.raise_signal(signal.SIGUSR1)

engine._classify = like_ours(
    "def ours(*args):\\n    raise_signal()\\n    return classify(*args)", "ours",
    raise_signal=raise_signal, classify=classify,
)
app = module("app", functions(3))
begin()
armed.append(1)
try:
    app.f0()
except Late:
    caught = True
else:
    caught = False
told = [app.f0(), app.f1(), app.f2()]
tell(caught=caught, told=told, lines=lines("app"), why=engine.unmeasured)
"""
    )

    assert told["caught"]
    assert told["told"] == [0, 1, 2]
    assert told["lines"] == [2, 3, 6, 7, 10, 11]
    assert told["why"] == {}


def test_an_exception_that_another_thread_raises_in_a_callback_reaches_the_application(
    measure: Measure,
) -> None:
    """As time limits of tasks do it, by `PyThreadState_SetAsyncExc`."""
    told = measure(
        """
        import ctypes

        armed = []
        engine._classify = like_ours(
            "def ours(*args):\\n"
            "    if armed: raise_in(thread, armed.pop())\\n"
            "    return classify(*args)",
            "ours", armed=armed, classify=classify, thread=ctypes.c_ulong(threading.get_ident()),
            raise_in=ctypes.pythonapi.PyThreadState_SetAsyncExc,
        )
        app = module("app", functions(3))
        begin()
        armed.append(ctypes.py_object(Late))
        try:
            app.f0()
        except Late:
            caught = True
        else:
            caught = False
        app.f0()
        tell(caught=caught, lines=lines("app"))
        """
    )

    assert told["caught"]
    assert told["lines"] == [2, 3]


def test_a_timer_whose_handler_raises_at_any_moment_is_heard_and_measuring_stays_exact(
    measure: Measure,
) -> None:
    told = measure(
        """
        import warnings
        warnings.simplefilter("ignore", ResourceWarning)  # a file that is opened just then

        fired = within = 0

        def handler(signum, frame):
            global fired, within
            fired += 1
            while frame is not None:
                if frame.f_code.co_filename.startswith(os.path.dirname(wsgi_coverage.__file__)):
                    within += 1
                    break
                frame = frame.f_back
            raise Late

        signal.signal(signal.SIGALRM, handler)
        names = [source(f"m{n}", functions(8)) for n in range(40)]
        texts = [compile(path.read_text(), str(path), "exec") for path in names]
        begin()
        exec(texts[0], {})  # so that its chunk is there
        swallowed, rounds = 0, 0
        deadline = time.monotonic() + 4

        def work(number):
            "Make sources and code known all the time, as nothing is by now."
            path = names[number % 40]
            made = {}
            engine._sources.pop(str(path), None)
            code = compile(f"x = {number}\\n" + functions(7), str(path), "exec")
            exec(code, made)
            for each in range(7):
                made[f"f{each}"]()
            engine.memory.place(f"more{number % 500}.py", str(rounds), 10)

        def work_until_it_fires():
            before, number = fired, 0
            signal.setitimer(signal.ITIMER_REAL, 0.0003 + rounds % 50 * 0.00004)
            while fired == before:
                number += 1
                work(number)

        while rounds < 150 or (within < 40 and time.monotonic() < deadline):
            rounds += 1
            try:
                work_until_it_fires()
                swallowed += 1
            except Late:
                pass

        engine.memory.announce(epoch=1, oldest=1, paused=False)
        engine.switch(RUNTIME, 1)
        for code in texts:
            made = {}
            exec(code, made)
            for each in range(0, 8, 2):
                made[f"f{each}"]()
        expected = sorted([*range(1, 33, 4), *range(2, 33, 8), *range(3, 33, 8)])
        wrong = [n for n in range(40) if lines(f"m{n}") != expected]

        # What others run for the first time is not kept waiting.
        fresh = module("fresh", functions(1))
        thread = threading.Thread(target=fresh.f0, daemon=True)
        thread.start()
        thread.join(10)
        gc.collect()
        names = [os.path.join("/proc/self/fd", each) for each in os.listdir("/proc/self/fd")]
        descriptors = [os.readlink(each) for each in names if os.path.islink(each)]
        tell(swallowed=swallowed, within=within, wrong=wrong, hangs=thread.is_alive(),
             agree=Memory(engine.memory.folder).claims() == engine.memory.claims(),
             descriptors=[each for each in descriptors if str(engine.memory.folder) in each],
             why=engine.unmeasured)
        """
    )

    assert told["swallowed"] == 0
    assert told["within"] > 0
    assert not told["hangs"]
    assert told["agree"]
    assert told["descriptors"] == []
    assert told["wrong"] == []
    assert told["why"] == {}


def test_what_a_handler_raises_just_when_a_lock_is_taken_keeps_nobody_waiting(
    measure: Measure,
) -> None:
    """From Python 3.14 on, `with` lets it in before its own `try`, so that a lock stays taken."""
    told = measure(
        """
        from _thread import RLock

        class Interrupted(RLock):
            "Taken, and then a handler raises."

            armed = 2

            def acquire(self, *args):
                taken = super().acquire(*args)
                self.armed -= 1
                if self.armed >= 0:
                    raise Late
                return taken

            __enter__ = acquire

        first, second = module("first", functions(2)), module("second", functions(2))
        begin()
        engine._lock = Interrupted()
        heard = 0
        while engine._lock.armed > 0:
            try:
                first.f0()
            except Late:
                heard += 1
        first.f0()
        thread = threading.Thread(target=second.f1, daemon=True)
        thread.start()
        thread.join(10)
        tell(heard=heard, hangs=thread.is_alive(), first=lines("first"), second=lines("second"))
        """
    )

    assert not told["hangs"]
    assert told["heard"] == 2
    assert told["first"] == [2, 3]
    assert told["second"] == [6, 7]


# Threads


def test_switching_epochs_beside_threads_loses_no_line_and_invents_none(measure: Measure) -> None:
    """Each call that lies within one epoch is in that epoch, and nothing else is."""
    told = measure(
        """
        COUNT, EPOCHS = 60, 100
        app = module("app", "".join(
            f"def f{n}(times):\\n    total = 0\\n    for each in range(times):\\n"
            f"        total += each\\n    return total\\n\\n" for n in range(COUNT)
        ))
        begin()
        sys.setswitchinterval(1e-5)
        work = [getattr(app, f"f{n}") for n in range(COUNT)]
        begun, done, stop = [0], [0], threading.Event()
        calls = [[] for _ in range(8)]

        def job(mine, seed):
            choose = random.Random(seed)
            while not stop.is_set():
                number = choose.randrange(COUNT)
                before = begun[0], done[0]
                work[number](choose.choice((1, 2, 30)))
                mine.append((number, before, (begun[0], done[0])))

        threads = [threading.Thread(target=job, args=(calls[n], n)) for n in range(8)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 20
        for epoch in range(1, EPOCHS + 1):
            before = sum(map(len, calls))
            while sum(map(len, calls)) < before + 100 and time.monotonic() < deadline:
                time.sleep(0)
            begun[0] = epoch
            engine.switch(RUNTIME, epoch)
            done[0] = epoch
        before = sum(map(len, calls))
        while sum(map(len, calls)) < before + 100 and time.monotonic() < deadline:
            time.sleep(0)
        stop.set()
        for thread in threads:
            thread.join(20)

        must = [set() for _ in range(EPOCHS + 1)]
        may = [set() for _ in range(EPOCHS + 1)]
        for number, first, last in (call for mine in calls for call in mine):
            if len({*first, *last}) == 1:
                must[first[0]].add(number)
            for epoch in range(first[1], last[0] + 1):
                may[epoch].add(number)
        (place,) = [claim.place for claim in engine.memory.known()]
        lost = extra = 0
        for epoch in range(1, EPOCHS + 1):
            raw = (engine.memory.folder / f"run-{epoch}-0.lines").read_bytes()[64:][place.at :]
            for n in range(COUNT):
                seen = [line for line in range(6 * n + 1, 6 * n + 7) if raw[line]]
                lost += n in must[epoch] and seen != [6 * n + k for k in (2, 3, 4, 5)]
                extra += bool(seen) and n not in may[epoch]
        tell(lost=lost, extra=extra, calls=sum(map(len, must)), why=engine.unmeasured)
        """
    )

    assert told["calls"] > 1000
    assert told["lost"] == 0
    assert told["extra"] == 0
    assert told["why"] == {}


def test_threads_that_begin_the_same_sources_at_once_are_all_marked(measure: Measure) -> None:
    told = measure(
        """
        for number in range(30):
            source(f"m{number}", functions(8))
        modules = [__import__(f"m{number}") for number in range(30)]
        begin()
        sys.setswitchinterval(1e-6)
        barrier = threading.Barrier(8)

        def job(number):
            barrier.wait()
            for each in modules:
                getattr(each, f"f{number}")()

        threads = [threading.Thread(target=job, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        expected = [4 * n + k for n in range(8) for k in (2, 3)]
        tell(wrong=[n for n in range(30) if lines(f"m{n}") != expected],
             claims=len(engine.memory.known()))
        """
    )

    assert told == {"wrong": [], "claims": 30}


# Greenlets

SUSPENDED = """
import greenlet
app = module("app", '''
def work():
    y = 1
    return y


def loop(wait):
    while True:
        wait()
        x = 1
        work()


def outer(wait):
    loop(wait)
    return 1
''')
begin()
main = greenlet.getcurrent()
greenlets = [greenlet.greenlet(app.outer) for _ in range(3)]
for each in greenlets:
    each.switch(main.switch)
    each.switch()
"""


def test_a_suspended_greenlet_is_seen_again_in_a_new_epoch(measure: Measure) -> None:
    pytest.importorskip("greenlet")

    told = measure(
        SUSPENDED
        + """
seen = []
for epoch in range(1, 6):
    begin_epoch(epoch)
    engine.memory.end_epochs(epoch)
    before = lines("app")
    greenlets[epoch % 3].switch()
    seen.append([before, lines("app")])
tell(seen=seen)
"""
    )

    assert told["seen"] == [[[], [3, 4, 8, 9, 10, 11]]] * 5


def test_looking_for_greenlets_touches_no_lazy_object_of_the_application(measure: Measure) -> None:
    pytest.importorskip("greenlet")

    told = measure(
        SUSPENDED
        + """
touched = []

class Lazy:
    @property
    def __class__(self):
        touched.append("made")
        raise RuntimeError("there is nothing to stand for yet")

lazy = Lazy()
begin_epoch(1)
greenlets[1].switch()
tell(touched=touched, lines=lines("app"))
"""
    )

    assert told == {"touched": [], "lines": [3, 4, 8, 9, 10, 11]}


def test_seeing_suspended_greenlets_again_loses_no_line_of_other_threads(measure: Measure) -> None:
    """Other threads run, once in each epoch and meanwhile, the code that is suspended."""
    pytest.importorskip("greenlet")

    told = measure(
        """
        import greenlet
        from wsgi_coverage.collect.engines import monitoring
        THREADS, EACH, ROOM, EPOCHS = 4, 40, 60, 50
        body = "".join(f"    x = {n}\\n" for n in range(ROOM - 2))
        app = module("app", "".join(
            f"def f{n}(wait):\\n    wait()\\n{body}" for n in range(THREADS * EACH)
        ))
        begin()
        work = [getattr(app, f"f{n}") for n in range(THREADS * EACH)]
        main = greenlet.getcurrent()
        suspended = [greenlet.greenlet(each) for each in work]
        for each in suspended:
            each.switch(main.switch)
        sys.setswitchinterval(1e-6)
        begun = [0]  # the epoch that every line is of from now on, as events were restarted
        finished = threading.Semaphore(0)
        suspended_codes = monitoring._suspended_codes

        def once_restarted():
            begun[0] = engine.epoch
            return suspended_codes()

        monitoring._suspended_codes = once_restarted
        set_local_events = sys.monitoring.set_local_events

        def set_and_wait(*args):
            "Let others run in between."
            set_local_events(*args)
            time.sleep(0)

        sys.monitoring.set_local_events = set_and_wait

        def job(mine):
            for epoch in range(1, EPOCHS + 1):
                while begun[0] < epoch:
                    time.sleep(0)
                for each in mine:
                    each(int)
                finished.release()

        for n in range(THREADS):
            threading.Thread(target=job, args=(work[n::THREADS],), daemon=True).start()
        lost = []
        for epoch in range(1, EPOCHS + 1):
            engine.switch(RUNTIME, epoch)
            for _ in range(THREADS):
                assert finished.acquire(timeout=20)
            (place,) = [claim.place for claim in engine.memory.known()]
            path = engine.memory.folder / f"run-{epoch}-0.lines"
            raw = path.read_bytes()[64:][place.at + 1 :][: ROOM * THREADS * EACH]
            lost += [(epoch, at + 1) for at, byte in enumerate(raw) if at % ROOM and not byte]
        tell(lost=lost, why=engine.unmeasured)
        """
    )

    assert told["lost"] == []
    assert told["why"] == {}


def test_gevent_that_has_patched_everything_loses_no_line(measure: Measure) -> None:
    pytest.importorskip("gevent")

    told = measure(
        """
        import warnings
        warnings.simplefilter("default")
        from gevent import monkey
        monkey.patch_all()
        import gevent
        for number in range(30):
            source(f"m{number}", functions(8))
        begin()

        def job(number):
            for each in range(30):
                gevent.sleep(0)
                getattr(__import__(f"m{each}"), f"f{number}")()

        gevent.joinall([gevent.spawn(job, n) for n in range(8)], raise_error=True)
        expected = sorted(4 * n + k for n in range(8) for k in (1, 2, 3))
        tell(wrong=[n for n in range(30) if lines(f"m{n}") != expected])
        """
    )

    assert told["wrong"] == []


# Forks


def test_no_line_is_lost_of_200_children_that_are_killed_right_after_it(measure: Measure) -> None:
    told = measure(
        """
        app = module("app", "".join(f"def f{n}(): return {n}\\n" for n in range(200)))
        late = source("late", "".join(f"def g{n}(): return {n}\\n" for n in range(200)))
        os.register_at_fork(after_in_child=engine.after_fork)
        begin()
        statuses = set()
        for number in range(200):
            pid = os.fork()
            if pid == 0:
                signal.alarm(20)
                getattr(app, f"f{number}")()
                if number % 10 == 0:
                    import late
                    getattr(late, f"g{number}")()
                os.kill(os.getpid(), signal.SIGKILL)
            statuses.add(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        tell(app=lines("app"), late=lines("late"), statuses=list(statuses))
        """
    )

    assert told["statuses"] == [-9]
    assert told["app"] == list(range(1, 201))
    assert told["late"] == list(range(1, 201))


def test_a_child_goes_on_whatever_other_threads_were_about_when_it_was_forked(
    measure: Measure,
) -> None:
    told = measure(
        """
        import warnings
        warnings.filterwarnings("ignore", ".*multi-threaded.*", DeprecationWarning)
        app = module("app", "".join(f"def f{n}(): return {n}\\n" for n in range(200)))
        fresh = [source(f"fresh{n}", functions(1)) for n in range(200)]
        os.register_at_fork(after_in_child=engine.after_fork)
        begin()
        sys.setswitchinterval(1e-5)
        stop = threading.Event()
        placed = [0, 0]

        def place(which):
            while not stop.is_set():
                placed[which] += 1
                path = source(f"placed{which}-{placed[which]}", functions(1))
                names = {}
                exec(compile(functions(1), str(path), "exec"), names)
                names["f0"]()

        threads = [threading.Thread(target=place, args=(n,)) for n in range(2)]
        for thread in threads:
            thread.start()
        codes = {}
        for number in range(200):
            while sum(placed) < number:
                time.sleep(0)
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    signal.alarm(20)  # instead of a hang
                    getattr(app, f"f{number}")()
                    __import__(f"fresh{number}").f0()
                    status = 0
                finally:
                    os._exit(status)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            codes[code] = codes.get(code, 0) + 1
            if code:
                break
        stop.set()
        for thread in threads:
            thread.join(20)
        reading = Memory(engine.memory.folder).read()
        chunks = reading.by_phase[RUNTIME]
        marked = {
            claim.name for claim in reading.sources
            if list(chunks[claim.place.chunk][claim.place.at :][1:4]) == [1, 1, 1]
        }
        tell(codes=codes, app=lines("app"), placed=sum(placed),
             fresh=sum(path.name in marked for path in fresh),
             agree=list(reading.sources) == engine.memory.claims())
        """
    )

    assert told["codes"] == {"0": 200}
    assert told["app"] == list(range(1, 201))
    assert told["fresh"] == 200
    assert told["agree"]
    assert told["placed"] >= 200


def test_a_child_sees_lines_that_its_parent_has_not_run_and_the_parent_those_of_the_child(
    measure: Measure,
) -> None:
    told = measure(
        """
        app = module("app", functions(3))
        begin()
        app.f0()
        pid = os.fork()
        if pid == 0:
            engine.after_fork()
            engine.switch(RUNTIME, 1)
            app.f0()
            app.f1()
            os._exit(0)
        code = os.waitpid(pid, 0)[1]
        app.f2()
        place = engine.memory.known()[0].place
        seen = []
        for epoch in (0, 1):
            raw = (engine.memory.folder / f"run-{epoch}-0.lines").read_bytes()[64:][place.at :]
            seen.append([line for line in range(1, 13) if raw[line]])
        tell(code=code, seen=seen)
        """
    )

    assert told == {"code": 0, "seen": [[2, 3, 10, 11], [2, 3, 6, 7]]}


# Another memory


def test_after_a_move_lines_are_marked_in_the_other_memory_alone(measure: Measure) -> None:
    told = measure(
        """
        begin()
        app, other = module("app", functions(3)), module("other", functions(2))
        app.f0()
        old = engine.memory
        new = new_memory("new")
        new.place("x.py", "v1", 77)
        engine.move(new)
        moved = lines("app")
        app.f0()
        app.f1()
        other.f0()
        late = module("late", functions(1))
        late.f0()
        tell(moved=moved, app=lines("app"), other=lines("other"), late=lines("late"),
             old=lines("app", memory=old), old_late=lines("late", memory=old))
        """
    )

    assert told["moved"] == []
    assert told["app"] == [2, 3, 6, 7]
    assert told["other"] == [2, 3]
    assert told["late"] == [1, 2, 3]
    assert told["old"] == [1, 2, 3, 5, 9]
    assert told["old_late"] == []


def test_a_move_to_where_there_is_no_room_leaves_everything_as_it_was(measure: Measure) -> None:
    told = measure(
        """
        begin()
        app = module("app", functions(2))
        app.f0()
        old = engine.memory
        new = new_memory("new")
        os.mkdir(new.folder / "run-0-0.lines")
        try:
            engine.move(new)
        except OSError:
            tell(refused=True)
        app.f1()
        tell(same=engine.memory is old, lines=lines("app"))
        """
    )

    assert told["refused"]
    assert told["same"]
    assert told["lines"] == [1, 2, 3, 5, 6, 7]


def test_functions_of_an_older_version_stay_of_it_after_a_move(measure: Measure) -> None:
    told = measure(
        """
        import importlib
        begin()
        app = module("app", functions(2))
        old = app.f1
        old()
        source("app", "edited = 1\\n" * 3 + functions(2))
        importlib.reload(app)
        engine.move(new_memory("new"))
        old()
        app.f0()
        reading = engine.memory.read()
        chunks = reading.by_phase[RUNTIME]
        seen = {
            claim.place.room: [line for line in range(1, claim.place.room)
                               if chunks[claim.place.chunk][claim.place.at + line]]
            for claim in reading.sources
        }
        tell(seen=seen, why=engine.unmeasured)
        """
    )

    assert told["seen"] == {"10": [6, 7], "13": [5, 6]}
    assert told["why"] == {}


def test_code_that_goes_in_the_middle_of_a_move_leaves_no_mark(measure: Measure) -> None:
    """Its address may be another's soon."""
    told = measure(
        """
        begin()
        first, second = source("first", "\\n" * 50), source("second", "\\n" * 50)

        def made(path, at):
            names = {}
            exec(compile("\\n" * at + "def f():\\n    return 1\\n", str(path), "exec"), names)
            names["f"]()
            return names.pop("f")

        kept = [made(first, 10)]

        class New(Memory):
            def chunk(self, phase, epoch, number):
                kept.clear()
                gc.collect()
                return super().chunk(phase, epoch, number)

        Path("new").mkdir()
        engine.move(New(Path.cwd() / "new"))
        made(second, 20)
        tell(first=lines("first"), second=lines("second"),
             stale=len(engine._cell[0][0].keys() - engine._codes.keys()))
        """
    )

    assert told["stale"] == 0
    assert told["first"] == []
    assert told["second"] == [21, 22]


def test_a_source_that_was_looked_up_before_a_move_is_marked_where_it_lies_after_it(
    measure: Measure,
) -> None:
    told = measure(
        """
        begin()
        app = module("app", functions(2))
        new = new_memory("new")
        new.place("before.py", "v1", 100)
        has_room = engine._has_room

        def moved_meanwhile(*args):
            engine._has_room = has_room
            engine.move(new)
            return has_room(*args)

        engine._has_room = moved_meanwhile
        app.f1()
        tell(app=lines("app"), before=lines("before"), why=engine.unmeasured)
        """
    )

    assert told["before"] == []
    assert told["app"] == [6, 7]
    assert told["why"] == {}
