"""Nothing is noted during a pause, and afterwards every thread is measured again."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

Measure = Callable[..., dict[str, Any]]

LOADED = [1, 5, 9]
FIRST, SECOND = 2, 6

POOL = """
from concurrent.futures import ThreadPoolExecutor
start_early()
import app
worker = forks.current()
pool = ThreadPoolExecutor(4)
barrier = threading.Barrier(4)

def together(function):
    "Run a function in each of the pool's four threads."
    def one(_):
        barrier.wait(10)
        return function()
    return list(pool.map(one, range(4)))
"""


def test_what_runs_during_a_pause_is_not_noted_and_what_runs_afterwards_is_in_every_thread(
    measure: Measure, core: str, branch: bool
) -> None:
    told = measure(
        POOL
        + """
together(app.first)
rounds = []
for _ in range(3):
    reset()
    pause()
    together(app.first)
    worker.flush()
    during = published().get("app.py")
    resume()
    for thread in range(4):  # one thread at a time has to be enough
        seen = []
        def one(_, thread=thread, seen=seen):
            if barrier.wait(10) == 0:
                seen.append(app.second())
        list(pool.map(one, range(4)))
    together(app.second)
    worker.flush()
    rounds.append([during, published()["app.py"]])
tell(rounds=rounds)
pool.shutdown()
""",
        core=core,
        branch=branch,
    )

    assert told["rounds"] == [[None, [SECOND]]] * 3


def test_each_pool_thread_is_measured_after_a_resume(measure: Measure, core: str) -> None:
    told = measure(
        POOL
        + """
together(app.first)
pause()
together(app.first)
resume()
names = set()
lines = []
def only(name):
    def function():
        if threading.current_thread().name == name:
            app.second()
    return function
for thread in sorted(each.name for each in threading.enumerate() if "Pool" in each.name):
    reset()
    together(only(thread))
    worker.flush()
    lines.append(published().get("app.py"))
tell(lines=lines)
pool.shutdown()
""",
        core=core,
    )

    assert told["lines"] == [[SECOND]] * 4


def test_no_thread_has_a_trace_function_during_a_pause(measure: Measure, core: str) -> None:
    told = measure(
        POOL
        + """
together(app.first)
pause()
together(app.first)  # the event at which a tracer takes itself out
app.first()
idle = [*together(sys.gettrace), sys.gettrace()]
new = []
thread = threading.Thread(target=lambda: new.append(sys.gettrace()))
thread.start()
thread.join(10)
tell(left=[repr(each) for each in [*idle, *new] if each is not None])
pool.shutdown()
""",
        core=core,
    )

    assert told["left"] == []


def test_a_loop_that_ran_through_the_pause_is_noted_from_the_resume_on(
    measure: Measure, core: str
) -> None:
    told = measure(
        """
        start_early()
        import app
        worker = forks.current()
        stop, tick = threading.Event(), threading.Event()
        thread = threading.Thread(target=app.loop, args=(stop, tick))
        thread.start()

        def some_rounds():
            for _ in range(3):
                tick.clear()
                assert tick.wait(10)

        some_rounds()
        pause()
        reset()
        some_rounds()
        worker.flush()
        during = published().get("app.py")
        resume()
        some_rounds()
        worker.flush()
        after = published()["app.py"]
        stop.set()
        thread.join(10)
        worker.flush()
        tell(during=during, after=after, end=published()["app.py"])
        """,
        core=core,
    )

    assert told["during"] is None
    assert told["after"] == [10, 11, 12]
    assert told["end"] == [10, 11, 12, 13]


@pytest.mark.skipif(sys.version_info >= (3, 15), reason="not tried there")
def test_with_branches_no_arc_is_noted_that_was_not_taken(measure: Measure, tmp_path: Any) -> None:
    told = measure(
        """
        start_early()
        import app
        worker = forks.current()
        stop, tick = threading.Event(), threading.Event()
        thread = threading.Thread(target=app.loop, args=(stop, tick))
        thread.start()
        tick.wait(10)
        pause()
        reset()
        for _ in range(3):
            tick.clear()
            assert tick.wait(10)
        resume()
        for _ in range(3):
            tick.clear()
            assert tick.wait(10)
        stop.set()
        thread.join(10)
        app.first()
        worker.flush()
        arcs = [
            ends_of(arc)
            for reading in worker.memories.readings()
            for _, record in reading.in_contexts(None)
            for arc in record.numbers
            if record.name.endswith("app.py")
        ]
        tell(arcs=sorted(arcs))
        """,
        core="ctrace",
        branch=True,
    )

    taken = {(-9, 10), (10, 11), (11, 12), (12, 10), (10, 13), (13, -9), (-1, 2), (2, -1)}
    began_again = {(-9, 10)}
    assert set(map(tuple, told["arcs"])) <= taken - began_again
    assert {(-1, 2), (2, -1)} <= set(map(tuple, told["arcs"]))


def test_a_foreign_coverage_is_not_ours_to_pause(measure: Measure) -> None:
    told = measure(
        """
        start_early()
        try:
            pause()
        except Exception as error:
            slug = error.slug
        tell(slug=slug)
        """,
        command=("-m", "coverage", "run"),
    )

    assert told["slug"] == "not-ours"


def test_a_worker_that_starts_during_a_pause_measures_its_load_and_no_more(
    measure: Measure, core: str
) -> None:
    told = measure(
        """
        from wsgi_coverage import CoverageMiddleware

        def application(environ, start_response):
            app.second()
            return []

        if not Path("second").exists():
            import subprocess
            start_early()
            worker = forks.current()
            worker.store.begin_pause()
            worker.memories.announce_epoch()
            worker.flush()  # as one does that was not told
            Path("second").touch()
            subprocess.run([sys.executable, "script.py"], check=True)
            tell(lines=published(), state=worker.do("status").state)
        else:
            start_early()
            import app
            site = CoverageMiddleware(application, debug=True)
            app.first()
            list(site({"PATH_INFO": "/"}, None))
        """,
        core=core,
    )

    assert told["lines"]["app.py"] == sorted([*LOADED, FIRST])
    assert told["state"] == "paused"


def test_workers_pause_and_resume_together_and_the_report_names_the_gap(measure: Measure) -> None:
    told = measure(
        """
        from wsgi_coverage.control import Control
        from wsgi_coverage.settings import Settings
        start_early()
        import app
        worker = forks.current()
        control = Control(worker, Settings(debug=True))
        out, inward = os.pipe(), os.pipe()
        child = os.fork()
        if child == 0:
            os.write(out[1], b".")
            while (word := os.read(inward[0], 1)) != b"x":
                (app.first if word == b"1" else app.second)()
                os.write(out[1], b".")
            os._exit(0)
        os.read(out[0], 1)  # it is reachable

        def run(word):
            os.write(inward[1], word)
            os.read(out[0], 1)

        paused = control.pause(wait=30)
        run(b"1")
        during = control.refresh(wait=30)
        resumed = control.resume(wait=30)
        run(b"2")
        report = control.refresh(wait=30)
        os.write(inward[1], b"x")
        os.waitpid(child, 0)
        tell(
            complete=[paused.complete, resumed.complete],
            states=[[w.state for w in g.workers] for g in (paused, resumed)],
            lines=published()["app.py"],
            during=[w for w in during.warnings if "paused" in w],
            warnings=[w for w in report.warnings if "paused" in w],
        )
        """
    )

    assert told["complete"] == [True, True]
    assert told["states"] == [["paused"] * 2, ["measuring"] * 2]
    assert told["lines"] == sorted([*LOADED, SECOND])
    assert len(told["during"]) == len(told["warnings"]) == 1
    assert " on: " in told["during"][0]
    assert " to " in told["warnings"][0]
