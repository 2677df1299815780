"""POST /snapshots: snapshots made of others hold what set arithmetic on these gives, and say so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from stand_ins import Site
from wsgi_calls import JSON

RunScript = Callable[..., Any]

# Functions, by the line of their body.
SHOP = """
def helper():
    return "helper"


def a():
    return helper()


def b():
    return helper()


def never():
    return 1


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [{"/a": a, "/b": b}.get(environ["PATH_INFO"], str)().encode()]


AT_LOAD = helper()
"""
HELPER, A, B, APP = 3, 7, 11, (19, 20)
MEASURED = """
    import json
    from pathlib import Path
    from wsgi_calls import BROWSER, JSON, PREFIX, call
    from wsgi_coverage import CoverageMiddleware, start_early
    start_early()
    import shop
    app = CoverageMiddleware(shop.app, debug=True, contexts="header")

    def ask(method, path, headers=JSON):
        return call(app, method, PREFIX + path, headers)

    def took(*paths, label=None):
        for path in paths:
            headers = {} if label is None else {"X-Coverage-Context": label}
            call(app, "GET", path, headers)
        return ask("POST", "/snapshot?reset=1").json()["id"]

    def lines(identity):
        detail = ask("GET", f"/snapshots/{identity}/export?format=json").json()
        [file] = detail["files"].values()
        return file

    def source(identity):
        found = ask("GET", f"/snapshots/{identity}/source/shop.py").json()["lines"]
        return {each["line"]: [each["ran"], each.get("contexts")] for each in found}
"""


@pytest.fixture
def made(run_script: RunScript) -> Callable[..., Any]:
    def run(source: str, *, branch: bool = False, early: bool = True, other: str = "") -> Any:
        begin = MEASURED if early else MEASURED.replace("    start_early()\n", "")
        return run_script(
            begin + source,
            {
                "shop.py": SHOP,
                "other.py": other,
                ".coveragerc": f"[run]\nbranch = {branch}\ninclude = shop.py, other.py\n",
            },
        )

    return run


def test_each_operation_is_on_what_ran_in_each_phase_and_for_each_label(
    made: Callable[..., Any],
) -> None:
    found = made("""
    one, two = took("/a", "/b", label="x"), took("/b", label="x")
    three = took("/", label="y")
    of = f"={one}&{{0}}={two}&{{0}}={three}"
    out = {}
    for operation, ids in {
        "merge": [two, one, three], "subtract": [one, two, three], "intersect": [one, two],
    }.items():
        query = "&".join(f"{operation}={each}" for each in ids)
        identity = ask("POST", f"/snapshots?{query}").json()["id"]
        [file] = ask("GET", f"/snapshots/{identity}/files").json()
        labels = ask("GET", f"/snapshots/{identity}/contexts").json()
        out[operation] = [
            lines(identity)["executed_lines"],
            {line: told for line, told in source(identity).items() if told[0] == "at runtime"},
            [file["statements"], file["load"], file["runtime"]],
            {each["label"]: [each["requests"], each["lines"]] for each in labels},
        ]
    print(json.dumps(out))
    """)

    defined = [2, 6, 10, 14, 18, 23]
    x, xy = ["at runtime", ["x"]], ["at runtime", ["x", "y"]]
    assert found["merge"] == [
        sorted([*defined, HELPER, A, B, *APP]),
        {"3": x, "7": x, "11": x, "19": xy, "20": xy},
        [12, 7, 5],
        {"x": [None, 5], "y": [None, 2]},
    ]
    # helper() ran at load in all, and at runtime in the others, too.
    assert found["subtract"] == [[A], {"7": x}, [12, 0, 1], {"x": [None, 1]}]
    assert found["intersect"] == [
        sorted([*defined, HELPER, B, *APP]),
        {"3": x, "11": x, "19": x, "20": x},
        [12, 7, 4],
        {"x": [None, 4]},
    ]


def test_a_made_snapshot_is_a_snapshot_that_says_how_it_was_made(made: Callable[..., Any]) -> None:
    found = made("""
    one = ask("POST", "/snapshot?label=one").json()
    call(app, "GET", "/a")
    ask("POST", "/refresh")
    query = f"subtract=current&subtract={one['id']}&label=the+rest&detail=lines"
    answer = ask("POST", f"/snapshots?{query}").json()
    detail = answer.pop("detail")
    formats = ["", "/report", "/files", "/functions", "/contexts", "/html/"]
    formats += [f"/export?format={each}" for each in ("json", "xml", "lcov", "html")]
    at = f"/snapshots/{answer['id']}"
    print(json.dumps([
        one["id"], answer, ask("GET", "/snapshots").json(),
        [file["executed_lines"] for file in detail["files"].values()],
        [ask("GET", at + each).status for each in formats],
        ask("GET", "/snapshots", BROWSER).text, ask("GET", "/", BROWSER).text,
        ask("GET", at + "/functions").json()[0]["seen_reason"],
    ]))
    """)

    one, answer, listed, [executed], statuses, page, overview, seen_reason = found
    assert answer.items() >= {"label": "the rest", "complete": True, "workers": []}.items()
    assert answer["operation"] == "subtract"
    assert [[each["id"], each["label"], each["complete"]] for each in answer["made_of"]] == [
        ["current", None, True],
        [one, "one", True],
    ]
    assert [each.get("operation") for each in listed] == ["subtract", None]
    assert listed[0] == answer
    assert executed == [HELPER, A, *APP]
    assert set(statuses) == {200}
    assert "made by subtract of current, one" in page
    assert "the rest" not in overview  # its chart shows what was measured, over time
    assert seen_reason == "a snapshot that is made of others has none"


def test_nothing_is_stored_where_only_the_answer_is_wanted(made: Callable[..., Any]) -> None:
    found = made("""
    one, two = took("/a"), took("/b")
    answer = ask("POST", f"/snapshots?intersect={one}&intersect={two}&keep=0&detail=lines").json()
    print(json.dumps([answer, len(ask("GET", "/snapshots").json())]))
    """)

    answer, stored = found
    [file] = answer["detail"]["files"].values()
    assert (answer["id"], stored) == (None, 2)
    assert (answer["operation"], len(answer["made_of"])) == ("intersect", 2)
    assert file["contexts"]["20"] == ["runtime"]
    assert A not in file["executed_lines"]


def test_a_snapshot_that_is_named_many_times_is_copied_once(made: Callable[..., Any]) -> None:
    found = made("""
    from wsgi_coverage.control import control
    copied, read = [], control.read_operand
    control.read_operand = lambda *of, name, **more: copied.append(name) or read(
        *of, name=name, **more
    )
    one, two = took("/a"), took("/b")
    query = "&".join(f"merge={each}" for each in [one] * 40 + [two])
    answer = ask("POST", f"/snapshots?{query}").json()
    print(json.dumps([copied == [one, two], len(answer["made_of"]), lines(answer["id"])]))
    """)

    is_copied_once, made_of, file = found
    assert (is_copied_once, made_of) == (True, 41)
    assert {A, B} <= set(file["executed_lines"])


def test_lines_of_different_versions_of_a_source_are_not_mixed(made: Callable[..., Any]) -> None:
    found = made("""
    before = Path("shop.py").read_text()

    def merged(*ids):
        answer = ask("POST", "/snapshots?" + "&".join(f"merge={each}" for each in ids))
        return [answer.status, answer.json()]

    one = took("/a")
    Path("shop.py").write_text(before + "MORE = 1\\n")
    changed = merged(one, one)
    call(app, "GET", "/b")
    two = ask("POST", "/snapshot").json()["id"]  # what ran is left out: it is about another source
    Path("shop.py").write_text(before)
    print(json.dumps([one, two, changed, merged(one, two), merged(two, two), merged(one, one)]))
    """)

    one, two, changed, mixed, nothing, same = found
    assert (changed[0], changed[1]["error"]) == (409, "source-versions")
    assert f"shop.py is of another version in {one} than as it is now" in changed[1]["message"]
    assert (mixed[0], mixed[1]["error"]) == (409, "source-versions")
    assert f"shop.py is of another version in {one} than in {two}" in mixed[1]["message"]
    assert (nothing[0], nothing[1]["error"]) == (409, "no-data")
    assert same[0] == 200


def test_a_source_that_all_have_left_out_stays_left_out(made: Callable[..., Any]) -> None:
    found = made(
        """
    import other
    Path("shop.py").write_text(Path("shop.py").read_text() + "MORE = 1\\n")
    call(app, "GET", "/a")
    two = ask("POST", "/snapshot").json()["id"]
    answer = ask("POST", f"/snapshots?merge={two}&merge={two}").json()
    files = ask("GET", f"/snapshots/{answer['id']}/files").json()
    print(json.dumps([answer["warnings"], {Path(each["file"]).name: each for each in files}]))
    """,
        other="THERE = 1\n",
    )

    warnings, files = found
    assert (files["other.py"]["covered"], files["shop.py"]["covered"]) == (1, None)
    assert "changed since" in files["shop.py"]["reason"]
    assert any("shop.py has changed since" in each for each in warnings)


def test_branches_and_statements_are_not_mixed(made: Callable[..., Any]) -> None:
    lines = made("""
    print(json.dumps(took("/a")))
    """)

    found = made(
        f"""
    arcs = took("/a")
    refused = ask("POST", f"/snapshots?merge={lines}&merge={{arcs}}")
    identity = ask("POST", f"/snapshots?subtract={{took('/a', '/b')}}&subtract={{arcs}}").json()
    print(json.dumps([refused.status, refused.json(), identity, lines(identity["id"])]))
    """,
        branch=True,
    )

    status, refused, made_of_arcs, file = found
    assert (status, refused["error"]) == (409, "mixed-data")
    assert f"{lines} holds statements only" in refused["message"]
    assert any(
        "a line counts as executed where a branch" in each for each in made_of_arcs["warnings"]
    )
    assert B in file["executed_lines"]
    assert A not in file["executed_lines"]


def test_files_that_were_imported_early_stay_inexact(made: Callable[..., Any]) -> None:
    found = made(
        """
    one, two = took("/a"), took("/b")
    answer = ask("POST", f"/snapshots?merge={one}&merge={two}").json()
    [file] = ask("GET", f"/snapshots/{answer['id']}/files").json()
    print(json.dumps([answer["warnings"], file]))
    """,
        early=False,
    )

    warnings, file = found
    assert "imported before measuring began" in file["imported_early"]
    assert any("imported before measuring began" in each for each in warnings)


def test_a_snapshot_of_flask_coverage_does_not_say_which_versions_it_is_about(
    made: Callable[..., Any],
) -> None:
    found = made("""
    from coverage import CoverageData
    data = CoverageData(basename=".wsgi-coverage-snapshots/20260301T101500Z.coverage")
    one = took("/a")
    data.add_lines({str(Path("shop.py").resolve()): [2]})
    data.close(force=True)
    answer = ask("POST", f"/snapshots?merge={one}&merge=20260301T101500Z")
    print(json.dumps([answer.status, answer.json()]))
    """)

    assert (found[0], found[1]["error"]) == (409, "source-versions")
    assert "a snapshot of flask-coverage" in found[1]["message"]


def test_an_answer_has_the_id_without_the_suffix_that_may_be_asked_for(
    made: Callable[..., Any],
) -> None:
    found = made("""
    one, two = took("/a"), took("/b")
    combined = ask("POST", f"/snapshots?merge={one}.coverage&merge={two}&keep=0").json()
    compared = ask("GET", f"/diff?a={one}.coverage&b={two}").json()
    deleted = ask("DELETE", f"/snapshots/{one}.coverage").json()
    print(json.dumps([one, combined["made_of"][0]["id"], compared["a"]["id"], deleted["id"]]))
    """)

    assert found == [found[0]] * 4


BAD = [
    ("", 400, "bad-parameter"),
    ("?merge=current", 400, "bad-parameter"),
    ("?merge=current&merge=", 400, "bad-parameter"),
    ("?merge=current&merge=current&subtract=current", 400, "bad-parameter"),
    ("?union=current&union=current", 400, "bad-parameter"),
    ("?merge=current&merge=current&keep=perhaps", 400, "bad-parameter"),
    ("?merge=current&merge=current&detail=all", 400, "bad-parameter"),
    ("?merge=current&merge=current&wait=-1", 400, "bad-parameter"),
    (f"?merge=current&merge=current&label={'x' * 1001}", 400, "bad-parameter"),
    ("?merge=current&merge=current", 404, "no-report"),
    ("?merge=20260101T000000.000000Z-00000000&merge=current", 404, "unknown-snapshot"),
    ("?intersect=..%2F..&intersect=%00", 404, "unknown-snapshot"),
]


@pytest.mark.parametrize(("query", "status", "slug"), BAD)
def test_what_cannot_be_made_is_refused(site: Site, query: str, status: int, slug: str) -> None:
    answer = site.post(f"/snapshots{query}", JSON)

    assert (answer.status, answer.error) == (status, slug)
    assert site.get("/snapshots").json() == []
