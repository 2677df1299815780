"""Where each setting comes from is told: on /health, and by errors that show after construction."""

import dataclasses
import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_calls import client_of
from stand_ins import Site, StandInWorker, hello
from wsgi_calls import JSON

from wsgi_coverage import AuthNotConfiguredError, CoverageMiddleware, settings
from wsgi_coverage.paste import filter_factory
from wsgi_coverage.sideport import program

BROWSER = {"Accept": "text/html"}


def shown(site: Site) -> dict[str, dict[str, Any]]:
    """The settings as /health has them."""
    found: dict[str, dict[str, Any]] = site.get("/health").json()["settings"]
    return found


def test_health_shows_every_setting(site: Site) -> None:
    assert shown(site).keys() == settings.RULES.keys()


def test_health_shows_the_origin_of_each_kind(
    worker: StandInWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WSGI_COVERAGE_AUTOSAVE_INTERVAL", "5")
    site = Site(filter_factory({}, debug="on", autosave_interval="7")(hello), worker)
    other = Site(CoverageMiddleware(hello, debug=True), worker)

    found = shown(site)

    assert found["autosave_interval"] == {
        "value": 5.0,
        "origin": "environment variable WSGI_COVERAGE_AUTOSAVE_INTERVAL",
    }
    assert found["debug"] == {"value": True, "origin": "paste option debug"}
    assert found["cache_dir"] == {"value": ".wsgi-coverage-cache", "origin": "default"}
    assert found["config_file"] == {"value": None, "origin": "default"}
    assert shown(other)["debug"]["origin"] == "keyword debug"


def test_health_says_of_secrets_only_that_they_are_set(wrap: Callable[..., Site]) -> None:
    def let_in(environ: dict[str, Any]) -> bool:
        return True

    site = wrap(auth=let_in, password="correct horse")
    answer = site.get("/health")

    found = answer.json()["settings"]
    assert found["auth"] == {"value": "set", "origin": "keyword auth"}
    assert found["password"] == {"value": "set", "origin": "keyword password"}
    for text in (answer.text, site.get("/health", BROWSER).text):
        assert "correct horse" not in text
        assert "let_in" not in text


def test_the_page_shows_values_and_origins(wrap: Callable[..., Site]) -> None:
    page = wrap(trusted_hosts="127.0.0.1, localhost", autosave_interval=0.5).get("/health", BROWSER)

    for value, origin in (
        ("127.0.0.1, localhost", "keyword trusted_hosts"),
        ("0.5", "keyword autosave_interval"),
        ("on", "keyword debug"),
        ('<span class="quiet">not set</span>', "default"),
    ):
        cells = f'<td>{value}</td><td data-before="from">{origin}</td>'
        assert cells in page.text


def test_flask_tells_what_its_own_defaults_come_from(
    app: Flask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop").mkdir()
    (tmp_path / "pyproject.toml").write_text("[tool.other]\n", encoding="utf-8")
    app.root_path = str(tmp_path / "shop")

    found = client_of(app).get("/debug/coverage/health").json["settings"]

    assert found["debug"] == {"value": True, "origin": "app.debug"}
    assert found["cache_dir"] == {"value": ".flask-coverage-cache", "origin": "default"}
    assert found["config_file"] == {"value": None, "origin": "default"}


def test_flask_tells_of_a_configuration_that_it_has_found(
    app: Flask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    there = tmp_path / "pyproject.toml"
    there.write_text("[tool.coverage.run]\n", encoding="utf-8")
    app.root_path = str(tmp_path)

    found = client_of(app).get("/debug/coverage/health").json["settings"]

    assert found["config_file"] == {"value": str(there), "origin": "found above the application"}


@pytest.mark.parametrize(
    ("keywords", "told"),
    [
        ({}, "or turn debug on"),
        ({"debug": False}, "or turn debug on; debug is off by keyword debug"),
        ({"password": ""}, "or turn debug on; password is empty by keyword password"),
    ],
)
def test_where_nobody_may_look_it_is_told_what_was_set_and_by_whom(
    worker: StandInWorker, keywords: dict[str, Any], told: str
) -> None:
    with pytest.raises(AuthNotConfiguredError) as error:
        CoverageMiddleware(hello, **keywords)

    assert str(error.value).endswith(told)


@pytest.mark.parametrize(
    ("path", "name"), [("/refresh", "cache_dir"), ("/snapshot", "snapshot_dir")]
)
def test_a_folder_that_cannot_be_written_to_any_more_is_named_with_its_setting(
    worker: StandInWorker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: str, name: str
) -> None:
    variable = f"WSGI_COVERAGE_{name.upper()}"
    monkeypatch.setenv(variable, str(tmp_path / "there"))
    site = Site(CoverageMiddleware(hello, debug=True), worker)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("wsgi_coverage.control.control.build", refuse)
    answer = site.post(path, JSON)

    assert answer.status == 507
    told = f"{name} {tmp_path / 'there'} (environment variable {variable}) cannot be written to"
    assert told in answer.json()["message"]


def test_a_folder_that_nobody_has_set_is_named_as_the_default(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        "wsgi_coverage.health.facts.why_not_writable", lambda _: "the file system is read-only"
    )

    [found] = site.get("/health").json()["diagnoses"]

    assert f"{tmp_path}: the file system is read-only; cache_dir {tmp_path}" in found["text"]
    assert "/.wsgi-coverage-snapshots (default): the file system is read-only" in found["text"]


def test_a_host_that_the_list_leaves_out_is_told_where_the_list_is(
    wrap: Callable[..., Site],
) -> None:
    site = wrap(trusted_hosts="dev.example")

    message = site.get("/health", JSON, host="other.example:8000").text
    assert "the host 'other.example' is not served here" in message  # as the list would have it
    assert "add it to trusted_hosts (keyword trusted_hosts)" in message


def test_origins_make_no_difference_to_equal_settings() -> None:
    given = settings.load({"debug": True}, env={})
    in_the_environment = settings.load({}, env={"WSGI_COVERAGE_DEBUG": "1"})

    assert given == in_the_environment
    assert hash(given) == hash(in_the_environment)
    assert "keyword" not in repr(given)


def test_a_program_tells_who_lets_its_callers_in() -> None:
    plain = settings.Settings()
    guarded = dataclasses.replace(plain, password="secret")

    local = program.admitting(plain, "127.0.0.1", insecure=False)
    anybody = program.admitting(plain, "0.0.0.0", insecure=True)

    assert local.as_json()["debug"] == {"value": True, "origin": "--host 127.0.0.1"}
    assert anybody.as_json()["auth"] == {"value": "set", "origin": "--insecure"}
    assert program.admitting(guarded, "0.0.0.0", insecure=True) is guarded
    assert json.dumps(anybody.as_json())
