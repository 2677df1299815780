"""On which days code ran, over HTTP."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

RunScript = Callable[..., Any]

SHOP = """\
    def today():
        return 1

    def last_month():
        return 2

    def never():
        return 3

    def app(environ, start_response):
        today()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"home"]
"""
# 40 days ago, which is the first day that is known, another release ran some lines.
HISTORY = """
    import json
    from datetime import date, timedelta
    from pathlib import Path
    from wsgi_calls import BROWSER, JSON, PREFIX, call
    from wsgi_coverage import CoverageMiddleware, start_early
    from wsgi_coverage.data.packed import pack
    from wsgi_coverage.data.stamp import fingerprint
    from wsgi_coverage.store import days

    then = date.fromordinal(days.today() - 40)

    def history(version, lines):
        Path(days.FOLDER).mkdir(exist_ok=True)
        bits = sum(1 << line for line in lines)
        names = {str(Path("shop.py").resolve()): {version: f"{bits:x}"}}
        Path(days.FOLDER, then.isoformat()).write_bytes(pack({"old": names}))
        Path(days.FOLDER, "began").write_text(then.isoformat())

    def ask(path, *args):
        return call(app, "GET", PREFIX + path, *args)

    def served(**settings):
        global app
        start_early()
        import shop
        app = CoverageMiddleware(shop.app, debug=True, **settings)
        call(app, "GET", "/")
        assert call(app, "POST", PREFIX + "/refresh", JSON).status == 200
        return {each["name"]: each for each in ask("/functions").json()}

    FIELDS = ("first_seen", "last_seen", "seen_in", "seen_reason")

    def told(functions):
        return {
            name: [each.get(f"{key}") for key in FIELDS]
            for name, each in functions.items()
        }

    dates = {then.isoformat(): "then", date.fromordinal(days.today()).isoformat(): "today"}

    def show(value):
        text = json.dumps(value)
        for day, word in dates.items():
            text = text.replace(day, word)
        print(text)
"""


def test_functions_and_files_tell_when_they_ran_and_in_which_releases(
    run_script: RunScript,
) -> None:
    found = run_script(
        HISTORY
        + """
    history(fingerprint("shop.py"), [2, 5])
    functions = served(release="new")
    [file] = ask("/files").json()
    csv = ask("/functions?format=csv").text.splitlines()
    page = ask("/functions", BROWSER).text
    show([told(functions), file["first_seen"], file["last_seen"], file["seen_in"], csv[0],
          [row for row in csv if ",today," in row], f"first seen {then}, in old, new" in page,
          "on no day" in page])
""",
        {"shop.py": SHOP},
    )

    functions, first, last, releases, headings, rows, in_page, none_in_page = found
    assert functions == {
        "app": ["today", "today", ["new"], None],
        "today": ["then", "today", ["old", "new"], None],
        "last_month": ["then", "then", ["old"], None],
        "never": [None, None, None, None],
    }
    assert (first, last, releases) == ("then", "today", ["old", "new"])
    assert headings.endswith(",ran,first_seen,last_seen,seen_in,seen_reason")
    assert rows[0].endswith(",at runtime,then,today,old new,")
    assert in_page
    assert none_in_page


def test_what_has_not_run_for_some_days_is_listed_where_that_is_certain(
    run_script: RunScript,
) -> None:
    found = run_script(
        HISTORY
        + """
    history(fingerprint("shop.py"), [2, 5])
    served()
    show([
        [each["name"] for each in ask("/functions?unused_for=30d").json()],
        [each["name"] for each in ask("/functions?unused_for=40d").json()],
        ask("/functions?unused_for=41d", JSON).json()["error"],
        [ask(f"/functions?unused_for={each}", JSON).json()["error"] for each in ("30", "0d", "d")],
        "certainly on none of the last 30 days" in ask("/functions?unused_for=30d", BROWSER).text,
    ])
""",
        {"shop.py": SHOP},
    )

    lately, longer, too_long, bad, in_page = found
    assert lately == ["last_month", "never"]
    assert longer == ["never"]
    assert too_long == "history-too-short"
    assert set(bad) == {"bad-parameter"}
    assert in_page


def test_a_version_of_which_no_report_was_made_makes_functions_unknown(
    run_script: RunScript,
) -> None:
    found = run_script(
        HISTORY
        + """
    history("another version", [2, 5])
    functions = served()
    show([told(functions), [each["name"] for each in ask("/functions?unused_for=30d").json()]])
""",
        {"shop.py": SHOP},
    )

    functions, listed = found
    reason = (
        "another version of its file ran on then, and it is not known where in it the function was"
    )
    assert functions["today"] == [None, "today", None, reason]
    assert functions["never"] == [None, None, None, reason]
    assert listed == []


def test_a_function_is_found_in_the_version_that_an_earlier_report_was_made_of(
    run_script: RunScript,
) -> None:
    found = run_script(
        HISTORY
        + """
    before = {"last_month": [[40, 41]], "gone": [[2, 2]]}
    kept = days.DaysStore(Path(days.FOLDER))
    kept.note_functions({str(Path("shop.py").resolve()): {"before": before}}, 90)
    history("before", [2, 41])
    show(told(served()))
""",
        {"shop.py": SHOP},
    )

    assert found["last_month"] == ["then", "then", ["old"], None]
    assert found["today"] == ["today", "today", None, None]
    assert found["never"] == [None, None, None, None]


@pytest.mark.parametrize("unused_for", ["", "?unused_for=1d"])
def test_without_days_it_is_said_why_they_are_not_known(
    run_script: RunScript, unused_for: str
) -> None:
    found = run_script(
        HISTORY
        + f"""
    import os
    os.environ["WSGI_COVERAGE_SEEN_DAYS"] = "0"
    functions = served()
    show([told(functions), ask("/functions{unused_for}", JSON).status, Path(days.FOLDER).exists()])
""",
        {"shop.py": SHOP},
    )

    functions, status, recorded = found
    assert {tuple(each) for each in functions.values()} == {
        (None, None, None, "no days are recorded: seen_days is 0")
    }
    assert status == (409 if unused_for else 200)
    assert not recorded


def test_what_ran_in_a_pause_is_not_known_to_be_unused(run_script: RunScript) -> None:
    found = run_script(
        HISTORY
        + """
    history(fingerprint("shop.py"), [2, 5])
    served()
    before = ask("/functions?unused_for=1d").status
    call(app, "POST", PREFIX + "/pause", JSON)
    paused = call(app, "POST", PREFIX + "/refresh", JSON) and ask("/functions?unused_for=1d").status
    call(app, "POST", PREFIX + "/resume", JSON)
    call(app, "POST", PREFIX + "/reset", JSON)
    call(app, "POST", PREFIX + "/refresh", JSON)
    show([before, paused, ask("/functions?unused_for=1d").status])
""",
        {"shop.py": SHOP},
    )

    assert found == [200, 409, 409]


SEVERAL_LINES = """\
    def chained(a, b):
        if (
            a
            and b
        ):
            return 1

    def app(environ, start_response):
        chained(0, 1)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"home"]
"""


def test_any_line_of_a_statement_of_several_counts(run_script: RunScript) -> None:
    found = run_script(
        HISTORY
        + """
    show(told(served()))
""",
        {"shop.py": SEVERAL_LINES},
    )

    assert found["chained"] == ["today", "today", None, None]


IDLE = """
    from wsgi_coverage.collect import memories
    from wsgi_coverage.collect.saves import saving
    from wsgi_coverage.control import inputs
    from wsgi_coverage.report import combine
    now = days.today

    def on_day(ago):
        for each in (days, memories, saving, inputs, combine):
            each.today = lambda: now() - ago
"""


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there a thread looks every second")
@pytest.mark.parametrize("interval", [30, 0])
def test_the_first_request_after_idle_days_is_of_its_own_day(
    run_script: RunScript, interval: int
) -> None:
    found = run_script(
        HISTORY
        + IDLE
        + f"""
    on_day(40)
    served(autosave_interval={interval})
    call(app, "GET", "/")
    assert call(app, "POST", PREFIX + "/reset", JSON).status == 200
    call(app, "GET", "/")
    on_day(0)
    app._worker.memory.begin_turn() if {interval} else None  # as the end of an autosave
    call(app, "GET", "/")
    call(app, "POST", PREFIX + "/refresh", JSON)
    show(told({{each["name"]: each for each in ask("/functions").json()}}))
""",
        {"shop.py": SHOP},
    )

    assert found["today"] == ["then", "today", None, None]
    assert found["last_month"] == [None, None, None, None]
