"""Labelled requests over HTTP: what ran for each, and what a request without a label feels."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from typing import Any

import pytest

RunScript = Callable[..., Any]

UNSUPPORTED = sys.version_info < (3, 12)
needs_labels = pytest.mark.skipif(UNSUPPORTED, reason="needs sys.monitoring")

SHOP = """\
    def price():
        return 1

    def stock():
        return 2

    def stream():
        try:
            yield b"a"
            price()
            yield b"b"
        finally:
            stock()

    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        path = environ["PATH_INFO"]
        if path == "/stream":
            return stream()
        if path == "/fail":
            raise KeyError(price())
        return [str(price() if path == "/price" else stock()).encode()]
"""
SERVED = """
    import json
    from wsgi_calls import JSON, PREFIX, call
    from wsgi_coverage import CoverageMiddleware, start_early

    def serve(**settings):
        global app
        start_early()
        import shop
        app = CoverageMiddleware(shop.app, debug=True, **settings)

    def get(path, label=None, **headers):
        if label is not None:
            headers["X-Coverage-Context"] = label
        return call(app, "GET", path, headers)

    def ask(path):
        return call(app, "GET", PREFIX + path, JSON)

    def refresh():
        assert call(app, "POST", PREFIX + "/refresh", JSON).status == 200

    def lines(label):
        [file] = ask(f"/contexts/{label}").json()["files"]
        return file["lines"]
"""


@needs_labels
def test_each_label_has_the_lines_of_its_requests(run_script: RunScript) -> None:
    found = run_script(
        SERVED
        + """
    serve()
    get("/price")
    get("/price", "pays")
    get("/stock", "counts")
    get("/stock", "counts")
    get("/stream", "streams")
    get("/stock", baggage="coverage.context=by%20baggage")
    refresh()
    print(json.dumps([
        {each["label"]: [each["requests"], each["lines"], each["own_lines"], each["files"]]
         for each in ask("/contexts").json()},
        {label: lines(label) for label in ("pays", "counts", "streams", "by%20baggage")},
        ask("/contexts/nobody").json()["error"],
    ]))
""",
        {"shop.py": SHOP},
    )

    figures, ran, unknown = found
    request = [16, 17, 18, 20, 22]
    assert ran == {
        "pays": [2, *request],
        "counts": [5, *request],
        "streams": [2, 5, 8, 9, 10, 11, 13, 16, 17, 18, 19],
        "by%20baggage": [5, *request],
    }
    assert figures["counts"][0] == 2
    assert figures["pays"][0] == figures["streams"][0] == 1
    assert figures["streams"][1:] == [11, 6, 1]
    assert figures["pays"][1:] == [6, 0, 1]
    assert unknown == "unknown-context"


@needs_labels
def test_labels_are_contexts_of_the_data_file_and_phases_stay_known(run_script: RunScript) -> None:
    found = run_script(
        SERVED
        + """
    from pathlib import Path
    from coverage import CoverageData
    serve()
    get("/price", "a|runtime|b")
    get("/stock")
    refresh()
    Path("out").write_bytes(ask("/export").body)
    data = CoverageData("out")
    data.read()
    [file] = [each for each in data.measured_files() if each.endswith("shop.py")]
    contexts = data.contexts_by_lineno(file)
    [functions] = [ask("/functions").json()]
    print(json.dumps([
        sorted(contexts[2]), sorted(contexts[5]), sorted(set().union(*contexts.values())),
        {each["name"]: [each["ran"], each["runtime"]] for each in functions},
        [each["label"] for each in ask("/contexts").json()],
    ]))
""",
        {"shop.py": SHOP},
    )

    price, stock, every, functions, labels = found
    assert price == ["runtime", "runtime|a|runtime|b"]
    assert stock == ["runtime"]
    assert set(every) == {"load", "runtime", "runtime|a|runtime|b"}
    assert functions["price"] == ["at runtime", 1]
    assert functions["stream"] == ["never", 0]
    assert labels == ["a|runtime|b"]


@needs_labels
def test_a_reset_and_a_pause_forget_what_ran_for_labels_too(run_script: RunScript) -> None:
    found = run_script(
        SERVED
        + """
    serve()
    get("/price", "before")
    call(app, "POST", PREFIX + "/reset", JSON)
    get("/stock", "after")
    call(app, "POST", PREFIX + "/pause", JSON)
    get("/price", "paused")
    call(app, "POST", PREFIX + "/resume", JSON)
    refresh()
    snapshot = call(app, "POST", PREFIX + "/snapshot?reset=1", JSON).json()["id"]
    get("/price", "last")
    refresh()
    names = [each["label"] for each in ask("/contexts").json()]
    print(json.dumps([names, [e["label"] for e in ask(f"/snapshots/{snapshot}/contexts").json()]]))
""",
        {"shop.py": SHOP},
    )

    assert found == [["last"], ["after"]]


@needs_labels
def test_an_application_that_raises_ends_its_request(run_script: RunScript) -> None:
    found = run_script(
        SERVED
        + """
    serve()
    try:
        get("/fail", "fails")
    except KeyError as error:
        raised = str(error)
    get("/stock")
    refresh()
    print(json.dumps([raised, lines("fails")]))
""",
        {"shop.py": SHOP},
    )

    assert found[0] == "1"
    assert 2 in found[1]
    assert 5 not in found[1]


@needs_labels
def test_by_route_every_request_has_a_label(run_script: RunScript) -> None:
    found = run_script(
        SERVED
        + """
    serve(contexts="route")
    get("/price", "ignored")
    get("/stock/of/it")
    refresh()
    print(json.dumps([[e["label"], e["requests"]] for e in ask("/contexts").json()]))
""",
        {"shop.py": SHOP},
    )

    assert found == [["GET /price", 1], ["GET /stock/of", 1]]


@pytest.mark.parametrize(
    ("contexts", "label", "env", "said"),
    [
        ("header", "x" * 201, {}, "ignored: it has more than 200 characters"),
        ("off", "fine", {}, None),
        ("header", "fine", {"WSGI_COVERAGE_BRANCH": "1"}, "unsupported"),
        ("header", "fine", {}, "unsupported" if UNSUPPORTED else None),
    ],
)
def test_a_label_that_is_not_recorded_is_said_in_the_response(
    run_script: RunScript, contexts: str, label: str, env: dict[str, str], said: str | None
) -> None:
    found = run_script(
        SERVED
        + f"""
    serve(contexts={contexts!r})
    answer = get("/price", {label!r})
    print(json.dumps([answer.status, answer.text, answer.headers.get("X-Coverage-Context")]))
""",
        {"shop.py": SHOP},
        env=env,
    )

    assert found == [200, "1", said]


@pytest.mark.parametrize("result", ["[b'x']", "iter([b'x'])", "Sized([b'x'])", "FileWrapper(f)"])
def test_results_reach_the_server_as_they_are_or_behave_alike(
    run_script: RunScript, result: str
) -> None:
    found = run_script(
        SERVED
        + f"""
    import io
    from wsgiref.util import FileWrapper
    from wsgi_calls import environ_for
    f = io.BytesIO(b"x")
    closed = []

    class Sized(list):
        def close(self):
            closed.append(1)

    made = {result}

    def plain(environ, start_response):
        start_response("200 OK", [])
        return made

    start_early()
    wrapped = CoverageMiddleware(plain, debug=True)
    environ = environ_for("GET", "/", {{"X-Coverage-Context": "a"}})
    environ["wsgi.file_wrapper"] = FileWrapper
    got = wrapped(environ, lambda *more: None)
    body = b"".join(got).decode()
    close = getattr(got, "close", None)
    if close: close()
    print(json.dumps([got is made, hasattr(got, "__len__"), body, closed]))
""",
        {},
    )

    is_same, has_length, body, closed = found
    assert body == "x"
    assert is_same is (result in ("[b'x']", "FileWrapper(f)") or UNSUPPORTED)
    assert has_length is (result in ("[b'x']", "Sized([b'x'])"))
    assert closed == ([1] if result.startswith("Sized") else [])


@needs_labels
def test_files_functions_and_differences_are_asked_for_one_label(run_script: RunScript) -> None:
    found = run_script(
        SERVED
        + """
    serve()
    get("/price", "a")
    get("/stock", "b")
    get("/stream")
    refresh()
    asked = ["/files?context=a", "/functions?context=a", "/functions?context=a&unused=1",
             "/functions?context=a&unused=runtime", "/diff?a=context:a&b=context:b",
             "/diff?a=current&b=context:a"]
    print(json.dumps([ask(path).json() for path in asked]))
""",
        {"shop.py": SHOP, ".coveragerc": "[run]\ninclude =\n    */shop.py\n    */unused.py\n"},
    )

    files, functions, unused, not_at_runtime, between, beyond = found
    [shop] = files
    assert shop["file"].endswith("shop.py")
    assert {key: shop[key] for key in shop if key not in ("file", "html")} == {
        "statements": 18,
        "covered": 6,
        "missing": 12,
        "percent": 33.33,
        "load": 0,
        "load_only": 0,
        "runtime": 6,
        "runtime_percent": 33.33,
        "ran": "at runtime",
    }
    ran = {each["name"]: [each["covered"], each["runtime"], each["ran"]] for each in functions}
    assert ran == {
        "app": [5, 5, "at runtime"],
        "price": [1, 1, "at runtime"],
        "stock": [0, 0, "never"],
        "stream": [0, 0, "never"],
    }
    assert [each["name"] for each in unused] == ["stream", "stock"]
    assert unused == not_at_runtime
    assert [between["a"]["context"], between["b"]["context"]] == ["a", "b"]
    assert [(each["only_a"]["lines"], each["only_b"]["lines"]) for each in between["files"]] == [
        ([2], [5])
    ]
    assert [beyond["a"]["context"], beyond["b"]["context"]] == [None, "a"]
    assert [(each["only_a"]["lines"], each["only_b"]["lines"]) for each in beyond["files"]] == [
        ([1, 4, 5, 7, 8, 9, 10, 11, 13, 15, 19], [])
    ]


@needs_labels
def test_of_files_that_a_label_did_not_run_all_is_at_0(run_script: RunScript) -> None:
    found = run_script(
        SERVED
        + """
    import other
    serve()
    get("/price", "a")
    other.f()
    refresh()
    before = ask("/files").json()
    print(json.dumps([before, ask("/files?context=a").json(), ask("/functions?context=a").json()]))
""",
        {
            "shop.py": SHOP,
            "other.py": "def f():\n    return 1\n",
            ".coveragerc": "[run]\ninclude =\n    */shop.py\n    */other.py\n",
        },
    )

    _, files, functions = found
    [other] = (each for each in files if each["file"].endswith("other.py"))
    assert [other[key] for key in ("statements", "covered", "percent", "ran")] == [2, 0, 0, "never"]
    [f] = (each for each in functions if each["name"] == "f")
    assert [f["statements"], f["covered"], f["ran"]] == [1, 0, "never"]
    assert "imported_early" not in other


@needs_labels
@pytest.mark.parametrize(
    ("path", "status", "slug"),
    [
        ("/files?context=x", 404, "unknown-context"),
        ("/functions?context=x", 404, "unknown-context"),
        ("/diff?a=context:x&b=current", 404, "unknown-context"),
        ("/diff?a=context:&b=current", 400, "bad-parameter"),
        ("/functions?context=a&unused_for=1d", 400, "bad-parameter"),
        ("/source/nothing.py", 404, "not-found"),
    ],
)
def test_what_there_is_not_of_a_label_is_refused(
    run_script: RunScript, path: str, status: int, slug: str
) -> None:
    found = run_script(
        SERVED
        + f"""
    serve()
    get("/price", "a")
    refresh()
    answer = ask({path!r})
    print(json.dumps([answer.status, answer.json()["error"]]))
""",
        {"shop.py": SHOP},
    )

    assert found == [status, slug]


@needs_labels
def test_the_source_says_of_each_line_when_it_ran_and_for_whom(run_script: RunScript) -> None:
    found = run_script(
        SERVED
        + """
    serve()
    get("/price", "a")
    get("/price", "b")
    get("/stock")
    refresh()
    [name] = [each["file"] for each in ask("/files").json()]
    print(json.dumps([ask("/source/" + path).json() for path in (name, name[1:], "shop.py")]))
""",
        {"shop.py": SHOP},
    )

    source = found[0]
    assert found == [source, source, source]
    assert source["text"] == textwrap.dedent(SHOP)
    lines = {each.pop("line"): each for each in source["lines"]}
    both = {"ran": "at runtime", "contexts": ["a", "b"]}
    assert lines[1] == {"ran": "at load only"}
    assert lines[2] == lines[22] == both
    assert lines[5] == {"ran": "at runtime"}
    assert lines[8] == lines[21] == {"ran": "never"}
    assert len(lines) == 18


@needs_labels
def test_a_label_is_forgotten_and_what_it_runs_later_counts_as_a_whole(
    run_script: RunScript,
) -> None:
    found = run_script(
        SERVED
        + """
    serve()
    get("/price", "a")
    get("/stock", "a")
    get("/stock", "b")
    refresh()
    first = call(app, "DELETE", PREFIX + "/contexts/a", JSON)
    kept = ask("/contexts").json()  # in the report that is published
    get("/price", "a")
    refresh()
    after = {each["label"]: each["requests"] for each in ask("/contexts").json()}
    forgotten = [lines("a"), lines("b")]
    assert call(app, "POST", PREFIX + "/contexts/b/delete", JSON).status == 200
    again = call(app, "DELETE", PREFIX + "/contexts/b", JSON)
    never = call(app, "DELETE", PREFIX + "/contexts/never", JSON)
    refresh()
    print(json.dumps([
        [first.status, first.json()["status"], first.json()["label"]],
        [each["label"] for each in kept], after, forgotten,
        [again.status, never.status, never.json()["error"]],
        [each["label"] for each in ask("/contexts").json()],
        {each["file"][-7:]: each["covered"] for each in ask("/files").json()},
    ]))
""",
        {"shop.py": SHOP},
    )

    first, kept, after, forgotten, refused, rest, covered = found
    request = [16, 17, 18, 20, 22]
    assert first == [200, "forgotten", "a"]
    assert kept == ["a", "b"]
    assert after == {"a": 1, "b": 1}
    assert forgotten == [[2, *request], [5, *request]]
    assert refused == [404, 404, "unknown-context"]
    assert rest == ["a"]
    assert covered == {"shop.py": 11}  # the lines themselves are not forgotten


@needs_labels
def test_a_label_is_forgotten_in_data_files_too(run_script: RunScript) -> None:
    files = {"shop.py": SHOP}
    run_script(
        SERVED
        + """
    serve()
    get("/price", "a")
    get("/stock", "b")
    print("null")
""",
        files,
    )

    found = run_script(
        SERVED
        + """
    import glob
    import coverage
    serve()
    refresh()
    before = [[each["label"], each["requests"]] for each in ask("/contexts").json()]
    answer = call(app, "DELETE", PREFIX + "/contexts/a", JSON)
    refresh()
    contexts = set()
    for name in glob.glob(".coverage.*"):
        data = coverage.CoverageData(name)
        data.read()
        contexts |= data.measured_contexts()
    print(json.dumps([
        before, answer.status, [each["label"] for each in ask("/contexts").json()],
        sorted(contexts), ask("/health").json()["problems"],
        call(app, "POST", PREFIX + "/refresh", JSON).json()["warnings"],
    ]))
""",
        files,
    )

    before, status, after, contexts, problems, warnings = found
    assert before == [["a", 1], ["b", 1]]
    assert status == 200
    assert after == ["b"]
    assert contexts == ["load", "runtime", "runtime|b"]
    assert problems == warnings == []


@needs_labels
def test_a_quoted_slash_that_a_server_leaves_is_one_of_the_label(run_script: RunScript) -> None:
    found = run_script(
        SERVED
        + """
    serve()
    for label in ("a/b", "a%2Fc", "a/c"):
        get("/price", label)
    refresh()
    asked = {each: ask("/contexts/" + each) for each in ("a/b", "a%252Fb", "a%252Fc", "a%252Fd")}
    page = call(app, "GET", PREFIX + "/contexts/a%252Fb", {"Accept": "text/html"})
    gone = call(app, "DELETE", PREFIX + "/contexts/a%252Fb", JSON).json()
    print(json.dumps([
        {each: answer.json().get("label") for each, answer in asked.items()},
        '<h1 class="label">a/b</h1>' in page.text, gone["label"],
    ]))
""",
        {"shop.py": SHOP},
    )

    # The WSGI path of "a%252Fb" is that of "a%2Fb" on a server that leaves quoted slashes.
    labels, is_page, gone = found
    assert labels == {"a/b": "a/b", "a%252Fb": "a/b", "a%252Fc": "a%2Fc", "a%252Fd": None}
    assert is_page
    assert gone == "a/b"


@needs_labels
def test_a_label_is_forgotten_beside_a_damaged_data_file(run_script: RunScript) -> None:
    files = {"shop.py": SHOP}
    for label in ("a", "b"):
        run_script(
            SERVED
            + f"""
    serve()
    get("/price", {label!r})
    print("null")
""",
            files,
        )

    found = run_script(
        SERVED
        + """
    import pathlib
    (damaged,) = (
        each for each in pathlib.Path().glob(".coverage.*") if b"runtime|b" in each.read_bytes()
    )
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    content = damaged.read_bytes()
    serve()
    answers = [call(app, "DELETE", PREFIX + f"/contexts/{label}", JSON) for label in "ab"]
    print(json.dumps([
        [each.status for each in answers], answers[1].json()["error"],
        damaged.read_bytes() == content,
    ]))
""",
        files,
    )

    assert found == [[200, 404], "unknown-context", True]


@needs_labels
def test_a_block_is_labelled_like_a_request(run_script: RunScript) -> None:
    found = run_script(
        SERVED
        + """
    import asyncio
    from wsgi_coverage import current_label, labelled
    serve()
    said = []

    def block(label, of):
        with labelled(label) as why_not:
            said.append([label, why_not, current_label()])
            of()

    block("price", shop.price)
    block(None, shop.stock)
    block("", shop.stock)
    block("x" * 201, shop.stock)
    with labelled("outer"):
        block("inner", shop.price)
    try:
        block("raises", {}["no"].x)
    except KeyError:
        pass

    async def task(label, of):
        with labelled(label):
            await asyncio.sleep(0)
            of()

    async def both():
        await asyncio.gather(task("one", shop.price), task("two", shop.stock))

    asyncio.run(both())
    refresh()
    labels = [each["label"] for each in ask("/contexts").json()]
    print(json.dumps([said, {each: lines(each) for each in labels}, current_label()]))
""".replace("import asyncio\n", "import asyncio\n    import shop\n"),
        {"shop.py": SHOP},
    )

    said, ran, last = found
    assert said == [
        ["price", None, "price"],
        [None, "there is no label", None],
        ["", "it is empty", None],
        ["x" * 201, "it has more than 200 characters", None],
        ["inner", "it has a label already", "outer"],
    ]
    assert ran == {"price": [2], "outer": [2], "one": [2], "two": [5]}
    assert last is None


def test_where_there_are_no_labels_a_block_runs_without(run_script: RunScript) -> None:
    found = run_script(
        """
    import json
    from wsgi_coverage import current_label, labelled

    with labelled("a") as why_not:
        print(json.dumps([why_not, current_label()]))
"""
    )

    assert found == ["unsupported", None]


@needs_labels
@pytest.mark.parametrize(
    ("config", "settings", "files"),
    [
        ("include =\n    */shop.py\n    */jinja2/filters.py", "", {"shop.py"}),
        (
            "include =\n    */shop.py\n    */jinja2/filters.py",
            "contexts_include='*/jinja2/*'",
            {"shop.py", "filters.py"},
        ),
        ("source_pkgs =\n    shop\n    jinja2.filters", "", {"shop.py", "filters.py"}),
        ("source = shop, jinja2", "", {"shop.py", "filters.py"}),
        ("source = .", "", {"shop.py"}),
    ],
)
def test_lines_of_installed_packages_count_where_they_are_named(
    run_script: RunScript, config: str, settings: str, files: set[str]
) -> None:
    found = run_script(
        SERVED
        + f"""
    from jinja2 import filters
    def also(environ, start_response):
        filters.do_upper("a")
        return shop.app(environ, start_response)

    start_early()
    import shop
    app = CoverageMiddleware(also, debug=True, {settings})
    get("/price", "a")
    refresh()
    print(json.dumps([each["file"] for each in ask("/contexts/a").json()["files"]]))
""",
        {"shop.py": SHOP, ".coveragerc": f"[run]\n{config}\nomit = script.py\n"},
    )

    assert {each.rpartition("/")[2] for each in found} == files


@needs_labels
def test_the_source_says_where_lines_may_have_run_before(run_script: RunScript) -> None:
    found = run_script(
        SERVED
        + """
    import shop
    serve()
    get("/price")
    refresh()
    print(json.dumps(ask("/source/shop.py").json()))
""",
        {"shop.py": SHOP},
    )

    assert found["imported_early"].startswith("it was imported before measuring began")
