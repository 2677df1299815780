"""Load and runtime: which lines ran before the first request, and what a reset keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from scripts import WRAPPED

Measure = Callable[..., dict[str, Any]]

LOADED = [1, 5, 9]
FIRST, SECOND = 2, 6

SETUP = (
    WRAPPED
    + """
from wsgi_coverage.data.phases import phase_of

def phases(name="app.py"):
    "Executed lines of a file by phase, of everything that is published."
    out = {}
    for measured_as, context, lines in measured():
        if measured_as == name and lines:
            out.setdefault(str(phase_of(context)), set()).update(lines)
    return {phase: sorted(lines) for phase, lines in out.items()}

wrap()
"""
)


def test_what_ran_before_the_first_request_is_load_and_the_rest_is_runtime(
    measure: Measure, core: str, branch: bool
) -> None:
    told = measure(
        SETUP
        + """
app.first()
request("/second")
worker.flush()
tell(phases=phases())
""",
        core=core,
        branch=branch,
    )

    assert told["phases"] == {"load": [1, FIRST, 5, 9], "runtime": [SECOND]}


def test_a_line_that_ran_at_load_and_runs_again_is_runtime_too(
    measure: Measure, core: str, branch: bool
) -> None:
    told = measure(
        SETUP
        + """
app.first()
worker.flush()
request("/first")
worker.flush()
tell(phases=phases())
""",
        core=core,
        branch=branch,
    )

    assert told["phases"] == {"load": [1, FIRST, 5, 9], "runtime": [FIRST]}


def test_a_reset_keeps_the_load_and_nothing_of_runtime(
    measure: Measure, core: str, branch: bool
) -> None:
    told = measure(
        SETUP
        + """
request("/first")
worker.flush()
rounds = []
for path in ("/second", "/first", "/second"):
    reset()
    worker.flush()
    empty = phases()
    request(path)
    worker.flush()
    rounds.append([empty, phases()])
tell(rounds=rounds)
""",
        core=core,
        branch=branch,
    )

    assert told["rounds"] == [
        [{"load": LOADED}, {"load": LOADED, "runtime": [line]}] for line in (SECOND, FIRST, SECOND)
    ]


def test_a_reset_before_the_first_request_keeps_all_that_was_loaded(
    measure: Measure, core: str, branch: bool
) -> None:
    told = measure(
        SETUP
        + """
app.first()
reset()
request("/second")
worker.flush()
tell(phases=phases())
""",
        core=core,
        branch=branch,
    )

    assert told["phases"] == {"load": [1, FIRST, 5, 9], "runtime": [SECOND]}


def test_a_request_for_the_dashboard_does_not_end_the_load(measure: Measure, core: str) -> None:
    told = measure(
        SETUP
        + """
request("/debug/coverage/health")
before = worker.engine.measuring.phase
request("/first")
tell(phases=[before, worker.engine.measuring.phase])
""",
        core=core,
    )

    assert told["phases"] == ["load", "runtime"]


def test_without_an_application_nothing_is_said_of_phases(measure: Measure) -> None:
    told = measure(
        SETUP.replace("site = CoverageMiddleware(application, debug=True)", "")
        + """
app.first()
worker.flush()
tell(phases=phases())
reset()
app.second()
worker.flush()
tell(after_reset=phases())
"""
    )

    assert told["phases"] == {"None": [1, FIRST, 5, 9]}
    assert told["after_reset"] == {"None": [SECOND]}


def test_what_was_saved_before_the_application_was_wrapped_is_load(
    measure: Measure, core: str, branch: bool
) -> None:
    told = measure(
        SETUP.replace("site =", "app.first(); forks.current().flush(); app.second()\nsite =")
        + """
request("/first")
worker.flush()
tell(phases=phases())
""",
        core=core,
        branch=branch,
    )

    assert told["phases"] == {"load": [1, FIRST, 5, SECOND, 9], "runtime": [FIRST]}


def test_a_forked_worker_tells_its_own_first_request(
    measure: Measure, core: str, branch: bool
) -> None:
    told = measure(
        SETUP
        + """
app.first()
pid = os.fork()
if pid == 0:
    worker = forks.current()
    app.second()  # before its first request
    worker.flush()
    request("/first")
    worker.flush()
    mine = phases()
    reset()
    worker.flush()
    Path("told").write_text(json.dumps([mine, phases()]))
    sys.exit()
os.waitpid(pid, 0)
tell(told=json.loads(Path("told").read_text()), phase=worker.engine.measuring.phase)
""",
        core=core,
        branch=branch,
    )

    load = {"load": [1, FIRST, 5, SECOND, 9]}
    assert told["told"] == [{**load, "runtime": [FIRST]}, load]
    assert told["phase"] == "runtime"  # it was told


def test_a_child_of_a_request_goes_on_in_runtime(measure: Measure) -> None:
    told = measure(
        SETUP
        + """
request("/first")
worker.flush()
pid = os.fork()
if pid == 0:
    app.second()
    sys.exit()
os.waitpid(pid, 0)
tell(phases=phases())
"""
    )

    assert told["phases"] == {"load": LOADED, "runtime": [FIRST, SECOND]}


def test_a_loop_of_a_thread_that_began_at_load_is_runtime_afterwards_too(
    measure: Measure, core: str
) -> None:
    told = measure(
        SETUP
        + """
stop, tick = threading.Event(), threading.Event()
thread = threading.Thread(target=app.loop, args=(stop, tick))
thread.start()
tick.wait(10)
request("/first")
for _ in range(3):
    tick.clear()
    assert tick.wait(10)
worker.flush()
during = phases()["runtime"]
stop.set()
thread.join(10)
tell(during=during)
""",
        core=core,
    )

    assert told["during"] == [FIRST, 10, 11, 12]


def test_phases_follow_a_static_context(measure: Measure) -> None:
    told = measure(
        SETUP
        + """
request("/first")
worker.flush()
tell(contexts=sorted({context for _, context, lines in measured() if lines}))
""",
        config="context = nightly",
    )

    assert told["contexts"] == ["nightly|load", "nightly|runtime"]


@pytest.mark.parametrize(
    ("config", "command", "switch", "reason"),
    [
        ("dynamic_context = test_function", (), "", "dynamic_context is set"),
        ("", ("-m", "coverage", "run"), "", "was started by 'coverage run' or a test runner"),
        ("", (), "worker.engine.coverage.switch_context('mine')", "switch_context"),
    ],
)
def test_where_phases_cannot_be_told_the_reason_is(
    measure: Measure, config: str, command: tuple[str, ...], switch: str, reason: str
) -> None:
    told = measure(
        SETUP
        + f"""
{switch}
request("/first")
worker.flush()
measuring = worker.engine.measuring
tell(phase=measuring.phase, reason=measuring.phase_reason, phases=phases())
""",
        config=config,
        command=command,
        core="ctrace",
    )

    assert told["phase"] is None
    assert reason in told["reason"]
    assert FIRST in told["phases"]["None"]
    assert "runtime" not in told["phases"]
