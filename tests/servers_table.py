"""Print the table of docs/reference/servers.md from the JUnit files of `nox -s servers`.

    python tests/servers_table.py .nox/servers-*.xml

Run by hand, after the sessions; no test.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from typing import TextIO
from xml.etree import ElementTree as ET

# Columns, by the test that each is made from and what stands behind the server's name there.
REFRESH = "test_a_refresh_shows_exactly_what_every_worker_ran_since_the_last_reset"
END = "test_a_signal_that_ends_the_server_leaves_all_its_lines"
COLUMNS = {
    "refresh, reset": (REFRESH, ""),
    "TERM": (END, "-SIGTERM"),
    "INT": (END, "-SIGINT"),
    "HUP": ("test_a_reload_by_sighup_loses_no_line", ""),
    "kill -9": ("test_kill_9_of_a_worker_loses_at_most_what_ran_since_the_last_autosave", ""),
}
NOT_TESTED = "-"

Results = dict[tuple[str, str], dict[str, str]]  # (server, column): Python's version: how it went


def read(paths: list[Path]) -> Results:
    """What each test of the columns said, in each file; a file's name ends with the version."""
    out: Results = defaultdict(dict)
    for path in paths:
        version = path.stem.rpartition("-")[2]
        for case in ET.parse(path).iter("testcase"):
            test, _, parameters = case.attrib["name"].removesuffix("]").partition("[")
            for column, (name, end) in COLUMNS.items():
                if test == name and parameters.endswith(end):
                    out[parameters.removesuffix(end), column][version] = outcome(case)
    return out


def outcome(case: ET.Element) -> str:
    """How a test went: skipped, failed or passed."""
    found = {child.tag for child in case}
    return "skipped" if "skipped" in found else "failed" if found & {"failure", "error"} else "yes"


def cell(results: dict[str, str], versions: set[str]) -> str:
    """Yes, and on which versions unless on all; what failed goes first."""
    by_outcome = defaultdict(set)
    for version, how in results.items():
        by_outcome[how].add(version)
    if by_outcome["failed"]:
        return f"failed on {named(by_outcome['failed'])}"
    if not by_outcome["yes"]:
        return NOT_TESTED
    return "yes" if by_outcome["yes"] == versions else f"yes, on {named(by_outcome['yes'])}"


def named(versions: set[str]) -> str:
    """Versions in their order."""
    return ", ".join(sorted(versions, key=lambda each: [*map(int, each.split("."))]))


def write(results: Results, out: TextIO) -> None:
    """The table, in Markdown."""
    versions = {version for each in results.values() for version in each}
    if unknown := set(COLUMNS) - {column for _, column in results}:
        raise SystemExit(f"no test gave {', '.join(sorted(unknown))}: has it another name now?")
    print("| server |", " | ".join(COLUMNS), "|", file=out)
    print("|", " --- |" * (len(COLUMNS) + 1), sep="", file=out)
    for server in sorted({server for server, _ in results}):
        cells = [cell(results.get((server, column), {}), versions) for column in COLUMNS]
        print(f"| `{server}` |", " | ".join(cells), "|", file=out)


if __name__ == "__main__":
    write(read([Path(each) for each in sys.argv[1:]]), sys.stdout)
