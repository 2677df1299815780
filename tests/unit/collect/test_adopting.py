"""A Coverage that runs already is adopted; who started it decides whether it may be reset."""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import coverage
import pytest

Measure = Callable[..., dict[str, Any]]
LOADED = [1, 5, 9]
FIRST, SECOND = 2, 6

RECORDED = """
start_early()
import app
app.first()
worker = forks.current()
worker.flush()
tell(ownership=worker.engine.measuring.ownership, lines=published())
"""


def lines_of(path: Any) -> list[int]:
    data = coverage.CoverageData(str(path))
    data.read()
    (name,) = [name for name in data.measured_files() if name.endswith("app.py")]
    return sorted(data.lines(name) or ())


@pytest.mark.parametrize("parallel", ["parallel = true", "parallel = false", ""])
def test_a_process_start_coverage_is_adopted_and_may_be_reset(
    measure: Measure, parallel: str
) -> None:
    told = measure(
        """
        started = coverage.Coverage.current()
        tell(same_none=start_early() is None)
        import app
        app.first()
        worker = forks.current()
        worker.flush()
        tell(
            ownership=worker.engine.measuring.ownership,
            lines=published(),
            adopted=worker.engine.coverage is started,
        )
        reset()
        app.second()
        worker.flush()
        tell(after_reset=published()["app.py"])
        """,
        config=parallel,
        env={"COVERAGE_PROCESS_START": ".coveragerc"},
    )

    assert told["same_none"]
    assert told["adopted"]
    assert told["ownership"] == "process-start"
    assert told["lines"]["app.py"] == sorted([*LOADED, FIRST])
    assert told["after_reset"] == [SECOND]


def test_forked_workers_of_one_process_start_coverage_do_not_collide(measure: Measure) -> None:
    told = measure(
        """
        pids = []
        for function in ("first", "second"):
            pid = os.fork()
            if pid == 0:
                start_early()
                import app
                getattr(app, function)()
                sys.exit()
            pids.append(pid)
        for pid in pids:
            os.waitpid(pid, 0)
        tell(lines=published())
        """,
        config="parallel = false",
        env={"COVERAGE_PROCESS_START": ".coveragerc"},
    )

    assert told["lines"]["app.py"] == sorted([*LOADED, FIRST, SECOND])


def test_a_coverage_of_coverage_run_is_read_and_loses_nothing(
    measure: Measure, tmp_path: Any
) -> None:
    told = measure(RECORDED, command=("-m", "coverage", "run"))

    assert told["ownership"] == "foreign"
    assert told["lines"]["app.py"] == sorted([*LOADED, FIRST])
    assert lines_of(tmp_path / ".coverage") == sorted([*LOADED, FIRST])


def test_lines_that_the_owner_saved_before_we_came_are_published_too(measure: Measure) -> None:
    told = measure(
        """
        cov = coverage.Coverage(data_file="theirs")
        cov.start()
        import app
        app.first()
        cov.get_data()
        """
        + RECORDED.replace("app.first()", "app.second()").replace("\n", "\n        "),
    )

    assert told["ownership"] == "foreign"
    assert told["lines"]["app.py"] == sorted([*LOADED, FIRST, SECOND])


def test_what_the_owner_saves_afterwards_is_still_published(
    measure: Measure, tmp_path: Any
) -> None:
    told = measure(
        """
        cov = coverage.Coverage(data_file="theirs")
        cov.start()
        import app
        start_early()
        worker = forks.current()
        app.first()
        cov.save()
        app.second()
        worker.flush()
        cov.stop()
        cov.save()
        tell(lines=published())
        """
    )

    assert told["lines"]["app.py"] == sorted([*LOADED, FIRST, SECOND])
    assert lines_of(tmp_path / "theirs") == sorted([*LOADED, FIRST, SECOND])


def test_a_foreign_coverage_is_not_reset(measure: Measure) -> None:
    told = measure(
        """
        cov = coverage.Coverage(data_file="theirs")
        cov.start()
        import app
        start_early()
        try:
            reset()
        except Exception as error:
            tell(slug=error.slug, status=error.status)
        forks.current().flush()
        tell(lines=published())
        """
    )

    assert (told["slug"], told["status"]) == ("not-ours", 409)
    assert told["lines"]["app.py"] == LOADED


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_a_signal_ends_leaves_its_data(
    measure: Measure, tmp_path: Any, number: signal.Signals
) -> None:
    told = measure(
        f"""
        start_early()
        import app
        app.first()
        os.kill(os.getpid(), {int(number)})
        signal_is_late = threading.Event().wait(10)
        """,
        check=False,
    )

    (published,) = tmp_path.glob(".coverage.*")
    assert told["returncode"] == -number
    assert lines_of(published) == sorted([*LOADED, FIRST])


def test_a_signal_in_the_middle_of_a_flush_loses_nothing(measure: Measure, tmp_path: Any) -> None:
    told = measure(
        """
        import signal
        start_early()
        import app
        app.first()
        worker = forks.current()
        mark = worker.engine._mark

        def interrupted(*args):
            worker.engine._mark = mark
            os.kill(os.getpid(), signal.SIGTERM)
            for _ in range(1000):  # the handler runs between two of these
                pass
            tell(went_on=True)

        worker.engine._mark = interrupted
        worker.flush()
        """,
        check=False,
    )

    (published,) = tmp_path.glob(".coverage.*")
    assert "went_on" not in told
    assert told["returncode"] == -signal.SIGTERM
    assert lines_of(published) == sorted([*LOADED, FIRST])


def test_a_handler_that_is_there_already_is_left_alone(measure: Measure) -> None:
    told = measure(
        """
        import signal
        def theirs(number, frame):
            pass
        signal.signal(signal.SIGTERM, theirs)
        start_early()
        tell(left=signal.getsignal(signal.SIGTERM) is theirs)
        """
    )

    assert told["left"]


def test_lines_of_exit_handlers_are_published(measure: Measure, tmp_path: Any) -> None:
    measure(
        """
        import atexit
        start_early()
        import app
        atexit.register(app.second)
        """
    )

    (published,) = tmp_path.glob(".coverage.*")
    assert lines_of(published) == sorted([*LOADED, SECOND])


def test_a_process_that_has_ended_leaves_nothing_in_the_private_folder(
    measure: Measure,
) -> None:
    for env in ({}, {"COVERAGE_PROCESS_START": ".coveragerc"}):
        told = measure(
            """
            start_early()
            import app
            app.first()
            forks.current().flush()
            tell(folder=str(forks.current().private))
            """,
            env=env,
        )

        assert not os.path.exists(told["folder"])


@pytest.mark.parametrize("more", ["", "forks.current().flush()\n"])
def test_files_that_never_ran_are_in_the_data_when_the_process_ends(
    measure: Measure, tmp_path: Any, more: str
) -> None:
    (tmp_path / "never.py").write_text("def never():\n    return 0\n")
    measure(f"start_early()\nimport app\n{more}")

    (published,) = tmp_path.glob(".coverage.*")
    data = coverage.CoverageData(str(published))
    data.read()
    assert {os.path.basename(name) for name in data.measured_files()} >= {"app.py", "never.py"}


def test_an_unreadable_configuration_is_coverage_pys_own_message(measure: Measure) -> None:
    told = measure(
        """
        from wsgi_coverage.errors import SettingsError
        Path("broken.toml").write_text("[tool.coverage.run\\n")
        try:
            start_early("broken.toml")
        except SettingsError as error:
            tell(message=str(error))
        """
    )

    assert "broken.toml" in told["message"]
    assert "Couldn't read config file" in told["message"] or "config" in told["message"]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX")
def test_a_child_is_a_worker_of_its_own_and_the_parent_goes_on(measure: Measure) -> None:
    told = measure(
        """
        start_early()
        import app
        app.first()
        forks.current().flush()
        pid = os.fork()
        if pid == 0:
            app.second()
            forks.current().flush()
            pids = [each.pid for each in forks.current().ask_all("status", wait=30).workers]
            tell(two=sorted(pids) == sorted([os.getpid(), os.getppid()]),
                 child=forks.current().pid == os.getpid())
            os._exit(0)
        os.waitpid(pid, 0)
        app.first()
        forks.current().flush()
        tell(lines=published())
        """
    )

    assert told["two"]
    assert told["child"]
    assert told["lines"]["app.py"] == sorted([*LOADED, FIRST, SECOND])


def test_a_fork_without_hooks_is_noticed(measure: Measure) -> None:
    told = measure(
        """
        import ctypes
        start_early()
        import app
        worker = forks.current()
        parent = worker.id
        worker._service.stop()  # it has none in uWSGI's master; and the GIL may be in its hands
        pid = ctypes.PyDLL(None).fork()  # as uWSGI does: no at-fork hook of Python's runs
        if pid == 0:
            worker.check_pid()
            app.second()
            worker.flush()
            tell(new=worker.id != parent, thread=worker._service._thread.is_alive())
            os._exit(0)
        os.waitpid(pid, 0)
        app.first()
        worker.flush()
        tell(lines=published(), workers=len(worker.ask_all("status", wait=5).workers))
        """
    )

    assert told["new"]
    assert told["thread"]
    assert told["lines"]["app.py"] == sorted([*LOADED, FIRST, SECOND])
    assert told["workers"] == 1
