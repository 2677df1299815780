"""Access to the coverage of a Flask application: by debug or a password, else denied."""

import pytest
from flask import Flask
from flask_calls import client_of

from flask_coverage import FlaskCoverage
from wsgi_coverage import AuthNotConfiguredError, SettingsError

PAGE = "/debug/coverage/"


def test_without_debug_password_or_auth_it_raises_runtime_error(app: Flask) -> None:
    app.debug = False

    with pytest.raises(AuthNotConfiguredError):
        FlaskCoverage(app)


@pytest.mark.parametrize("password", ["", " "])
def test_an_empty_password_variable_is_no_password(
    app: Flask, monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    app.debug = False
    monkeypatch.setenv("FLASK_COVERAGE_PASSWORD", password)

    with pytest.raises(RuntimeError, match="refusing"):
        FlaskCoverage(app)


def test_app_debug_serves_local_host_names_only(app: Flask) -> None:
    client = client_of(app)

    assert client.get(PAGE, headers={"Host": "localhost:5000"}).status_code == 200
    assert client.get(PAGE, headers={"Host": "evil.example"}).status_code == 403


def test_the_keyword_debug_goes_before_app_debug(app: Flask) -> None:
    with pytest.raises(RuntimeError, match="refusing"):
        FlaskCoverage(app, debug=False)


@pytest.mark.parametrize("brand", ["FLASK", "WSGI"])
def test_password_and_user_name_come_from_the_environment(
    app: Flask, monkeypatch: pytest.MonkeyPatch, brand: str
) -> None:
    monkeypatch.setenv(f"{brand}_COVERAGE_PASSWORD", "geheim")
    client = client_of(app)

    assert client.get(PAGE).status_code == 401
    assert client.get(PAGE, auth=("admin", "geheim")).status_code == 200
    assert client.get(PAGE, auth=("root", "geheim")).status_code == 401


def test_the_user_name_comes_from_the_environment(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLASK_COVERAGE_USERNAME", "root")
    monkeypatch.setenv("FLASK_COVERAGE_PASSWORD", "geheim")
    client = client_of(app)

    assert client.get(PAGE, auth=("root", "geheim")).status_code == 200
    assert client.get(PAGE, auth=("admin", "geheim")).status_code == 401


def test_the_flask_variable_goes_before_the_wsgi_one(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLASK_COVERAGE_PASSWORD", "flask")
    monkeypatch.setenv("WSGI_COVERAGE_PASSWORD", "wsgi")
    client = client_of(app)

    assert client.get(PAGE, auth=("admin", "flask")).status_code == 200
    assert client.get(PAGE, auth=("admin", "wsgi")).status_code == 401


def test_a_wrong_flask_variable_is_refused_by_name(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLASK_COVERAGE_USERNAME", "a:b")

    with pytest.raises(SettingsError, match="environment variable FLASK_COVERAGE_USERNAME: "):
        FlaskCoverage(app)


@pytest.mark.parametrize("variable", ["FLASK_COVERAGE_DISABLED", "WSGI_COVERAGE_DISABLED"])
@pytest.mark.parametrize("value", ["1", "true", "yes", "on", "TRUE"])
def test_disabled_leaves_the_application_alone(
    app: Flask, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    app.debug = False  # and access is not checked
    monkeypatch.setenv(variable, value)
    before = app.wsgi_app

    extension = FlaskCoverage(app, autosave_interval=-5, auth="no function")

    assert app.wsgi_app == before
    assert "coverage" not in app.extensions
    assert app.test_client().get(PAGE).status_code == 404
    with pytest.raises(RuntimeError):
        _ = extension.coverage


@pytest.mark.parametrize("value", ["0", "false", "no", "off", ""])
def test_a_value_that_says_no_does_not_disable(
    app: Flask, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("FLASK_COVERAGE_DISABLED", value)

    assert client_of(app).get(PAGE).status_code == 200


def test_an_auth_that_cannot_be_called_is_refused_at_once(app: Flask) -> None:
    with pytest.raises(SettingsError, match="auth must be a callable, got 'module:name'"):
        FlaskCoverage(app, auth="module:name")
