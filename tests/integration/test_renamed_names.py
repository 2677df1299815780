"""A release of coverage.py renames a name that its documentation does not promise."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import coverage
import pytest

from wsgi_coverage.compat import needs

RENAMING = Path(__file__).parent / "support" / "renaming.py"

# What this coverage.py is expected to have.
THERE = {need: of for need, of in needs.NEEDS.items() if coverage.version_info[:3] >= of.since}
# Each name, and whether it is one that coverage.py's own tracer needs, which measures branches.
NAMES = {
    name.replace(":", ".").rpartition(".")[2]: need == needs.COLLECTOR
    for need, of in THERE.items()
    for name in of.names
    if not name.endswith(".get_option")  # Coverage has it, too, and documents it
}
MODULES = {
    name.partition(":")[0].removeprefix("coverage.") for of in THERE.values() for name in of.names
}


def is_documented(name: str) -> bool:
    """Tell whether Coverage has something of the name of something else, and promises it."""
    last = name.rpartition(".")[2]
    return last == "branch" or (not last.startswith("_") and hasattr(coverage.Coverage, last))


# Those that a Coverage which measures has, and the data that it writes.
OF_ONE_THAT_MEASURES = (
    "coverage.control:",
    "coverage.collector:",
    "coverage.core:",
    "coverage.disposition:",
    "coverage.sqldata:",
    "coverage.sqlitedb:",
    "coverage.sysmon:",
    "coverage.types:",
)
WHILE_MEASURING = {
    name.replace(":", ".").rpartition(".")[2]: name.startswith("coverage.sysmon:")
    for of in THERE.values()
    for name in of.names
    if name.startswith(OF_ONE_THAT_MEASURES) and not is_documented(name)
}

ONLY_THE_MODULE = "[run]\ninclude = */mod.py\n"
ALL_RAN = {"mod.py": 0}  # files, and their missing lines

Renamed = Callable[..., Any]


@pytest.fixture(scope="module")
def renamed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Renamed]:
    """Ask what becomes of an application when a name is another."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    with subprocess.Popen(
        [sys.executable, str(RENAMING)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path_factory.mktemp("renamed"),
        env={**kept, "PYTHONDONTWRITEBYTECODE": "1"},
    ) as process:

        def ask(
            name: str,
            *,
            branch: bool = False,
            foreign: bool = False,
            alone: bool = False,
            config: str = ONLY_THE_MODULE,
        ) -> Any:
            request = {
                "name": name,
                "branch": branch,
                "foreign": foreign,
                "alone": alone,
                "config": config,
            }
            print(json.dumps(request), file=process.stdin, flush=True)
            told = json.loads(process.stdout.readline())
            if told is not True and "error" in told:  # of what asks, not of the application
                raise RuntimeError(told["error"])
            return told

        yield ask
        process.stdin.close()


@pytest.mark.parametrize("name", sorted(MODULES | {*NAMES}))
def test_the_application_goes_on_and_health_names_what_is_missing(
    renamed: Renamed, name: str
) -> None:
    told = renamed(name, branch=NAMES.get(name, False))
    if not is_well(name, told):
        skip_or_fail(renamed, name, told)


@pytest.mark.parametrize("name", sorted(WHILE_MEASURING))
def test_a_coverage_of_the_applications_own_saves_what_ran(renamed: Renamed, name: str) -> None:
    is_sysmons = WHILE_MEASURING[name] and sys.version_info >= (3, 12)
    core = "sysmon" if is_sysmons else "ctrace"
    told = renamed(name, foreign=True, config=f"{ONLY_THE_MODULE}core = {core}\n")
    if not is_well(name, told) or told["saved"] != {"mod.py": [1, 2]}:
        skip_or_fail(renamed, name, told)


def skip_or_fail(renamed: Renamed, name: str, told: dict[str, Any]) -> None:
    if renamed(name, alone=True) is not True:
        pytest.skip("coverage.py does not work by itself without this name")
    pytest.fail(json.dumps(told, indent=1).replace("\\n", "\n"))


def is_well(name: str, told: dict[str, Any]) -> bool:
    return (
        told.get("served") == "served"
        and told["status"]["/refresh"] in (200, 409, 503)
        and all(status < 500 or status == 503 for status in told["status"].values())
        and told.get("files", ALL_RAN) == ALL_RAN
        and name in told["health"]
    )


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("find_possibly_unexecuted_files", "[run]\nsource = .\n"),
        ("_make_aliases", f"{ONLY_THE_MODULE}[paths]\nhere =\n    .\n    /elsewhere\n"),
    ],
)
def test_a_report_that_would_not_be_right_without_a_name_is_refused(
    renamed: Renamed, name: str, config: str
) -> None:
    told = renamed(name, config=config)

    assert told["served"] == "served"
    assert told["status"]["/refresh"] == 503
    assert told["refresh"]["error"] == "coverage-changed"
    assert name in told["refresh"]["message"]


def test_where_every_name_is_there_all_is_answered(renamed: Renamed) -> None:
    told = renamed("no_name_of_coverage_py")

    assert {*told["status"].values()} == {200}
    assert told["files"] == ALL_RAN
    assert "coverage-changed" not in told["health"]
