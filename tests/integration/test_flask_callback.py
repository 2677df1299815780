"""The auth callback of FlaskCoverage runs inside a request context."""

import gc
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import flask
import pytest
from flask import Flask, g, request, session
from flask_calls import client_of
from no_verdicts import async_generator, coroutine, generator
from stand_ins import StandInWorker
from werkzeug.exceptions import Forbidden
from werkzeug.local import LocalProxy

from flask_coverage import FlaskCoverage
from wsgi_coverage import SettingsError

JSON = {"Accept": "application/json"}
PAGE = "/debug/coverage/"


@pytest.fixture
def make(worker: StandInWorker) -> Callable[..., Any]:
    """The test client of an application with a login, under an auth callback."""

    def make(auth: Callable[[], Any], **config: Any) -> Any:
        app = Flask(__name__)
        app.config.update(SECRET_KEY="for tests", **config)

        @app.get("/login/<name>")
        def login(name: str) -> str:
            session["name"] = name
            return "welcome"

        return client_of(app, auth=auth)

    return make


@pytest.mark.parametrize("verdict", [True, 1, object()])
def test_a_true_value_lets_in(make, verdict: object) -> None:
    assert make(lambda: verdict).get(PAGE).status_code == 200


@pytest.mark.parametrize("verdict", [False, None, 0, ""])
@pytest.mark.parametrize("path", ["", "nothing", "static/style.css"])
def test_anything_else_is_401(make, verdict: object, path: str) -> None:
    answer = make(lambda: verdict).get(PAGE + path)

    assert (answer.status_code, answer.json["error"]) == (401, "unauthorized")


def test_the_session_can_be_asked(make) -> None:
    client = make(lambda: session.get("name") == "ada")
    assert client.get(PAGE).status_code == 401

    client.get("/login/ada")
    assert client.get(PAGE).status_code == 200
    client.get("/login/eve")
    assert client.get(PAGE).status_code == 401


def test_a_current_user_that_is_loaded_on_demand_can_be_asked(make) -> None:
    def load() -> str:
        if "user" not in g:
            g.user = session.get("name", "anonymous")
        return g.user

    current_user: Any = LocalProxy(load)
    client = make(lambda: current_user == "ada")
    assert client.get(PAGE).status_code == 401

    client.get("/login/ada")

    assert client.get(PAGE).status_code == 200


def test_a_current_user_counts_by_its_truth_in_the_request_context(make) -> None:
    class User:
        def __bool__(self) -> bool:
            return session.get("name") == "ada"

    client = make(lambda: LocalProxy(User))
    assert client.get(PAGE).status_code == 401

    client.get("/login/ada")

    assert client.get(PAGE).status_code == 200


def test_the_request_is_the_one_that_the_application_would_see(make) -> None:
    seen: list[tuple[str, str, str, str | None]] = []

    def note() -> bool:
        seen.append((request.method, request.script_root, request.path, request.args.get("a")))
        return True

    make(note).get(f"{PAGE}report?a=b")

    assert seen == [("GET", "", "/debug/coverage/report", "b")]


def test_the_form_can_be_read_by_the_callback_and_by_the_view(make) -> None:
    client = make(lambda: request.form["label"] == "both")

    answer = client.post(f"{PAGE}snapshot", data={"label": "both"}, headers=JSON)

    assert answer.json["label"] == "both"


def test_a_redirect_to_the_login_is_sent(make) -> None:
    answer = make(lambda: flask.redirect("/login/ada")).get(PAGE)

    assert (answer.status_code, answer.headers["Location"]) == (302, "/login/ada")
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_session_that_a_denying_callback_changed_is_kept(make) -> None:
    def remember() -> Any:
        if session.get("asked"):
            return True
        session["asked"] = True
        return flask.redirect("/login/ada")

    client = make(remember)

    assert client.get(PAGE).status_code == 302
    assert client.get(PAGE).status_code == 200


@pytest.mark.parametrize("returned", [("no", 403), ("no", 403, {"X-Why": "y"}), ({"a": 1}, 418)])
def test_what_a_view_may_return_with_a_status_is_sent_and_never_a_yes(
    make, worker: StandInWorker, returned: tuple[Any, ...]
) -> None:
    answer = make(lambda: returned).post(f"{PAGE}reset", headers=JSON)

    assert answer.status_code == returned[1]
    assert worker.asked == []


@pytest.mark.parametrize("returned", ["go away", b"go away", ["go away"], {"error": "go away"}])
def test_what_a_view_may_return_without_a_status_is_sent_as_401_and_logged(
    make, worker: StandInWorker, caplog, returned: Any
) -> None:
    answer = make(lambda: returned).post(f"{PAGE}reset", headers=JSON)

    assert answer.status_code == 401
    assert "go away" in answer.text
    assert answer.is_json == isinstance(returned, (list, dict))
    assert answer.headers["WWW-Authenticate"] == 'Callback realm="wsgi-coverage"'
    assert worker.asked == []
    assert "which admits nobody: it is sent as the response" in caplog.text


def test_a_response_is_sent_with_its_own_status(make, worker: StandInWorker, caplog) -> None:
    answer = make(lambda: flask.make_response("log in first")).post(f"{PAGE}reset", headers=JSON)

    assert (answer.status_code, answer.text) == (200, "log in first")
    assert worker.asked == []
    assert caplog.text == ""


@pytest.mark.parametrize("returned", [("no", "no", "no", "no"), {"no": object()}, (None, 403)])
def test_what_flask_can_make_no_response_of_denies_and_is_logged(
    make, caplog, returned: Any
) -> None:
    assert make(lambda: returned).get(PAGE).status_code == 401
    assert "TypeError" in caplog.text


@pytest.mark.parametrize("code", [401, 403, 404, 451])
def test_abort_works(make, worker: StandInWorker, code: int) -> None:
    client = make(lambda: flask.abort(code))

    assert client.get(PAGE).status_code == code
    assert client.post(f"{PAGE}reset", headers=JSON).status_code == code
    assert worker.asked == []


def test_a_session_that_a_callback_changed_before_it_aborted_is_kept(make) -> None:
    def remember() -> Any:
        if session.get("asked"):
            return True
        session["asked"] = True
        return flask.abort(403)

    client = make(remember)

    assert client.get(PAGE).status_code == 403
    assert client.get(PAGE).status_code == 200


def test_an_http_exception_that_is_returned_is_sent(make) -> None:
    assert make(lambda: Forbidden("go away")).get(PAGE).status_code == 403


def test_abort_with_a_response_sends_it(make) -> None:
    answer = make(lambda: flask.abort(flask.make_response("go away", 403))).get(PAGE)

    assert (answer.status_code, answer.text) == (403, "go away")


def test_a_callback_that_raises_denies_and_is_logged(make, caplog) -> None:
    def broken() -> bool:
        raise LookupError("no database")

    answer = make(broken).get(PAGE)

    assert (answer.status_code, answer.json["error"]) == (401, "unauthorized")
    assert "no database" not in answer.text
    assert "LookupError: no database" in caplog.text


def test_a_callback_that_raises_denies_even_where_exceptions_propagate(make, caplog) -> None:
    client = make(lambda: 1 / 0, TESTING=True, PROPAGATE_EXCEPTIONS=True)

    assert client.get(PAGE).status_code == 401
    assert "ZeroDivisionError" in caplog.text


def test_a_verdict_whose_truth_raises_denies_and_is_logged(make, caplog) -> None:
    class Undecided:
        def __bool__(self) -> bool:
            raise LookupError("no database")

    answer = make(Undecided, TESTING=True, PROPAGATE_EXCEPTIONS=True).get(PAGE)

    assert (answer.status_code, answer.json["error"]) == (401, "unauthorized")
    assert "LookupError: no database" in caplog.text


class Policy:
    async def allow(self) -> bool:
        return False

    def is_admin(self) -> bool:
        return False

    async def __call__(self) -> bool:
        return False


@pytest.mark.parametrize("started", [coroutine, async_generator, generator, Policy().allow])
def test_a_callback_that_returns_what_another_only_began_denies_without_a_warning(
    make, caplog, started: Callable[[], object]
) -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        answer = make(lambda: started()).get(PAGE)
        gc.collect()

    assert (answer.status_code, answer.json["error"]) == (401, "unauthorized")
    assert "which is neither yes nor no" in caplog.text
    assert [str(each.message) for each in warned] == []


def test_a_method_that_should_have_been_called_denies_and_is_logged(make, caplog) -> None:
    assert make(lambda: Policy().is_admin).get(PAGE).status_code == 401
    assert "returned a method, which is neither yes nor no" in caplog.text


@pytest.mark.parametrize(
    "auth",
    [coroutine, async_generator, generator, Policy(), Policy().allow, partial(Policy().allow)],
)
def test_a_callback_that_cannot_answer_at_once_is_refused_at_construction(
    app: Flask, auth: Callable[[], object]
) -> None:
    before = app.wsgi_app

    with pytest.raises(SettingsError) as error:
        FlaskCoverage(app, auth=auth)

    assert str(error.value) == (
        f"keyword auth: auth must be a plain function, neither async nor a generator, got {auth!r}"
    )
    assert app.wsgi_app == before


def test_teardown_functions_run_after_the_callback(make) -> None:
    told: list[str] = []
    client = make(lambda: told.append("callback") is None)
    client.application.teardown_request(lambda _: told.append("teardown"))

    client.get(PAGE)

    assert told == ["callback", "teardown"]


def test_before_request_functions_do_not_run_for_the_callback(make) -> None:
    client = make(lambda: True)
    client.application.before_request(lambda: flask.abort(418))

    assert client.get(PAGE).status_code == 200


def test_the_callback_goes_before_debug_and_password(make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASK_COVERAGE_PASSWORD", "geheim")
    client = make(lambda: False, DEBUG=True)

    assert client.get(PAGE, auth=("admin", "geheim")).status_code == 401


def test_the_callback_is_not_asked_about_pages_of_the_application(make) -> None:
    asked: list[int] = []

    make(lambda: asked.append(1)).get("/login/ada")

    assert asked == []
