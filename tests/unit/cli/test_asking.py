"""The commands that ask a dashboard, against a stand-in: what they print, and how they end."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from coverage import CoverageData
from stand_in_site import HEALTH, StandIn, serving

from wsgi_coverage import cli
from wsgi_coverage.cli import asking, gate, output
from wsgi_coverage.data import stamp
from wsgi_coverage.system import interrupt

Output = pytest.CaptureFixture[str]

FRESH = {"host": "vm", "pid": 7, "state": "measuring", "published_at": None, "fresh": True}
LATE = {**FRESH, "pid": 8, "state": "silent", "fresh": False, "error": "no answer"}
DONE = {"complete": True, "workers": [FRESH]}
NOT_DONE = {"complete": False, "workers": [FRESH, LATE]}
SUMMARY = {"percent": 75.0, "files": 1, "statements": 8, "covered": 6, "missing": 2}
REFRESHED = {**DONE, "summary": SUMMARY, "warnings": []}
TAKEN = {**DONE, "id": "one", "label": "buy", "size": 4, "taken_at": "2026-11-21"}


@pytest.fixture
def dashboard(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StandIn]:
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    with serving() as server:
        yield server


def printed(capsys: Output) -> list[str]:
    out, err = capsys.readouterr()
    assert err == ""
    return out.splitlines()


# What is printed


def test_a_refresh_prints_its_figure(dashboard: StandIn, capsys: Output) -> None:
    dashboard.answers["POST /cov/refresh"] = (200, REFRESHED)

    assert cli.main(["refresh", dashboard.url, "--wait", "3"]) == 0

    assert dashboard.asked[-1] == "POST /cov/refresh?wait=3"
    assert printed(capsys) == ["75.00 % of 8 statements in 1 file"]


def test_a_refresh_without_data_says_so(dashboard: StandIn, capsys: Output) -> None:
    summary = {"percent": None, "reason": "no data yet"}
    dashboard.answers["POST /cov/refresh"] = (200, {**REFRESHED, "summary": summary})

    assert cli.main(["refresh", dashboard.url]) == 0

    assert printed(capsys) == ["no figures: no data yet"]


def test_warnings_go_to_stderr(dashboard: StandIn, capsys: Output) -> None:
    dashboard.answers["POST /cov/refresh"] = (200, {**REFRESHED, "warnings": ["a.py changed"]})

    assert cli.main(["refresh", dashboard.url, "--json"]) == 0

    out, err = capsys.readouterr()
    assert json.loads(out)["warnings"] == ["a.py changed"]
    assert err == "wsgi-coverage: a.py changed\n"


def test_tables_are_aligned_and_show_what_is_not_known_as_a_dash(
    dashboard: StandIn, capsys: Output
) -> None:
    file = {"statements": 8, "missing": 2, "covered": 6, "percent": 75.0}
    broken = {"statements": None, "missing": None, "covered": None, "percent": None}
    files = [{"file": "a.py", **file}, {"file": "long.py", **broken, "reason": "it is broken"}]
    dashboard.answers["GET /cov/files"] = (200, files)

    assert cli.main(["files", dashboard.url]) == 0

    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "file     statements  missing  percent",
        "a.py              8        2    75.00",
        "long.py           -        -        -",
    ]
    assert err == "wsgi-coverage: long.py has no figures: it is broken\n"


def test_functions_are_a_table(dashboard: StandIn, capsys: Output) -> None:
    function = {"file": "a.py", "name": "f", "line": 3, "statements": 2, "covered": 1}
    found = [
        {**function, "runtime": 0, "ran": "at load only"},
        {**function, "runtime": None, "ran": None, "reason": "nobody told"},
    ]
    dashboard.answers["GET /cov/functions"] = (200, found)

    assert cli.main(["functions", dashboard.url]) == 0

    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "file  line  function  statements  covered  at runtime  ran",
        "a.py     3  f                  2        1           0  at load only",
        "a.py     3  f                  2        1           -  -",
    ]
    assert err == "wsgi-coverage: not known whether 1 of these ran at load only: nobody told\n"


@pytest.mark.parametrize(("option", "asked"), [("--unused", "1"), ("--not-at-runtime", "runtime")])
def test_functions_that_never_ran_are_asked_for_with_or_without_those_at_load_only(
    dashboard: StandIn, option: str, asked: str
) -> None:
    dashboard.answers["GET /cov/functions"] = (200, [])

    assert cli.main(["functions", option, dashboard.url]) == 0

    assert dashboard.asked[-1] == f"GET /cov/functions?unused={asked}"


def test_labels_are_a_table_and_one_is_its_lines(dashboard: StandIn, capsys: Output) -> None:
    use = {"requests": 2, "first": "2026-11-27", "last": "2026-11-28"}
    listed = {"label": "a b", **use, "files": 1, "lines": 3, "own_lines": 1}
    unknown = {**listed, "label": "c", "requests": None, "first": None, "last": None}
    lines = {"label": "a b", **use, "files": [{"file": "shop.py", "lines": [1, 2, 3, 7]}]}
    dashboard.answers["GET /cov/contexts"] = (200, [listed, unknown])
    dashboard.answers["GET /cov/contexts/a%20b"] = (200, lines)

    assert cli.main(["contexts", dashboard.url]) == 0
    assert cli.main(["contexts", dashboard.url, "a b"]) == 0

    assert capsys.readouterr().out.splitlines() == [
        "label  requests  last        files  lines  only here",
        "a b           2  2026-11-28      1      3          1",
        "c             -  -               1      3          1",
        "shop.py: 1-3, 7",
    ]


def test_a_snapshot_prints_its_id_and_snapshots_are_a_table(
    dashboard: StandIn, capsys: Output
) -> None:
    dashboard.answers["POST /cov/snapshot"] = (200, TAKEN)
    dashboard.answers["GET /cov/snapshots"] = (200, [TAKEN, {**TAKEN, "id": "0", "label": None}])

    assert cli.main(["snapshot", dashboard.url, "--label", "buy"]) == 0
    assert printed(capsys) == ["one"]

    assert cli.main(["snapshots", dashboard.url]) == 0
    assert printed(capsys) == [
        "id   taken at    bytes  label",
        "one  2026-11-21      4  buy",
        "0    2026-11-21      4  -",
    ]


@pytest.mark.parametrize(
    ("complete", "code", "said"), [(True, 0, ""), (False, 4, "wsgi-coverage: not complete: two\n")]
)
def test_snapshots_are_combined_in_the_order_they_are_given(
    dashboard: StandIn, capsys: Output, complete: bool, code: int, said: str
) -> None:
    of = [{"id": "one", "complete": True}, {"id": "two", "complete": complete}]
    made = {**TAKEN, "complete": complete, "workers": [], "operation": "subtract", "made_of": of}
    dashboard.answers["POST /cov/snapshots"] = (200, made)
    ids = ["--subtract", "one", "two"]

    assert cli.main(["combine", dashboard.url, *ids, "--label", "a b", "--wait", "2"]) == code

    asked = "POST /cov/snapshots?subtract=one&subtract=two&label=a+b&wait=2"
    assert dashboard.asked[-1] == asked
    assert capsys.readouterr() == ("one\n", said)


def test_one_snapshot_cannot_be_combined(dashboard: StandIn, capsys: Output) -> None:
    assert cli.main(["combine", dashboard.url, "--merge", "one"]) == 2

    assert capsys.readouterr().err == "wsgi-coverage: --merge must be given two ids or more\n"
    assert dashboard.asked == []


def test_the_list_of_snapshots_tells_those_that_were_made_of_others(
    dashboard: StandIn, capsys: Output
) -> None:
    made = {**TAKEN, "id": "two", "label": None, "operation": "merge", "made_of": []}
    dashboard.answers["GET /cov/snapshots"] = (200, [made, TAKEN])

    assert cli.main(["snapshots", dashboard.url]) == 0

    assert [line.split()[3] for line in printed(capsys)[1:]] == ["merge", "measuring"]


def test_a_diff_is_lines_and_branches_by_file(dashboard: StandIn, capsys: Output) -> None:
    answer = {
        "a": {"id": "one", "label": "buy"},
        "b": {"id": "current", "label": None},
        "branch": True,
        "files": [
            {
                "file": "a.py",
                "only_a": {"lines": [1, 2, 3, 7], "branches": []},
                "only_b": {"lines": [], "branches": [[4, 5], [4, -1]]},
            },
            {"file": "b.py", "only_a": None, "only_b": None, "reason": "it has changed"},
        ],
    }
    dashboard.answers["GET /cov/diff"] = (200, answer)

    assert cli.main(["diff", dashboard.url, "one"]) == 0

    assert dashboard.asked[-1] == "GET /cov/diff?a=one&b=current"
    assert printed(capsys) == [
        "a.py",
        "  only in one (buy): 1-3, 7",
        "  only in current, branches: 4->5, 4->-1",
        "b.py",
        "  cannot be compared: it has changed",
    ]


def test_a_diff_for_a_code_host_is_about_files_of_the_checkout(
    dashboard: StandIn, capsys: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    only = {"lines": [1, 2, 7], "branches": [[4, 5]]}
    files = [
        {"file": "/app/src/a.py", "only_a": {"lines": []}, "only_b": only},
        {"file": "/lib/b.py", "only_a": None, "only_b": None, "reason": "it has changed"},
    ]
    answer = {
        "a": {"id": "one", "label": "a|b"},
        "b": {"id": "current", "label": None},
        "branch": True,
        "files": files,
    }
    dashboard.answers["GET /cov/diff"] = (200, answer)

    assert cli.main(["diff", dashboard.url, "one", "--format", "markdown"]) == 0
    out, err = capsys.readouterr()
    assert out == (
        "### Coverage of one (a&#124;b) and current\n\n"
        "one (a&#124;b) and current differ in 2 files\n\n"
        "| file | only in one (a&#124;b) | only in current |\n"
        "| --- | --- | --- |\n"
        "| `src/a.py` |  | 1-2, 7; branches 4-&#62;5 |\n"
        "| `/lib/b.py` |  | cannot be compared: it has changed |\n"
    )
    assert err == "wsgi-coverage: 1 file cannot be found in this checkout\n"

    assert cli.main(["diff", dashboard.url, "one", "--format", "github", "-o", "out"]) == 0
    title = "title=Lines ran in the second report only"
    assert (tmp_path / "out").read_text() == (
        f"::notice file=src/a.py,line=1,endLine=2,{title}::lines 1-2 ran in current only\n"
        f"::notice file=src/a.py,line=7,endLine=7,{title}::line 7 ran in current only\n"
    )
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("verb", "said"),
    [("reset", "reset in"), ("pause", "paused in"), ("resume", "measuring in")],
)
def test_a_change_says_how_many_workers_took_part(
    dashboard: StandIn, capsys: Output, verb: str, said: str
) -> None:
    dashboard.answers[f"POST /cov/{verb}"] = (200, DONE)

    assert cli.main([verb, dashboard.url]) == 0

    assert printed(capsys) == [f"{said} 1 worker"]


def test_no_answer_can_do_anything_to_the_terminal(dashboard: StandIn, capsys: Output) -> None:
    dashboard.answers["GET /cov/report"] = (200, b"Name\x1b[2J\nTOT\rAL\n")
    dashboard.answers["GET /cov/files"] = (409, {"error": "no-data", "message": "\x1b[2J\nx"})

    assert cli.main(["report", dashboard.url]) == 0
    assert cli.main(["files", dashboard.url]) == 1

    out, err = capsys.readouterr()
    assert "\x1b" not in out + err
    assert out.splitlines() == ["Name\\x1b[2J", "TOT\\rAL"]
    assert err.count("\n") == 1


def test_on_a_terminal_progress_is_shown_and_goes(
    dashboard: StandIn, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

    with output.progress_on_terminal() as show:
        assert show is not None
        show(3, None)
        show(3, 7)

    err = capsys.readouterr().err
    assert err.split("\r\x1b[K") == ["", "gathering the workers' data", "3 of 7 files", ""]


def test_elsewhere_no_progress_is_shown(capsys: Output) -> None:
    with output.progress_on_terminal() as show:
        assert show is None

    assert capsys.readouterr().err == ""


# How they end


@pytest.mark.parametrize("verb", ["refresh", "snapshot", "reset", "pause", "resume"])
@pytest.mark.parametrize("option", [[], ["--json"]])
def test_what_is_not_complete_is_exit_code_4_and_names_the_worker(
    dashboard: StandIn, capsys: Output, verb: str, option: list[str]
) -> None:
    dashboard.answers[f"POST /cov/{verb}"] = (200, {**REFRESHED, **TAKEN, **NOT_DONE})

    assert cli.main([verb, dashboard.url, *option]) == asking.INCOMPLETE == 4

    out, err = capsys.readouterr()
    assert out != ""
    assert err.splitlines() == [
        "wsgi-coverage: worker 8 on vm did not take part: no answer",
        "wsgi-coverage: not complete: 1 of 2 workers did not take part",
    ]


def test_an_endpoint_that_the_server_lacks_is_one_line_and_exit_code_1(
    dashboard: StandIn, capsys: Output
) -> None:
    assert cli.main(["functions", dashboard.url]) == 1

    _, err = capsys.readouterr()
    assert err == (
        f"wsgi-coverage: the dashboard does not know {dashboard.url}/functions: "
        "it runs another version of wsgi-coverage\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["refresh", "http://a", "--wait", "301"],
        ["refresh", "http://a", "--wait", "soon"],
        ["report", "http://a", "--timeout", "0"],
        ["report", "http://a", "--timeout", "nan"],
        ["report", "http://a", "--retries", "-1"],
        ["report", "http://a", "--retries", "101"],
        ["export", "http://a", "--format", "pdf"],
        ["report", "ftp://a"],
        ["gate", "http://a"],
        ["gate", "http://a", "--base", "main", "--fail-under", "101"],
        ["gate", "http://a", "--base", "main", "--json", "--format", "sarif"],
        ["diff", "http://a", "one", "--format", "pdf"],
        ["combine", "http://a"],
        ["combine", "http://a", "--merge", "one", "two", "--intersect", "one", "two"],
        ["collect", "shop"],
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str], capsys: Output) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)

    assert ended.value.code == 2
    assert "usage: wsgi-coverage" in capsys.readouterr().err


@pytest.mark.parametrize("option", [[], ["--format", "html"]])
def test_what_is_no_text_is_not_printed_on_a_terminal(
    dashboard: StandIn, capsys: Output, monkeypatch: pytest.MonkeyPatch, option: list[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    assert cli.main(["export", dashboard.url, *option]) == asking.USAGE == 2

    assert dashboard.asked == []
    assert capsys.readouterr() == (
        "",
        "wsgi-coverage: a binary format is not written to a terminal: name a file with -o\n",
    )


def test_snapshots_are_deleted_one_after_another(dashboard: StandIn, capsys: Output) -> None:
    dashboard.answers["DELETE /cov/snapshots/1"] = (200, {"status": "deleted", "id": "1"})

    assert cli.main(["snapshots", dashboard.url, "--delete", "1", "--delete", "2"]) == 1

    assert dashboard.asked[-2:] == ["DELETE /cov/snapshots/1", "DELETE /cov/snapshots/2"]
    assert capsys.readouterr().out == ""


# Collect


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "shop.py").write_text("a = 1\nb = 2\n")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    return folder


def exported(tmp_path: Path, lines: dict[str, Any], *, schema: int | None = None) -> bytes:
    path = tmp_path / "exported"
    path.unlink(missing_ok=True)
    data = CoverageData(basename=str(path))
    data.add_lines(lines)
    data.close(force=True)
    if schema is not None:
        with stamp.changing(path) as connection:
            connection.execute("update coverage_schema set version = ?", [schema])
    return path.read_bytes()


def lines_in(path: Path) -> dict[str, list[int]]:
    data = CoverageData(basename=str(path))
    data.read()
    out = {Path(name).name: sorted(data.lines(name) or ()) for name in data.measured_files()}
    data.close(force=True)
    return out


def test_data_of_another_schema_is_one_line_and_exit_code_1(
    dashboard: StandIn, capsys: Output, checkout: Path, tmp_path: Path
) -> None:
    dashboard.answers["POST /cov/refresh"] = (200, REFRESHED)
    body = exported(tmp_path, {"/srv/shop.py": [1]}, schema=99)
    dashboard.answers["GET /cov/export"] = (200, body)

    assert cli.main(["collect", dashboard.url]) == 1

    assert capsys.readouterr().err == (
        f"wsgi-coverage: the data of {dashboard.url} is set aside: wrong schema: 99 instead of 7\n"
    )
    assert sorted(checkout.iterdir()) == [checkout / "shop.py"]


@pytest.mark.parametrize("command", ["collect", "export"])
def test_a_dash_is_stdout(
    command: str,
    dashboard: StandIn,
    capfdbinary: pytest.CaptureFixture[bytes],
    checkout: Path,
    tmp_path: Path,
) -> None:
    dashboard.answers["POST /cov/refresh"] = (200, REFRESHED)
    dashboard.answers["GET /cov/export"] = (200, exported(tmp_path, {"/srv/shop.py": [1]}))

    assert cli.main([command, dashboard.url, "-o", "-"]) == 0

    received = tmp_path / "received"
    received.write_bytes(capfdbinary.readouterr().out)
    assert lines_in(received) == {"shop.py": [1]}
    assert sorted(checkout.iterdir()) == [checkout / "shop.py"]


def test_nothing_measured_yet_is_exit_code_1_and_no_file(
    dashboard: StandIn, capsys: Output, checkout: Path
) -> None:
    dashboard.answers["POST /cov/refresh"] = (200, REFRESHED)
    dashboard.answers["GET /cov/export"] = (409, {"error": "no-data", "message": "no data yet"})

    assert cli.main(["collect", dashboard.url]) == 1

    assert "nothing was measured yet" in capsys.readouterr().err
    assert sorted(checkout.iterdir()) == [checkout / "shop.py"]


def test_a_collection_that_is_not_complete_is_exit_code_4(
    dashboard: StandIn, capsys: Output, checkout: Path, tmp_path: Path
) -> None:
    dashboard.answers["POST /cov/refresh"] = (200, {**REFRESHED, **NOT_DONE})
    dashboard.answers["GET /cov/export"] = (200, exported(tmp_path, {"/srv/shop.py": [1]}))

    assert cli.main(["collect", dashboard.url]) == 4

    assert "not complete" in capsys.readouterr().err
    assert lines_in(checkout / ".coverage") == {"shop.py": [1]}


def test_a_file_that_the_server_would_count_in_is_warned_of(
    dashboard: StandIn, capsys: Output, checkout: Path, tmp_path: Path
) -> None:
    dashboard.answers["GET /cov/health"] = (200, {**HEALTH, "data_folder": str(checkout)})
    dashboard.answers["POST /cov/refresh"] = (200, REFRESHED)
    dashboard.answers["GET /cov/export"] = (200, exported(tmp_path, {"/srv/shop.py": [1]}))

    assert cli.main(["collect", dashboard.url]) == 0
    assert "will count .coverage in" in capsys.readouterr().err

    assert cli.main(["collect", dashboard.url, "-o", "other.sqlite"]) == 0
    assert "count" not in capsys.readouterr().err


# With --reset: nothing is lost


@pytest.fixture
def resettable(dashboard: StandIn, tmp_path: Path) -> StandIn:
    dashboard.answers |= {
        "POST /cov/snapshot": (200, TAKEN),
        "GET /cov/snapshots/one/export": (200, exported(tmp_path, {"/srv/shop.py": [1]})),
        "DELETE /cov/snapshots/one": (200, {"status": "deleted", "id": "one"}),
    }
    return dashboard


def test_what_was_taken_is_deleted_there_once_it_is_here(
    resettable: StandIn, checkout: Path
) -> None:
    assert cli.main(["collect", resettable.url, "--reset", "--label", "a b"]) == 0

    assert resettable.asked[1:] == [
        "POST /cov/snapshot?label=a+b&reset=1",
        "GET /cov/snapshots/one/export",
        "DELETE /cov/snapshots/one",
    ]
    assert lines_in(checkout / ".coverage") == {"shop.py": [1]}


@pytest.mark.parametrize("way", ["half", "schema", "error"])
def test_where_the_data_does_not_arrive_its_snapshot_stays_and_is_named(
    resettable: StandIn, capsys: Output, checkout: Path, tmp_path: Path, way: str
) -> None:
    answers = {
        "half": (200, exported(tmp_path, {"/srv/shop.py": [1]})[:9000]),
        "schema": (200, exported(tmp_path, {"/srv/shop.py": [1]}, schema=99)),
        "error": (507, {"error": "disk-full", "message": "no room there"}),
    }
    resettable.answers["GET /cov/snapshots/one/export"] = answers[way]

    assert cli.main(["collect", resettable.url, "--reset"]) == 1

    err = capsys.readouterr().err
    assert f"no data is lost: it is in snapshot one of {resettable.url}" in err
    assert err.count("\n") == 1
    assert "DELETE /cov/snapshots/one" not in resettable.asked
    assert not (checkout / ".coverage").exists()


def test_a_snapshot_that_cannot_be_deleted_is_a_warning(
    resettable: StandIn, capsys: Output, checkout: Path
) -> None:
    resettable.answers["DELETE /cov/snapshots/one"] = (500, {"error": "internal", "message": "x"})

    assert cli.main(["collect", resettable.url, "--reset"]) == 0

    assert "its data was collected, but its snapshot was not deleted" in capsys.readouterr().err
    assert lines_in(checkout / ".coverage") == {"shop.py": [1]}


def test_a_file_that_cannot_be_added_to_stays_as_it_was(
    resettable: StandIn, capsys: Output, checkout: Path
) -> None:
    target = checkout / ".coverage"
    target.write_bytes(b"no data file")

    assert cli.main(["collect", resettable.url, "--reset", "--append"]) == 1

    assert target.read_bytes() == b"no data file"
    err = capsys.readouterr().err
    assert err.startswith("wsgi-coverage: .coverage cannot be added to: ")
    assert f"it is in snapshot one of {resettable.url}" in err
    assert err.count("\n") == 1
    assert "DELETE /cov/snapshots/one" not in resettable.asked


def test_the_exit_codes_of_a_gate_are_its_own() -> None:
    others = {asking.OK, asking.FAILED, asking.USAGE, asking.NO_ANSWER, asking.INCOMPLETE}

    assert len(others | {gate.BELOW, gate.UNKNOWN, interrupt.INTERRUPTED}) == 8
