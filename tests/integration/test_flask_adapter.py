"""FlaskCoverage(app): what a project that used flask-coverage relies on."""

from pathlib import Path
from types import SimpleNamespace

import flask
import pytest
from flask import Flask
from flask_calls import client_of
from stand_ins import StandInWorker
from werkzeug.exceptions import HTTPException

from flask_coverage import FlaskCoverage
from wsgi_coverage import SettingsError

JSON = {"Accept": "application/json"}
PAGE = "/debug/coverage/"


# Construction


def test_one_line_gives_the_dashboard(app: Flask) -> None:
    answer = client_of(app).get(PAGE)

    assert answer.status_code == 200
    assert b"Live coverage" in answer.data


def test_the_application_answers_as_before(app: Flask) -> None:
    client = client_of(app)

    assert client.get("/").text == "home"
    assert client.get("/nothing").status_code == 404


def test_the_application_can_come_later(app: Flask) -> None:
    extension = FlaskCoverage()

    extension.init_app(app)

    assert app.test_client().get(PAGE).status_code == 200
    assert app.extensions["coverage"] is extension


def test_the_extension_is_registered(app: Flask) -> None:
    extension = FlaskCoverage(app)

    assert app.extensions["coverage"] is extension


def test_every_documented_keyword_is_taken(
    app: Flask, worker: StandInWorker, tmp_path: Path
) -> None:
    config = tmp_path / "coverage.toml"
    config.write_text("", encoding="utf-8")

    client = client_of(
        app,
        url_prefix="/cov",
        auth=lambda: True,
        config_file=str(config),
        snapshot_dir=tmp_path / "s",
        cache_dir=str(tmp_path / "c"),
        autosave_interval=5,
    )

    assert client.post("/cov/refresh", headers=JSON).status_code == 200
    assert client.post("/cov/snapshot", headers=JSON).status_code == 200
    assert (tmp_path / "c" / "current").is_file()
    assert len(list((tmp_path / "s").glob("*.coverage"))) == 1
    assert worker.configured == [5.0]


def test_keywords_are_not_taken_by_position(app: Flask) -> None:
    with pytest.raises(TypeError):
        FlaskCoverage(app, "/cov")  # type: ignore[misc]


def test_the_folders_have_the_names_that_flask_coverage_gave_them(
    app: Flask, tmp_path: Path
) -> None:
    client = client_of(app)
    client.post(f"{PAGE}refresh")
    client.post(f"{PAGE}snapshot")

    assert {path.name for path in tmp_path.iterdir()} == {
        ".flask-coverage-cache",
        ".flask-coverage-snapshots",
    }


def test_autosave_is_every_30_seconds_unless_set(app: Flask, worker: StandInWorker) -> None:
    FlaskCoverage(app)

    assert worker.configured == [30.0]


def test_a_wrong_keyword_is_refused(app: Flask) -> None:
    with pytest.raises(SettingsError, match=r"keyword autosave_interval: .* got -1"):
        FlaskCoverage(app, autosave_interval=-1)
    with pytest.raises(SettingsError, match="'autosave' is not a setting"):
        FlaskCoverage(app, autosave=1)


def test_a_refused_application_is_left_as_it_was(app: Flask) -> None:
    app.debug = False
    before = app.wsgi_app

    with pytest.raises(RuntimeError, match="refusing"):
        FlaskCoverage(app)

    assert app.wsgi_app == before
    assert "coverage" not in app.extensions


# The Coverage


def test_the_coverage_is_there_after_init_app_and_not_before(
    app: Flask, worker: StandInWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsgi_coverage.collect.forks.current", lambda: None)
    extension = FlaskCoverage()
    with pytest.raises(RuntimeError, match="init_app"):
        _ = extension.coverage

    monkeypatch.setattr("wsgi_coverage.collect.forks.current", lambda: worker)
    extension.init_app(app)

    assert extension.coverage is worker.engine.coverage


def test_a_pyproject_above_the_application_is_found_where_coverage_py_finds_nothing(
    worker: StandInWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Path | None] = []

    def start(*, config_file: Path | None, **_: object) -> StandInWorker:
        given.append(config_file)
        return worker

    monkeypatch.setattr("wsgi_coverage.collect.forks.start", start)
    monkeypatch.delenv("COVERAGE_RCFILE", raising=False)
    package = tmp_path / "project" / "src" / "shop"
    package.mkdir(parents=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    config = tmp_path / "project" / "pyproject.toml"

    for text in ("[project]", "[tool.coverage.run]"):
        config.write_text(text, encoding="utf-8")
        FlaskCoverage(Flask("shop", root_path=str(package)), debug=True)
    (elsewhere / ".coveragerc").write_text("[run]", encoding="utf-8")
    FlaskCoverage(Flask("shop", root_path=str(package)), debug=True)

    assert given == [None, config.resolve(), None]


# The application does not touch the dashboard


def test_before_request_does_not_touch_the_dashboard(app: Flask) -> None:
    app.before_request(lambda: flask.abort(403))
    client = client_of(app)

    assert client.get("/").status_code == 403
    assert client.get(PAGE).status_code == 200


def test_after_request_does_not_touch_the_dashboard(app: Flask) -> None:
    @app.after_request
    def policy(response: flask.Response) -> flask.Response:
        response.headers["Content-Security-Policy"] = "sandbox"
        response.headers["Cache-Control"] = "public"
        return response

    client = client_of(app)

    assert client.get("/").headers["Content-Security-Policy"] == "sandbox"
    assert "sandbox" not in client.get(PAGE).headers["Content-Security-Policy"]
    assert client.get(PAGE).headers["Cache-Control"] == "no-store"


def test_a_catch_all_route_does_not_touch_the_dashboard(app: Flask) -> None:
    app.add_url_rule("/<path:path>", view_func=lambda path: path, endpoint="all")
    client = client_of(app)

    assert client.get("/debug/coveragex").text == "debug/coveragex"
    assert b"Live coverage" in client.get(PAGE).data


def test_error_handlers_do_not_touch_the_dashboard(
    app: Flask, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    app.register_error_handler(HTTPException, lambda error: ("mine", 418))
    app.register_error_handler(Exception, lambda error: ("mine", 418))
    client = client_of(app)

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("wsgi_coverage.control.Control.health", broken)

    assert client.get("/nothing").status_code == 418
    assert client.get(f"{PAGE}nothing").json["error"] == "not-found"
    assert client.get(f"{PAGE}health").json["error"] == "internal"
    assert "ZeroDivisionError" in caplog.text


def test_a_server_name_and_a_host_matching_map_do_not_touch_the_dashboard(app: Flask) -> None:
    app.config["SERVER_NAME"] = "shop.example"

    assert client_of(app).get(PAGE, headers={"Host": "localhost"}).status_code == 200


def test_the_applications_body_limit_does_not_touch_the_dashboard(app: Flask) -> None:
    app.config["MAX_CONTENT_LENGTH"] = 1

    answer = client_of(app).post(f"{PAGE}snapshot", data={"label": "longer"}, headers=JSON)

    assert answer.json["label"] == "longer"


# More than once


def test_one_extension_serves_two_applications(app: Flask, worker: StandInWorker) -> None:
    other = Flask("other")
    other.debug = True
    extension = FlaskCoverage()

    extension.init_app(app)
    extension.init_app(other)

    assert app.test_client().get(PAGE).status_code == 200
    assert other.test_client().get(PAGE).status_code == 200


def test_init_app_twice_wraps_once(app: Flask) -> None:
    extension = FlaskCoverage(app)
    wrapped = app.wsgi_app

    extension.init_app(app)

    assert app.wsgi_app is wrapped


def test_two_extensions_on_one_application_are_no_error(app: Flask) -> None:
    first = FlaskCoverage(app)
    FlaskCoverage(app, url_prefix="/other")
    client = app.test_client()

    assert client.get(PAGE).status_code == 200
    assert client.get("/other/").status_code == 200
    assert app.extensions["coverage"] is first


def test_the_test_client_keeps_its_context(app: Flask) -> None:
    with client_of(app) as client:
        client.get("/?a=b")
        assert flask.request.args["a"] == "b"
        assert client.get(PAGE).status_code == 200


def test_a_namespace_is_enough_of_a_configuration(app: Flask) -> None:
    app.config.from_object(SimpleNamespace(DEBUG=True))

    assert client_of(app).get(PAGE).status_code == 200
