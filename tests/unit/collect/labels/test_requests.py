"""The labels that requests ask for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from wsgi_coverage.collect.labels.labelling import _CURRENT, Labelled
from wsgi_coverage.collect.labels.requests import MOST, LabellingApplication, asked, route_of


def latin(text: str) -> str:
    """UTF-8 as an environ has it."""
    return text.encode().decode("latin-1")


@pytest.mark.parametrize(
    ("environ", "label"),
    [
        ({}, None),
        (
            {"HTTP_X_COVERAGE_CONTEXT": "tests/test_a.py::test_b[x|y-1]"},
            "tests/test_a.py::test_b[x|y-1]",
        ),
        ({"HTTP_X_COVERAGE_CONTEXT": latin("préparé ✓")}, "préparé ✓"),
        ({"HTTP_X_COVERAGE_CONTEXT": " padded "}, "padded"),
        ({"HTTP_X_COVERAGE_CONTEXT": "x" * MOST}, "x" * MOST),
        ({"HTTP_BAGGAGE": "coverage.context=a%20b"}, "a b"),
        ({"HTTP_BAGGAGE": "k=v;p=1 , coverage.context = caf%C3%A9;ttl=1, z=1"}, "café"),
        ({"HTTP_BAGGAGE": "k=coverage.context"}, None),
        ({"HTTP_BAGGAGE": "coverage.context"}, None),
        ({"HTTP_BAGGAGE": ""}, None),
        ({"HTTP_BAGGAGE": "coverage.context=b", "HTTP_X_COVERAGE_CONTEXT": "a"}, "a"),
    ],
)
def test_a_label_is_in_its_header_or_in_the_baggage(
    environ: dict[str, Any], label: str | None
) -> None:
    assert asked(environ) == (label, "")


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        ("", "empty"),
        (" \t ", "empty"),
        ("x" * (MOST + 1), "200"),
        ("a\nb", "control"),
        ("a\x00", "control"),
        (latin("a\x85b"), "control"),
        (latin("a\u2028b"), "control"),
        ("\xff", "UTF-8"),
        ("a</script>", "</"),
        ("load", "phase"),
        ("a|load", "phase"),
        ("runtime", "phase"),
        ("<!--", "<!"),
    ],
)
def test_a_label_that_cannot_be_one_is_ignored_and_it_is_said_why(raw: str, why: str) -> None:
    found = asked({"HTTP_X_COVERAGE_CONTEXT": raw})

    assert found.label is None
    assert why in found.why_not


@pytest.mark.parametrize(
    ("environ", "route"),
    [
        ({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, "GET /"),
        ({"REQUEST_METHOD": "POST", "PATH_INFO": "/cart/add/7"}, "POST /cart/add"),
        ({"REQUEST_METHOD": "GET", "PATH_INFO": latin("/é\n/x")}, "GET /é?/x"),
        ({"REQUEST_METHOD": "GET", "PATH_INFO": "/" + "x" * 300}, ("GET /" + "x" * 300)[:MOST]),
        (
            {
                "REQUEST_METHOD": "GET",
                "PATH_INFO": "/users/7",
                "werkzeug.request": SimpleNamespace(
                    url_rule=SimpleNamespace(rule="/users/<int:n>")
                ),
            },
            "GET /users/<int:n>",
        ),
        (
            {
                "REQUEST_METHOD": "GET",
                "PATH_INFO": "/nowhere/at/all",
                "werkzeug.request": SimpleNamespace(url_rule=None),
            },
            "GET /nowhere/at",
        ),
    ],
)
def test_a_route_is_that_of_the_framework_or_the_beginning_of_the_path(
    environ: dict[str, Any], route: str
) -> None:
    assert route_of(environ) == route


def labelling(app: Any, closed: list[Labelled]) -> LabellingApplication:
    engine = SimpleNamespace(
        why_no_labels=None, open_labelled=Labelled, close_labelled=closed.append
    )
    worker: Any = SimpleNamespace(engine=engine)
    return LabellingApplication(app, lambda: worker, by_route=False)


def test_a_child_that_a_request_forks_ends_without_closing_it() -> None:
    closed: list[Labelled] = []

    def app(environ: dict[str, Any], start_response: Any) -> NoReturn:
        current = _CURRENT.get()
        assert current is not None
        current.is_open = False  # as after a fork
        raise SystemExit

    with pytest.raises(SystemExit):
        labelling(app, closed)({"HTTP_X_COVERAGE_CONTEXT": "a"}, None)

    assert closed == []


def test_what_says_no_label_leaves_start_response_as_it_was() -> None:
    told: list[Any] = []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> None:
        told.append((status, headers, exc_info))

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("A", "b")], exc_info=None)
        return [b"x"]

    labelling(app, [])({"HTTP_X_COVERAGE_CONTEXT": ""}, start_response)

    why = ("X-Coverage-Context", "ignored: it is empty")
    assert told == [("200 OK", [("A", "b"), why], None)]


@pytest.mark.parametrize("environ", [{}, {"HTTP_X_COVERAGE_CONTEXT": "a"}], ids=["none", "label"])
def test_the_traceback_of_an_error_is_the_application_s(environ: dict[str, Any]) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> NoReturn:
        raise LookupError("mine")

    with pytest.raises(LookupError) as raised:
        labelling(app, [])(environ, None)

    assert [each.name for each in raised.traceback][1:] == ["app"]


def test_an_error_of_ours_has_its_whole_traceback() -> None:
    with pytest.raises(TypeError, match="not callable") as raised:
        labelling(None, [])({"HTTP_X_COVERAGE_CONTEXT": "a"}, lambda *_: None)

    assert [each.name for each in raised.traceback][1:] == ["__call__", "_respond", "_run"]
