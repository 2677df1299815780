"""Lines are marked for each day on which they run, by both engines."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

Measure = Callable[..., dict[str, Any]]

ENGINES = pytest.mark.parametrize(
    ("core", "branch"),
    [
        pytest.param(
            None, False, marks=pytest.mark.skipif(sys.version_info < (3, 12), reason="no engine")
        ),
        ("ctrace", False),
        ("ctrace", True),
        pytest.param(
            "sysmon", False, marks=pytest.mark.skipif(sys.version_info < (3, 12), reason="no core")
        ),
    ],
)

DAYS = """
from wsgi_coverage.collect import memories
from wsgi_coverage.store.days import DaysKept
start_early()
worker = forks.current()
first = memories.today()

def new_day(number):
    memories.today = lambda: first + number
    worker.memories.announce_epoch()
    worker.before_request()

def days():
    worker.flush()
    found = {}
    for reading in worker.memories.readings():
        for claim, lines in reading.seen():
            if claim.name.endswith("app.py"):
                for (day, _), bits in lines.items():
                    found.setdefault(str(day - first), []).extend(
                        n for n in range(bits.bit_length()) if bits >> n & 1
                    )
    return found
"""


@ENGINES
def test_a_line_is_marked_on_each_day_on_which_it_runs(
    measure: Measure, core: str | None, branch: bool
) -> None:
    told = measure(
        DAYS
        + """
import app
app.first()
new_day(1)
app.second()
new_day(2)
app.first()
tell(days=days(), lines=published()["app.py"])
""",
        core=core,
        branch=branch,
    )

    first, second = {*told["days"]["0"]}, {*told["days"]["1"]}
    assert {*told["days"]} == {"0", "1", "2"}
    assert told["lines"] == sorted(first | second)
    assert not first & second
    assert {*told["days"]["2"]} < first


@ENGINES
def test_days_outlive_the_memory_and_resets(
    measure: Measure, core: str | None, branch: bool
) -> None:
    told = measure(
        DAYS
        + """
from wsgi_coverage.store.days import FOLDER, DaysStore
worker.keep_days(DaysKept(90, "r7"))
import app
app.first()
new_day(1)
worker.memories.reset()
worker.do("reset")
app.second()
worker.save()
kept = DaysStore(worker.home / FOLDER)
stored = {
    day: {release for release, names in kept.read_day(day).items() if "app.py" in str([*names])}
    for day in kept.states()
}
new_day(3)
app.second()
worker.save()
tell(
    stored={str(day - first): [*of] for day, of in stored.items()},
    in_memory=sorted(days()),
    kept=sorted(str(day - first) for day in kept.states()),
)
""",
        core=core,
        branch=branch,
    )

    assert told["stored"] == {"0": ["r7"], "1": ["r7"]}
    assert told["kept"] == ["0", "1", "3"]
    assert told["in_memory"][-1] == "3"


def test_none_are_marked_where_none_are_kept(measure: Measure) -> None:
    told = measure(
        DAYS
        + """
import app
app.first()
tell(days=days(), lines=published()["app.py"])
""",
        core=None,
        env={"WSGI_COVERAGE_SEEN_DAYS": "0"},
    )

    assert told["days"] == {}
    assert told["lines"]


def test_a_process_with_a_thread_follows_the_day_without_a_request(measure: Measure) -> None:
    told = measure(
        DAYS
        + """
import time
from wsgi_coverage.collect import children
worker = children.begin({}, config_file=None, branch=None, interval=0.2, days=DaysKept(90))
import app
app.first()
memories.today = lambda: first + 1
deadline = time.monotonic() + 20
while worker.engine.day != first + 1 and time.monotonic() < deadline:
    time.sleep(0.01)
app.second()
tell(days=days(), thread=worker._service.has_thread)
""",
        core=None,
    )

    assert told["thread"]
    assert {*told["days"]} == {"0", "1"}
    assert not {*told["days"]["0"]} & {*told["days"]["1"]}
