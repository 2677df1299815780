"""What one process records, publishes and forgets."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Measure = Callable[..., dict[str, Any]]

LOADED = [1, 5, 9]
FIRST, SECOND = 2, 6


def test_what_ran_is_published_and_what_did_not_is_not(
    measure: Measure, core: str, branch: bool
) -> None:
    told = measure(
        """
        start_early()
        import app
        app.first()
        worker = forks.current()
        worker.flush()
        tell(lines=published(), core=worker.engine.measuring.core)
        """,
        core=core,
        branch=branch,
    )

    assert told["lines"]["app.py"] == sorted([*LOADED, FIRST])
    assert told["core"] == core


def test_a_second_publish_adds_to_the_first(measure: Measure, core: str, branch: bool) -> None:
    told = measure(
        """
        start_early()
        import app
        app.first()
        forks.current().flush()
        app.second()
        forks.current().flush()
        tell(lines=published())
        """,
        core=core,
        branch=branch,
    )

    assert told["lines"]["app.py"] == sorted([*LOADED, FIRST, SECOND])


def test_a_new_line_in_a_function_that_runs_already_is_published(
    measure: Measure, core: str, branch: bool
) -> None:
    told = measure(
        """
        start_early()
        import app
        stop, tick = threading.Event(), threading.Event()
        thread = threading.Thread(target=app.loop, args=(stop, tick))
        thread.start()
        tick.wait(10)
        forks.current().flush()
        stop.set()
        thread.join(10)
        forks.current().flush()
        tell(lines=published())
        """,
        core=core,
        branch=branch,
    )

    assert set(told["lines"]["app.py"]) == {*LOADED, 10, 11, 12, 13}


def test_a_reset_forgets_what_ran_and_notes_what_runs_in_every_thread(
    measure: Measure, core: str, branch: bool
) -> None:
    told = measure(
        """
        from concurrent.futures import ThreadPoolExecutor
        start_early()
        import app
        worker = forks.current()
        pool = ThreadPoolExecutor(4)
        barrier = threading.Barrier(4)

        def together(function):
            barrier.wait(10)
            return function()

        rounds = []
        for function in (app.first, app.second, app.first, app.second, app.first):
            reset()
            after_reset = published().get("app.py")
            list(pool.map(together, [function] * 4))
            worker.flush()
            rounds.append([after_reset, published()["app.py"]])
        tell(rounds=rounds)
        pool.shutdown()
        """,
        core=core,
        branch=branch,
    )

    assert told["rounds"] == [[None, [line]] for line in (FIRST, SECOND, FIRST, SECOND, FIRST)]


def test_a_loop_on_the_stack_is_recorded_again_after_a_reset(
    measure: Measure, core: str, branch: bool
) -> None:
    told = measure(
        """
        start_early()
        import app
        worker = forks.current()
        stop, tick = threading.Event(), threading.Event()
        thread = threading.Thread(target=app.loop, args=(stop, tick))
        thread.start()
        tick.wait(10)
        reset()
        for _ in range(3):
            tick.clear()
            assert tick.wait(10)
        worker.flush()
        again = published()["app.py"]
        stop.set()
        thread.join(10)
        worker.flush()
        tell(again=again, end=published()["app.py"])
        """,
        core=core,
        branch=branch,
    )

    assert told["again"] == [10, 11, 12]
    assert told["end"] == [10, 11, 12, 13]


CHOSEN = """
start_early()
measuring = forks.current().engine.measuring
tell(
    core=measuring.core,
    reason=measuring.core_reason,
    engine=measuring.engine,
    why=measuring.engine_reason,
)
"""


@pytest.mark.skipif(sys.version_info < (3, 12), reason="needs sys.monitoring")
@pytest.mark.parametrize("config", ["", "concurrency = thread, gevent"])
def test_lines_are_marked_in_memory_where_nothing_needs_coverages_tracer(
    measure: Measure, config: str
) -> None:
    if "gevent" in config:
        pytest.importorskip("gevent")

    told = measure(CHOSEN, core=None, config=config)

    assert (told["engine"], told["core"]) == ("memory", "monitoring")


PLUGIN = """
import coverage.plugin

class Plugin(coverage.plugin.CoveragePlugin):
    pass

def coverage_init(reg, options):
    reg.{}(Plugin())
"""


@pytest.mark.parametrize("kind", ["file_tracer", "dynamic_context"])
def test_ctrace_measures_where_a_plugin_needs_it_and_the_reason_names_the_plugin(
    measure: Measure, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "a_plugin.py").write_text(PLUGIN.format(f"add_{kind}"))

    told = measure(CHOSEN, core=None, config="plugins = a_plugin")

    assert (told["engine"], told["core"]) == ("coverage", "ctrace")
    if sys.version_info >= (3, 12):
        needs = "the plugins a_plugin.Plugin need another core"
        assert told["reason"] == f"sysmon cannot be used: {needs}"
        assert told["why"] == f"lines are not marked in memory: {needs}"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="needs sys.monitoring")
def test_a_plugin_that_only_configures_leaves_lines_to_be_marked_in_memory(
    measure: Measure, tmp_path: Path
) -> None:
    (tmp_path / "a_plugin.py").write_text(PLUGIN.format("add_configurer"))

    told = measure(CHOSEN, core=None, config="plugins = a_plugin")

    assert (told["engine"], told["core"]) == ("memory", "monitoring")


@pytest.mark.skipif(sys.version_info < (3, 12), reason="needs sys.monitoring")
@pytest.mark.parametrize("config", ["patch = _exit", "concurrency = multiprocessing"])
def test_sysmon_is_chosen_where_coverages_tracer_is_needed_and_it_can_measure(
    measure: Measure, config: str
) -> None:
    told = measure(CHOSEN, core=None, config=config)

    assert (told["engine"], told["core"]) == ("coverage", "sysmon")
    assert config.partition(" =")[0] in told["why"]


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="sysmon is there")
def test_without_sys_monitoring_it_is_ctrace(measure: Measure) -> None:
    told = measure(CHOSEN, core=None)

    assert (told["engine"], told["core"]) == ("coverage", "ctrace")
    assert "no sys.monitoring" in told["why"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sysmon is there from Python 3.12 on")
@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("dynamic_context = test_function", "dynamic_context"),
        ("core = ctrace", "core is set"),
        ("timid = true", "timid"),
    ],
)
def test_what_sysmon_cannot_measure_is_left_to_another_core(
    measure: Measure, config: str, reason: str
) -> None:
    told = measure(CHOSEN, core=None, config=config)

    assert told["core"] in ("ctrace", "pytrace")
    assert reason in told["reason"]


def test_branches_are_left_to_ctrace_before_python_3_14(measure: Measure) -> None:
    told = measure(
        """
        start_early()
        tell(core=forks.current().engine.measuring.core)
        """,
        core=None,
        branch=True,
    )

    assert told["core"] == ("sysmon" if sys.version_info >= (3, 14) else "ctrace")


def test_no_warning_and_no_thread_of_ours_is_there_when_the_application_forks(
    measure: Measure,
) -> None:
    told = measure(  # -W error: Python warns where a process with threads forks
        """
        start_early()
        worker = forks.current()
        for _ in range(20):
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            os.waitpid(pid, 0)
        time_left = worker.ask_all("status", wait=5)
        tell(complete=time_left.complete, workers=len(time_left.workers))
        """
    )

    assert told["complete"]
    assert told["workers"] == 1
    assert told["stderr"] == ""


def test_what_coverage_py_saves_by_itself_is_published_too(measure: Measure) -> None:
    told = measure(
        """
        cov = start_early()
        import app
        app.first()
        cov.save()
        tell(lines=published(), own=sorted(cov.get_data().lines(str(Path("app.py").resolve()))))
        """
    )

    assert told["lines"]["app.py"] == sorted([*LOADED, FIRST])
    assert told["own"] == told["lines"]["app.py"]


def test_the_flush_is_loss_free_with_this_coverage_py(measure: Measure) -> None:
    told = measure(
        """
        start_early()
        measuring = forks.current().engine.measuring
        tell(lossless=measuring.lossless, problem=measuring.problem)
        """
    )

    assert told["problem"] is None
    assert told["lossless"]


def test_with_an_unknown_coverage_py_it_measures_by_the_book_and_says_so(
    measure: Measure, core: str
) -> None:
    told = measure(
        """
        from wsgi_coverage.compat import measurement
        measurement.problem = lambda cov: "changed beyond recognition"
        start_early()
        import app
        app.first()
        worker = forks.current()
        worker.flush()
        first = published()["app.py"]
        reset()
        app.second()
        worker.flush()
        measuring = worker.engine.measuring
        tell(first=first, second=published()["app.py"], problem=measuring.problem)
        """,
        core=core,
    )

    assert told["problem"] == "changed beyond recognition"
    assert told["first"] == sorted([*LOADED, FIRST])
    assert told["second"] == [SECOND]


def test_with_an_unknown_coverage_py_the_thread_flushes_only_when_it_is_asked(
    measure: Measure, core: str
) -> None:
    told = measure(
        """
        from wsgi_coverage.compat import measurement
        start_early()
        by_itself = [forks.current()._service._flush is not None]
        forks.current().close()
        forks._worker = None
        measurement.problem = lambda cov: "changed beyond recognition"
        start_early()
        by_itself.append(forks.current()._service._flush is not None)
        tell(by_itself=by_itself)
        """,
        core=core,
    )

    assert told["by_itself"] == [True, False]


def test_a_flush_that_fails_loses_nothing(measure: Measure, core: str, branch: bool) -> None:
    told = measure(
        """
        start_early()
        import app
        worker = forks.current()
        worker.flush()
        app.first()
        memory = worker.memory
        place, append = memory.place, memory.append

        def full(*args):
            raise OSError(28, "No space left on device")

        memory.place = memory.append = full
        slugs, states = [], []
        for _ in range(2):
            try:
                worker.flush()
            except Exception as error:
                slugs.append(error.slug)
            states.append(worker.do("status").fresh)
        memory.place, memory.append = place, append
        app.second()
        worker.flush()
        states.append(worker.do("status").fresh)
        tell(slugs=slugs, states=states, lines=published())
        """,
        core=core,
        branch=branch,
    )

    assert told["slugs"] == ["disk-full"] * 2
    assert told["states"] == [False, False, True]
    assert told["lines"]["app.py"] == sorted([*LOADED, FIRST, SECOND])


def test_the_version_that_was_loaded_is_noted_not_the_one_that_lies_there_later(
    measure: Measure, core: str
) -> None:
    told = measure(
        """
        from wsgi_coverage.data import stamp
        start_early()
        loaded = stamp.fingerprint("app.py")
        import app
        Path("app.py").write_text(Path("app.py").read_text() + "\\n# edited\\n")
        app.first()
        worker = forks.current()
        worker.flush()
        reset()
        app.second()
        worker.save()
        (path,) = worker.store.published()
        with stamp.reading(path) as connection:
            versions = stamp.read_fingerprints(connection)
        (noted,) = [found for name, found in versions.items() if name.endswith("app.py")]
        tell(same=noted == loaded, edited=noted == stamp.fingerprint("app.py"))
        """,
        core=core,
    )

    assert told["same"]
    assert not told["edited"]


@pytest.mark.parametrize("command", [(), ("-m", "coverage", "run")], ids=["ours", "foreign"])
def test_a_file_that_was_loaded_before_adoption_has_its_version_noted(
    measure: Measure, command: tuple[str, ...]
) -> None:
    told = measure(
        """
        from wsgi_coverage.data import stamp
        import app
        start_early()
        app.first()
        worker = forks.current()
        worker.save()
        (path,) = [p for p in worker.store.published() if p.name != ".coverage"]
        with stamp.reading(path) as connection:
            noted = stamp.read_fingerprints(connection)
        tell(same=noted.get(str(Path("app.py").resolve())) == stamp.fingerprint("app.py"))
        """,
        command=command,
    )

    assert told["same"]
