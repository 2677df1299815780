"""Files of this project are never measured, whatever the configuration includes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import coverage
import pytest

import wsgi_coverage
from wsgi_coverage.collect.engines import own_coverage
from wsgi_coverage.collect.sources.ourselves import DEMO, FOLDERS, is_ours
from wsgi_coverage.demo.server import SHOP

Measure = Callable[..., dict[str, Any]]

CORES = [None, "ctrace", *(["sysmon"] if sys.version_info >= (3, 12) else [])]
# What runs of ours after measuring has begun, in a file whose name is like the application's.
RUN = """
Path(".coveragerc").write_text("[run]\\ninclude = */app.py\\n")
{before}
start_early()
import app
import wsgi_coverage.web.app
app.first()
worker = forks.current()
worker.flush()
executed = [
    claim.name
    for reading in worker.memories.readings()
    for claim, lines in reading.executed()
    if lines
]
executed += [
    record.name for reading in worker.memories.readings() for _, record in reading.in_contexts(None)
]
tell(
    folder=os.getcwd(),
    names=sorted(set(executed)),
    could_run=[name for name, _ in worker.engine.files_that_could_run([])],
    ownership=worker.engine.ownership.value,
)
"""


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize(
    ("before", "ownership"),
    [
        ("", "ours"),
        ("cov = coverage.Coverage(); cov.start()", "foreign"),
        (
            "os.environ['COVERAGE_PROCESS_START'] = '.coveragerc'\ncoverage.process_startup()",
            "process-start",
        ),
    ],
)
def test_what_is_like_a_name_of_ours_is_measured_and_ours_is_not(
    measure: Measure, core: str | None, before: str, ownership: str
) -> None:
    told = measure(RUN.format(before=before), core=core)

    assert told["names"] == [f"{told['folder']}/app.py"]
    assert told["ownership"] in (ownership, "ours")


def of_this_project(*, before: str) -> str:
    """The same where `source` is this project, and its shop is imported."""
    return (
        RUN.replace("include = */app.py", "source_pkgs = wsgi_coverage")
        .format(before=before)
        .replace("import app\n", "import app, wsgi_coverage.demo.shop.pricing\n")
    )


@pytest.mark.parametrize("core", CORES)
def test_where_the_source_is_this_project_nothing_is_counted(
    measure: Measure, core: str | None
) -> None:
    told = measure(of_this_project(before=""), core=core)

    assert (told["names"], told["could_run"]) == ([], [])


@pytest.mark.parametrize("core", CORES)
def test_the_demo_counts_its_shop_alone(measure: Measure, core: str | None) -> None:
    told = measure(of_this_project(before=f"os.environ['{DEMO}'] = '1'"), core=core)

    assert str(SHOP / "pricing.py") in told["names"]
    assert str(SHOP / "app.py") in told["could_run"]
    assert {Path(name).parent for name in (*told["names"], *told["could_run"])} == {SHOP}


@pytest.mark.parametrize("omit", [["/theirs.py"], None])
def test_what_is_omitted_besides_stays_so(omit: list[str] | None) -> None:
    cov = coverage.Coverage(config_file=False, data_file=None, omit=omit)

    own_coverage.prepare(cov)

    omitted: Any = cov._inorout.omit_match
    assert omitted.match("/theirs.py") == bool(omit)
    assert omitted.match(wsgi_coverage.__file__)
    assert not omitted.match("/app.py")
    assert not is_ours("/somewhere/wsgi_coverage/web/app.py")
    assert {*dict(cov.sys_info())["omit_match"]} == {*FOLDERS, *(omit or ())}
