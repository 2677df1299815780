"""The auth callback of FlaskCoverage runs inside a request context."""

from collections.abc import Callable
from typing import Any

import flask
import pytest
from flask import Flask, g, request, session
from flask_calls import client_of
from stand_ins import StandInWorker
from werkzeug.local import LocalProxy

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


@pytest.mark.parametrize("code", [401, 403, 404, 451])
def test_abort_works(make, worker: StandInWorker, code: int) -> None:
    client = make(lambda: flask.abort(code))

    assert client.get(PAGE).status_code == code
    assert client.post(f"{PAGE}reset", headers=JSON).status_code == code
    assert worker.asked == []


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


@pytest.mark.parametrize(("name", "status"), [("ada", 200), ("eve", 401)])
def test_a_callback_may_be_a_coroutine_function(make, name: str, status: int) -> None:
    pytest.importorskip("asgiref")

    async def allow() -> bool:
        return session.get("name") == "ada"

    client = make(allow)
    client.get(f"/login/{name}")

    assert client.get(PAGE).status_code == status


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
