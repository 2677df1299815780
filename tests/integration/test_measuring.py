"""The true tracer behind the endpoints, each time in a process of its own."""

import re
import sys
from pathlib import Path

import pytest
from child_scripts import SHOP, WRAPPED


@pytest.fixture
def run_shop(run_script):
    """Run a script after which `app` is a measured application that served one request."""
    return lambda source: run_script(WRAPPED + source, {"shop.py": SHOP})


# Reports


def test_all_formats_of_one_refresh_agree(run_shop) -> None:
    shown = run_shop("""
    assert executed(app) == [2, 3, 4]
    with open("exported", "wb") as file:
        file.write(ask("GET", "/export").body)
    data = coverage.CoverageData("exported")
    data.read()
    index = ask("GET", "/html/").text
    print(json.dumps({
        "files": ask("GET", "/files").json(),
        "report": ask("GET", "/report").text,
        "data": {name: sorted(data.lines(name)) for name in data.measured_files()},
        "html": index,
    }))
    """)

    (file,) = shown["files"]
    assert (file["statements"], file["missing"], file["covered"]) == (5, 2, 3)
    assert file["percent"] == 60.0
    assert re.search(r"shop.py +5 +2 +60%", shown["report"])
    assert shown["data"] == {file["file"]: [2, 3, 4]}
    assert Path(file["file"]).name == "shop.py"
    assert '<span class="pc_cov">60%</span>' in shown["html"]


def test_source_text_is_in_the_pages_and_in_no_other_format(run_shop) -> None:
    has_text = run_shop("""
    executed(app)
    source = "/source/" + ask("GET", "/files").json()[0]["file"]
    paths = ["/html/shop_py.html", source, "/report", "/files", "/functions"]
    paths += ["/export?format=" + each for each in ("coverage", "json", "xml", "lcov")]
    answers = {path: ask("GET", path) for path in paths}
    assert {answer.status for answer in answers.values()} == {200}
    print(json.dumps([path for path in paths if b"bought" in answers[path].body]))
    """)

    assert [each.partition("/")[2].partition("/")[0] for each in has_text] == ["html", "source"]


def test_functions_tell_which_never_ran_and_which_ran_at_load_only(run_script) -> None:
    source = (
        WRAPPED.replace("import shop", "start_early(); import shop")
        + """
    ask("POST", "/refresh", JSON)
    taken = ask("POST", "/snapshot", JSON).json()["id"]
    print(json.dumps([
        ask("GET", "/functions").json(),
        ask("GET", "/functions?unused=1").json(),
        ask("GET", "/functions?unused=runtime").json(),
        ask("GET", f"/snapshots/{taken}/functions?unused=0").json(),
        ask("POST", "/refresh", JSON).json()["summary"],
    ]))
    """
    )
    more = """
    def prepare():
        return 1
    def never():
        return 1
    prepare()
    """

    everything, unused, not_at_runtime, of_snapshot, summary = run_script(
        source, {"shop.py": SHOP + more}
    )

    shown = [(each["name"], each["runtime"], each["load_only"], each["ran"]) for each in everything]
    assert shown == [
        ("app", 3, 0, "at runtime"),
        ("prepare", 0, 1, "at load only"),
        ("never", 0, 0, "never"),
    ]
    assert unused == everything[2:]
    assert not_at_runtime == everything[1:]
    assert of_snapshot == everything
    assert (summary["unused_functions"], summary["load_only_functions"]) == (1, 1)


def test_what_ran_above_the_line_where_measuring_began_is_not_called_never(run_script) -> None:
    """In the module that begins it; with the reason on the page, too."""
    shop = """
    def ran(x):
        return x + 1
    def never(x):
        return x + 1
    ran(1)
    from wsgi_coverage import start_early
    start_early()
    def below(x):
        return x + 1
    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b""]
    """
    source = (
        WRAPPED
        + """
    summary = ask("POST", "/refresh", JSON).json()["summary"]
    functions = ask("GET", "/functions").json()
    print(json.dumps([
        {each["name"]: [each["ran"], "imported_early" in each] for each in functions},
        [each["name"] for each in ask("GET", "/functions?unused=1").json()],
        [each["name"] for each in ask("GET", "/functions?unused=runtime").json()],
        summary,
        ask("GET", "/functions?unused=runtime", BROWSER).text,
        ask("GET", "/functions?unused=1", BROWSER).text,
    ]))
    """
    )

    told, never, not_at_runtime, summary, page, page_of_never = run_script(
        source, {"shop.py": shop}
    )

    tells = sys.version_info >= (3, 12)  # which functions had run
    assert told["ran"] == [None, True]
    assert told["never"] == (["never", False] if tells else [None, True])
    assert told["below"] == ["never", False]
    assert told["app"] == ["at runtime", False]
    assert {*never} == ({"never", "below"} if tells else {"below"})
    assert {*not_at_runtime} == {"ran", "never", "below"}
    assert summary["unused_functions"] is None
    assert "may have run at load" in page
    assert "measuring began while it was imported" in page
    assert "that is not known" in page
    assert "ran</a>" not in page_of_never


def test_a_difference_names_the_lines_that_only_one_of_two_reports_has(run_shop) -> None:
    found, turned, refused = run_shop("""
    taken = ask("POST", "/snapshot?label=before", JSON).json()["id"]
    call(app, "GET", "/")
    ask("POST", "/refresh", JSON)
    print(json.dumps([
        ask("GET", f"/diff?a={taken}&b=current").json(),
        ask("GET", f"/diff?a=current&b={taken}").json(),
        [[each.status, each.error] for each in (
            ask("GET", "/diff?a=current"),
            ask("GET", "/diff?a=current&b=nothing"),
        )],
    ]))
    """)

    (file,) = found["files"]
    assert Path(file["file"]).name == "shop.py"
    assert (file["only_a"], file["only_b"]) == ({"lines": []}, {"lines": [5]})
    assert (found["a"]["label"], found["b"]["id"]) == ("before", "current")
    assert turned["files"][0]["only_a"] == {"lines": [5]}
    assert refused == [[400, "bad-parameter"], [404, "unknown-snapshot"]]


def test_a_reset_forgets_and_what_runs_later_counts_again(run_shop) -> None:
    before, after, again = run_shop("""
    before = executed(app)
    assert ask("POST", "/reset", JSON).json()["status"] == "reset"
    reset = ask("GET", "/files").error
    call(app, "GET", "/")
    print(json.dumps([before, reset, executed(app)]))
    """)

    assert (before, after, again) == ([2, 3, 4], "no-report", [2, 3, 5])


def test_getting_never_shows_what_ran_after_the_refresh(run_shop) -> None:
    before, after = run_shop("""
    executed(app)
    before = ask("GET", "/files").json()
    call(app, "GET", "/")
    print(json.dumps([before, ask("GET", "/files").json()]))
    """)

    assert before == after


def test_nothing_measured_is_null_and_never_a_percentage(run_script) -> None:
    summary, files, text, export, html = run_script(
        WRAPPED
        + """
    summary = ask("POST", "/refresh", JSON).json()["summary"]
    assert ask("GET", "/", BROWSER).status == 200
    print(json.dumps([summary, ask("GET", "/files").json(), ask("GET", "/report").text,
                      ask("GET", "/export").status, ask("GET", "/html/").status]))
    """,
        {"shop.py": SHOP, ".coveragerc": "[run]\ninclude = nothing.py\n"},
    )

    assert (summary["percent"], summary["statements"], files) == (None, None, [])
    assert "no data yet" in text
    assert (export, html) == (409, 409)


# Snapshots


def test_as_many_snapshots_as_are_posted_at_once_are_taken(run_shop) -> None:
    statuses, ids, listed, labels = run_shop("""
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda n: ask("POST", f"/snapshot?label={n}", JSON), range(16)))
    listed = ask("GET", "/snapshots").json()
    print(json.dumps([
        [each.status for each in taken],
        sorted(each.json()["id"] for each in taken),
        sorted(each["id"] for each in listed),
        sorted(int(each["label"]) for each in listed),
    ]))
    """)

    assert statuses == [200] * 16
    assert len(set(ids)) == 16
    assert listed == ids
    assert labels == list(range(16))


def test_a_snapshot_keeps_what_a_reset_forgets(run_shop) -> None:
    kept = run_shop("""
    identity = ask("POST", "/snapshot", JSON).json()["id"]
    ask("POST", "/reset", JSON)
    report = ask("GET", f"/snapshots/{identity}/export?format=json").json()
    print(json.dumps(report["files"]["shop.py"]["executed_lines"]))
    """)

    assert kept == [2, 3, 4]


def test_a_snapshot_stays_whole_when_its_sources_and_the_cache_are_gone(run_shop) -> None:
    statuses, lines, page = run_shop("""
    import os, shutil, zipfile
    from io import BytesIO
    from wsgi_coverage.web.negotiation import HEADING, WAY_BACK
    identity = ask("POST", "/snapshot", JSON).json()["id"]
    os.remove("shop.py")
    shutil.rmtree(".wsgi-coverage-cache")
    answers = [
        ask("GET", f"/snapshots/{identity}/export?format={each}")
        for each in ("coverage", "json", "xml", "lcov", "html")
    ]
    page = ask("GET", f"/snapshots/{identity}/html/shop_py.html")
    with zipfile.ZipFile(BytesIO(answers[4].body)) as site:
        same = site.read("shop_py.html") == page.body.replace(WAY_BACK, HEADING)
    lines = answers[1].json()["files"]["shop.py"]["executed_lines"]
    print(json.dumps([[each.status for each in answers], lines, same and page.status]))
    """)

    assert statuses == [200] * 5
    assert lines == [2, 3, 4]
    assert page == 200


# coverage.py's HTML under the content security policy


def test_coverage_pys_pages_need_nothing_that_the_policy_forbids(run_shop) -> None:
    pages = run_shop("""
    executed(app)
    index = ask("GET", "/html/")
    import re
    names = sorted(set(re.findall(r'href="([^"#/:]+[.]html)"', index.text)))
    pages = {"": index, **{name: ask("GET", f"/html/{name}") for name in names}}
    assets = {}
    for page in pages.values():
        for name in re.findall(r'(?:href|src)="([^"#/:]+[.](?:css|js|png))"', page.text):
            answer = ask("GET", f"/html/{name}")
            assets[name] = [answer.status, answer.mimetype]
    print(json.dumps({
        "pages": [[p.status, p.text, p.headers["Content-Security-Policy"]] for p in pages.values()],
        "assets": assets,
    }))
    """)

    assert len(pages["pages"]) >= 2
    for status, text, policy in pages["pages"]:
        assert status == 200
        assert " style=" not in text
        assert "<style" not in text
        assert not re.search(r"<[^>]+\son[a-z]+\s*=", text)  # no inline event handlers
        inline = re.findall(r"<script(?![^>]*\ssrc=)[^>]*>", text)
        assert len(re.findall(r"'sha256-", policy)) == len(inline)
        assert "unsafe" not in policy
    assert {kind for _, kind in pages["assets"].values()} >= {"text/css", "text/javascript"}
    assert {status for status, _ in pages["assets"].values()} == {200}


def test_the_page_of_files_has_branch_columns_where_branches_are_measured(run_script) -> None:
    source = (
        WRAPPED
        + """
    ask("POST", "/refresh", JSON)
    print(json.dumps([
        ask("GET", "/files").json(),
        ask("GET", "/files?view=list", BROWSER).text,
    ]))
    """
    )
    config = "[run]\nbranch = true\ninclude = shop.py\n"

    [file], page = run_script(source, {"shop.py": SHOP, ".coveragerc": config})
    _, without = run_script(source, {"shop.py": SHOP})

    shown = [
        re.sub(r"<[^>]*>", " ", cell).split() for cell in re.findall(r"<td.*?</td>", page, re.S)
    ]
    assert (file["branches"], file["partial_branches"], file["covered_branches"]) == (2, 1, 1)
    assert ["2"] in shown
    assert ["1"] in shown
    assert any(cell[:3] == ["at", "least", "50"] for cell in shown)
    assert ("Partial" in page, "Partial" in without) == (True, False)


def test_a_clock_that_is_set_back_loses_nothing_and_repeats_no_id(run_shop) -> None:
    shown = run_shop("""
    import time
    before = [ask("POST", "/refresh", JSON).json(), ask("POST", "/snapshot", JSON).json()]
    true = time.time
    time.time = lambda: true() - 3600
    call(app, "GET", "/home")
    after = [ask("POST", "/refresh", JSON).json(), ask("POST", "/snapshot", JSON).json()]
    collected = ask("POST", "/snapshot?reset=1", JSON)
    print(json.dumps({
        "covered": [each["summary"]["covered"] for each in (before[0], after[0])],
        "ids": [before[1]["id"], after[1]["id"]],
        "listed": [each["id"] for each in ask("GET", "/snapshots").json()],
        "durations": [each["duration_seconds"] >= 0 for each in (before[0], after[0])],
        "collected": collected.status,
        "after": ask("POST", "/refresh", JSON).json()["summary"]["runtime"],
        "pages": [ask("GET", path, BROWSER).status for path in ("/", "/health", "/snapshots")],
    }))
    """)

    assert shown["covered"] == [3, 4]
    assert {*shown["ids"]} < {*shown["listed"]}
    assert len({*shown["listed"]}) == 3
    assert shown["durations"] == [True, True]
    assert (shown["collected"], shown["after"]) == (200, 0)
    assert shown["pages"] == [200, 200, 200]
