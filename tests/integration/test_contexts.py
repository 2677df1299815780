"""Labelled requests over HTTP: what ran for each, and what a request without a label feels."""

from __future__ import annotations

import sys
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
