"""Children of a worker that serves do nothing at a fork; what is new there is noticed as ever."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from scripts import FORK, LINE

Measure = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="sys.monitoring is there from Python 3.12 on"
)
FIRST, SECOND = 2, 6  # lines of the functions of app.py

SERVED = (
    FORK
    + LINE
    + """
import warnings
from wsgi_coverage import CoverageMiddleware
start_early()
import app

def plain(environ, start_response):
    app.first()
    start_response("200 OK", [])
    return []

served = CoverageMiddleware(plain, debug=True)

def request():
    list(served({"PATH_INFO": "/"}, lambda *_: None))

request()
request()  # looks after the memory
worker = forks.current()

class Child:
    "Does one thing after another, each when it is told to."

    def __init__(self, *actions):
        self.line = Line()
        self.pid = fork(self.does, actions)
        self.line.wait()

    def does(self, actions):
        for action in actions:
            self.line.come()
            action()
        self.line.come()

    def goes_on(self):
        self.line.go_on()
        self.line.wait()

    def ends(self):
        self.line.go_on()
        assert ended(self.pid) == 0

def noted():
    return [each.pid for each in worker.memory.table.living()]

def seen(verb):
    return {each.pid: each for each in worker.ask_all(verb, wait=5).workers}
"""
)


@pytest.fixture
def serve(measure: Measure) -> Measure:
    def run(script: str) -> dict[str, Any]:
        return measure(SERVED + script, core=None, config="omit = script.py\n")

    return run


def test_a_child_that_runs_nothing_new_is_in_no_table_and_is_told_of_all_the_same(
    serve: Measure,
) -> None:
    told = serve(
        """
child = Child(app.first)
child.goes_on()
states = seen("status")
tell(noted=noted() == [os.getpid()], seen=sorted(states) == sorted([os.getpid(), child.pid]),
     fresh=[each.fresh for each in states.values()], published=seen("publish")[child.pid].fresh)
child.ends()
tell(after=sorted(seen("status")) == [os.getpid()])
"""
    )

    assert told == told | {"noted": True, "seen": True, "fresh": [True, True], "after": True}
    assert told["published"]


def test_pythons_own_hooks_make_no_child_find_out_what_is_measured(measure: Measure) -> None:
    script = """
from wsgi_coverage import CoverageMiddleware
served = CoverageMiddleware(lambda environ, start_response: [], debug=True)

def known():
    return set(forks.current().engine._monitoring._sources)

list(served({"PATH_INFO": "/"}, lambda *_: None))
os.waitpid(os.fork() or os._exit(0), 0)  # the parent's hooks run for the first time
before = known()
tell(children=ended(fork(lambda: sys.exit(len(known() - before)))))
"""
    told = measure(FORK + script, core=None)

    assert told == told | {"children": 0}


def test_no_frame_is_made_in_a_child_for_what_is_not_measured(measure: Measure) -> None:
    script = """
frames, frame_of = [], sys._getframe
sys._getframe = lambda depth=0: frames.append(depth) or frame_of(depth + 1)
from wsgi_coverage import CoverageMiddleware
served = CoverageMiddleware(lambda environ, start_response: [], debug=True)
list(served({"PATH_INFO": "/"}, lambda *_: None))
os.waitpid(os.fork() or os._exit(0), 0)  # the parent's hooks run for the first time
before = len(frames)
tell(some=before > 0, children=ended(fork(lambda: sys.exit(len(frames) - before))))
"""
    told = measure(FORK + script, core=None, config="omit = script.py\n")

    assert told == told | {"some": True, "children": 0}


def test_one_that_runs_something_new_is_a_process_like_any_other(serve: Measure) -> None:
    told = serve(
        """
child = Child(app.first, app.second)
child.goes_on()
before = noted()
child.goes_on()
tell(before=before == [os.getpid()], noted=sorted(noted()) == sorted([os.getpid(), child.pid]),
     ids=len({each.id for each in seen("status").values()}), lines=published())
child.ends()
"""
    )

    assert (told["before"], told["noted"], told["ids"]) == (True, True, 2)
    assert {FIRST, SECOND} <= {*told["lines"]["app.py"]}


def test_a_line_that_another_child_has_marked_is_not_new(serve: Measure) -> None:
    told = serve(
        """
Path("steps.py").write_text("def step(x):\\n    if x:\\n        return 1\\n    return 2\\n")
import steps
steps.step(False)
first = Child(lambda: steps.step(True))
first.goes_on()
is_new = len(noted()) == 2
first.ends()
child = Child(lambda: steps.step(True))
child.goes_on()
tell(is_new=is_new, noted=noted() == [os.getpid()], lines=published())
child.ends()
"""
    )

    assert (told["is_new"], told["noted"]) == (True, True)
    assert told["lines"]["steps.py"] == [1, 2, 3, 4]


def test_a_line_that_was_marked_before_a_reset_is_new_after_it(serve: Measure) -> None:
    told = serve(
        """
Path("steps.py").write_text("def step(x):\\n    if x:\\n        return 1\\n    return 2\\n")
import steps
steps.step(False)
child = Child(lambda: steps.step(True))
other = Child(lambda: steps.step(True))
other.goes_on()
other.ends()
control().reset(wait=5)
child.goes_on()
tell(lines=published())
child.ends()
"""
    )

    assert 3 in told["lines"]["steps.py"]


def test_one_that_has_not_heard_of_a_reset_is_named_and_hears_before_anything_new_counts(
    serve: Measure,
) -> None:
    told = serve(
        """
child = Child(app.first, app.second, app.first)
gathering = control().reset(wait=5)
state = {each.pid: each for each in gathering.workers}[child.pid]
child.goes_on()
unheard = published()
child.goes_on()
heard = published()
child.goes_on()
tell(complete=gathering.complete, fresh=state.fresh, error=state.error,
     unheard=unheard, heard=heard, lines=published(), later=seen("status")[child.pid].fresh)
child.ends()
"""
    )

    assert not told["complete"]
    assert not told["fresh"]
    assert "goes on as before" in told["error"]
    loaded = set(told["unheard"]["app.py"])
    assert FIRST not in loaded
    assert {*told["heard"]["app.py"]} == loaded | {SECOND}
    assert {*told["lines"]["app.py"]} == loaded | {FIRST, SECOND}


def test_one_that_hears_of_a_reset_by_a_request_counts_that_whole(serve: Measure) -> None:
    told = serve(
        """
child = Child(request)
control().reset(wait=5)
child.goes_on()
states = seen("status")
tell(lines=published(), requests=[states[pid].requests for pid in (os.getpid(), child.pid)])
child.ends()
"""
    )

    assert FIRST in told["lines"]["app.py"]
    assert told["requests"] == [2, 1]


def test_a_child_waits_for_no_thread_of_its_parent_that_starts_measuring(serve: Measure) -> None:
    told = serve(
        """
held, over = threading.Event(), threading.Event()

def start():
    with forks._making:
        held.set()
        over.wait()

thread = threading.Thread(target=start)
thread.start()
held.wait()
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside a thread
    child = Child(start_early)
over.set()
thread.join()
child.goes_on()
tell(noted=sorted(noted()) == sorted([os.getpid(), child.pid]))
child.ends()
"""
    )

    assert told["noted"]


def test_a_child_does_not_keep_the_socket_of_its_parent(serve: Measure) -> None:
    told = serve(
        """
def sockets(pid):
    held = [os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir() if each.is_symlink()]
    return [each for each in held if each.startswith("socket:")]

child = Child(app.first)
child.goes_on()
tell(mine=len(sockets(os.getpid())), its=len(sockets(child.pid)))
child.ends()
"""
    )

    assert told["mine"] - told["its"] == 1


def test_requests_of_a_child_are_its_own(serve: Measure) -> None:
    told = serve(
        """
child = Child(request)
child.goes_on()
states = seen("status")
tell(requests=[states[pid].requests for pid in (os.getpid(), child.pid)])
child.ends()
"""
    )

    assert told["requests"] == [2, 1]


def test_one_that_outlives_the_memory_goes_on_in_a_new_one(serve: Measure) -> None:
    told = serve(
        """
def second_and_end():
    app.second()
    forks.current().close()

child = Child(second_and_end)
worker.close()
tell(gone=not worker.memory.is_there)
child.goes_on()
child.ends()
saved = set()
for path in Path.cwd().glob(".coverage.*"):
    data = coverage.CoverageData(str(path))
    data.read()
    saved.update(data.lines(str(Path("app.py").resolve())) or ())
tell(saved=sorted(saved))
"""
    )

    assert told["gone"]
    assert {FIRST, SECOND} <= {*told["saved"]}


def test_a_child_of_such_a_child_is_late_too(serve: Measure) -> None:
    told = serve(
        """
def fork_again():
    grandchild = os.fork()
    if not grandchild:
        app.second()
        os._exit(0)
    os.waitpid(grandchild, 0)

child = Child(fork_again)
child.goes_on()
tell(noted=noted() == [os.getpid()], lines=published())
child.ends()
"""
    )

    assert told["noted"]
    assert {FIRST, SECOND} <= {*told["lines"]["app.py"]}
