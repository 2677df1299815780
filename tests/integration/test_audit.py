"""Every request for a change leaves a line on the logger of its own: who, what, from where."""

import base64
import json
import logging
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import pytest
from flask import Flask, request
from flask_calls import client_of
from stand_ins import Site, StandInWorker
from werkzeug.utils import redirect
from wsgi_calls import JSON, PREFIX, call

from wsgi_coverage import settings
from wsgi_coverage.control import Control
from wsgi_coverage.errors import NotOursError
from wsgi_coverage.sideport.app import SideApp
from wsgi_coverage.web.throttle import FREE

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "security.md"
LOGGER = "wsgi_coverage.audit"
FIELD = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|[^\s"]+)(?: |$)')
PLACE = {"address": "192.0.2.1", "host": socket.gethostname(), "pid": str(os.getpid())}
DONE = {"result": "done", "status": "200", **PLACE}

Lines = Callable[[], list[dict[str, str]]]


def parsed(line: str) -> dict[str, str]:
    """The fields of a line; a line that is not made of fields alone is refused."""
    fields = FIELD.findall(line)
    assert " ".join(f"{name}={value}" for name, value in fields) == line
    return {name: json.loads(value) if value.startswith('"') else value for name, value in fields}


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    """What the audit log has by now, each line by its fields; the lines are taken away."""
    caplog.set_level(logging.INFO, LOGGER)

    def take() -> list[dict[str, str]]:
        taken = [record for record in caplog.records if record.name == LOGGER]
        caplog.clear()
        assert all(record.levelno == logging.INFO for record in taken)
        return [parsed(record.getMessage()) for record in taken]

    return take


def basic(name: str, password: str) -> dict[str, str]:
    encoded = base64.b64encode(f"{name}:{password}".encode()).decode()
    return {"Authorization": f"Basic {encoded}"}


ADMIN = {**JSON, **basic("admin", "secret")}


@pytest.fixture
def guarded(wrap: Callable[..., Site]) -> Site:
    """A dashboard behind a password."""
    return wrap(password="secret")


def ask(site: Site, method: str, path: str, headers: dict[str, str], **keywords: Any) -> Any:
    return site.call(method, path, headers, REMOTE_ADDR=PLACE["address"], **keywords)


@pytest.mark.parametrize("change", ["refresh", "reset", "pause", "resume"])
def test_a_change_leaves_a_line(guarded: Site, lines: Lines, change: str) -> None:
    assert ask(guarded, "POST", f"/{change}", ADMIN).status == 200

    assert lines() == [{"change": change, "user": "admin", **DONE}]


def test_snapshots_leave_a_line_with_their_label_and_their_id(guarded: Site, lines: Lines) -> None:
    def taken(path: str, **keywords: Any) -> str:
        identity: str = ask(guarded, "POST", path, ADMIN, **keywords).json()["id"]
        return identity

    first = taken("/snapshot", form={"label": "before the release"})
    second = taken("/snapshot?label=after&reset=1&keep=1")
    assert lines() == [
        {"change": "snapshot", "label": "before the release", "user": "admin", **DONE},
        {"change": "snapshot", "label": "after", "reset": "1", "keep": "1", "user": "admin"} | DONE,
    ]

    ask(guarded, "DELETE", f"/snapshots/{first}", ADMIN)
    ask(guarded, "POST", f"/snapshots/{second}/delete", ADMIN)
    assert lines() == [
        {"change": "delete_snapshot", "id": each, "user": "admin", **DONE}
        for each in (first, second)
    ]


def test_combining_snapshots_leaves_a_line_with_their_ids(guarded: Site, lines: Lines) -> None:
    ask(guarded, "POST", "/snapshots?merge=one&merge=current&label=both", ADMIN)

    of = {"change": "combine", "merge": "one,current", "label": "both", "user": "admin"}
    refused = {"result": "unknown-snapshot", "status": "404"}
    assert lines() == [of | DONE | refused]


def test_forgetting_a_label_leaves_a_line(
    guarded: Site, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded.worker.memories, "forget_label", bool, raising=False)

    ask(guarded, "DELETE", "/contexts/tests/test_cart.py::test_add", ADMIN)
    ask(guarded, "POST", "/contexts/nightly/delete", ADMIN)

    assert lines() == [
        {"change": "delete_context", "label": each, "user": "admin", **DONE}
        for each in ("tests/test_cart.py::test_add", "nightly")
    ]


def test_a_change_that_is_asked_for_by_a_button_leaves_a_line(guarded: Site, lines: Lines) -> None:
    ask(guarded, "POST", "/reset", {"Accept": "text/html", **basic("admin", "secret")})

    assert [(each["result"], each["status"]) for each in lines()] == [("done", "303")]


@pytest.mark.parametrize(
    ("headers", "user", "result", "status"),
    [
        (JSON, "-", "unauthorized", 401),
        (basic("admin", "guess"), "admin", "unauthorized", 401),
        (basic("eve", "secret"), "eve", "unauthorized", 401),
        ({"Authorization": "Basic !"}, "-", "unauthorized", 401),
        ({**ADMIN, "Sec-Fetch-Site": "cross-site"}, "admin", "cross-site", 403),
        ({**ADMIN, "Origin": "http://evil.example"}, "admin", "cross-site", 403),
    ],
)
def test_a_change_that_is_refused_leaves_a_line_with_the_reason(
    guarded: Site, lines: Lines, headers: dict[str, str], user: str, result: str, status: int
) -> None:
    assert ask(guarded, "POST", "/reset", headers).status == status

    expected = {"change": "reset", "user": user, "result": result, "status": str(status), **PLACE}
    assert lines() == [expected]


def test_a_change_from_an_address_that_is_refused_leaves_a_line(
    guarded: Site, lines: Lines
) -> None:
    for _ in range(FREE):
        ask(guarded, "GET", "/", basic("admin", "guess"))

    ask(guarded, "POST", "/reset", ADMIN)

    assert [(each["result"], each["status"], each["user"]) for each in lines()] == [
        ("too-many-attempts", "429", "-")
    ]


def test_a_change_for_an_untrusted_host_leaves_a_line(site: Site, lines: Lines) -> None:
    ask(site, "POST", "/reset", JSON, host="evil.example")

    assert [(each["result"], each["user"]) for each in lines()] == [("untrusted-host", "-")]


def test_a_change_that_cannot_be_done_leaves_a_line(
    guarded: Site, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(what: str) -> None:
        raise NotOursError(what)

    monkeypatch.setattr(guarded.worker.engine, "check_is_ours", refuse)

    ask(guarded, "POST", "/reset", ADMIN)
    ask(guarded, "DELETE", "/snapshots/none", ADMIN)

    assert [(each["change"], each["result"], each["status"]) for each in lines()] == [
        ("reset", "not-ours", "409"),
        ("delete_snapshot", "unknown-snapshot", "404"),
    ]


def test_a_change_that_fails_leaves_a_line(
    guarded: Site, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("wsgi_coverage.control.Control.reset", broken)

    ask(guarded, "POST", "/reset", ADMIN)

    assert [(each["result"], each["status"]) for each in lines()] == [("internal", "500")]


def test_a_change_that_the_server_interrupts_leaves_a_line(
    guarded: Site, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(*_: object, **__: object) -> None:
        raise SystemExit

    monkeypatch.setattr("wsgi_coverage.control.Control.reset", ended)

    with pytest.raises(SystemExit):
        ask(guarded, "POST", "/reset", ADMIN)

    assert [(each["result"], each["status"]) for each in lines()] == [("interrupted", "-")]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/reset"),
        ("HEAD", "/reset"),
        ("OPTIONS", "/reset"),
        ("PUT", "/reset"),
        ("POST", "/nothing"),
    ],
)
@pytest.mark.parametrize("headers", [ADMIN, JSON])
def test_what_changes_nothing_leaves_no_line(
    guarded: Site, lines: Lines, method: str, path: str, headers: dict[str, str]
) -> None:
    ask(guarded, method, path, headers)

    assert lines() == []


# Who


def test_in_debug_and_with_a_callback_the_user_is_whom_the_server_names(
    wrap: Callable[..., Site], lines: Lines
) -> None:
    for site in (wrap(debug=True), wrap(auth=lambda environ: True)):
        ask(site, "POST", "/reset", JSON)
        site.call("POST", "/reset", JSON, REMOTE_USER="ada")
        site.call("POST", "/reset", {**JSON, "Remote-User": "eve", "X-Remote-User": "eve"})

        assert [each["user"] for each in lines()] == ["-", "ada", "-"]


def test_a_callback_may_name_the_user(wrap: Callable[..., Site], lines: Lines) -> None:
    def allow(environ: dict[str, Any]) -> bool:
        environ["REMOTE_USER"] = "grace"
        return environ["REQUEST_METHOD"] == "POST"

    site = wrap(auth=allow)
    ask(site, "POST", "/reset", JSON)
    ask(site, "DELETE", "/snapshots/x", JSON)

    assert [(each["user"], each["result"]) for each in lines()] == [
        ("grace", "done"),
        ("grace", "unauthorized"),
    ]


def test_a_callback_of_flask_may_name_the_user(app: Flask, lines: Lines) -> None:
    def allow() -> bool:
        request.environ["REMOTE_USER"] = request.headers["X-Of-The-Session"]
        return True

    client = client_of(app, auth=allow)
    client.post(f"{PREFIX}/reset", headers={"X-Of-The-Session": "grace"})

    assert [each["user"] for each in lines()] == ["grace"]


def test_a_callback_that_answers_itself_has_refused_the_change(
    wrap: Callable[..., Site], lines: Lines
) -> None:
    ask(wrap(auth=lambda environ: redirect("/login")), "POST", "/reset", JSON)

    assert [(each["result"], each["status"]) for each in lines()] == [("unauthorized", "302")]


# The side port


def side_port(worker: StandInWorker, **keywords: Any) -> Any:
    loaded = settings.load(keywords, env={})
    return validator(SideApp(loaded, Control(worker, loaded)))  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("change", ["reset", "save"])
def test_the_side_ports_changes_leave_a_line(
    worker: StandInWorker,
    lines: Lines,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    change: str,
) -> None:
    monkeypatch.setattr(worker, "save", lambda: None, raising=False)
    side = side_port(worker, password="secret")

    for headers in (ADMIN, JSON):
        call(side, method, f"/coverage/{change}", headers, REMOTE_ADDR=PLACE["address"])

    assert lines() == [
        {"change": change, "user": "admin", **DONE},
        {"change": change, "user": "-", "result": "unauthorized", "status": "401", **PLACE},
    ]


def test_the_dashboard_on_the_side_port_leaves_one_line(
    worker: StandInWorker, lines: Lines
) -> None:
    call(side_port(worker, debug=True), "POST", f"{PREFIX}/reset", JSON)

    assert [each["change"] for each in lines()] == ["reset"]


def test_what_the_side_port_only_reads_leaves_no_line(worker: StandInWorker, lines: Lines) -> None:
    side = side_port(worker, debug=True)

    for method, path in (("GET", "/health"), ("OPTIONS", "/coverage/reset"), ("GET", "/")):
        call(side, method, path, JSON)

    assert lines() == []


# What comes from outside

ODD = 'a\nchange=reset result="done"\r\x00\x1b[31m\u2028\u202e" user="admin'


@pytest.mark.parametrize(
    ("method", "path", "keywords"),
    [
        ("POST", "/snapshot", {"form": {"label": ODD}}),
        ("POST", "/snapshot", {"form": {"label": ODD}, "REMOTE_ADDR": ODD}),
        ("DELETE", "/contexts/a%22%00%20result=done", {}),
        ("DELETE", '/snapshots/a%0A%22%20user="eve', {}),
        ("POST", '/snapshot?label=%0A"%20user=eve&reset=%0Areset', {}),
    ],
)
def test_no_text_forges_a_field_or_a_line(
    site: Site, caplog: pytest.LogCaptureFixture, method: str, path: str, keywords: dict[str, Any]
) -> None:
    caplog.set_level(logging.INFO, LOGGER)

    site.call(method, path, JSON, **keywords)

    [line] = [each.getMessage() for each in caplog.records if each.name == LOGGER]
    assert line.isascii()
    assert line.isprintable()
    names = [name for name, _ in FIELD.findall(line)]
    assert len(names) == len(set(names))
    assert parsed(line)["user"] == "-"


def test_no_user_name_forges_a_line(guarded: Site, lines: Lines) -> None:
    name = 'eve" user="admin"\nchange'

    ask(guarded, "POST", "/reset", basic(name, "guess"))

    assert [each["user"] for each in lines()] == [name]


def test_a_long_text_is_cut(site: Site, lines: Lines) -> None:
    ask(site, "POST", "/snapshot", JSON, form={"label": "a" * 1000})

    assert [each["label"] for each in lines()] == ["a" * 200 + "..."]


def test_the_password_is_in_no_line(guarded: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    ask(guarded, "POST", "/reset", ADMIN)
    ask(guarded, "POST", "/reset", basic("admin", "hunter2"))

    assert len(caplog.records) == 3  # the wrong password has a line of its own
    assert "secret" not in caplog.text
    assert "hunter2" not in caplog.text
    assert basic("admin", "hunter2")["Authorization"].split()[1] not in caplog.text


# Where it goes


def test_the_logger_leaves_all_to_the_applications_configuration() -> None:
    logger = logging.getLogger(LOGGER)

    assert (logger.level, logger.handlers, logger.propagate) == (logging.NOTSET, [], True)


def test_lines_go_to_a_file_by_what_the_page_on_security_says(
    guarded: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [script] = re.findall(r"```python\n(.+?)```", PAGE.read_text(encoding="utf-8"), re.S)
    logger = logging.getLogger(LOGGER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logger, "handlers", [])

    exec(script, {})
    try:
        ask(guarded, "POST", "/reset", ADMIN)
    finally:
        logger.setLevel(logging.NOTSET)
        logger.handlers[0].close()

    [line] = (tmp_path / "coverage-audit.log").read_text(encoding="utf-8").splitlines()
    assert parsed(line) == {"change": "reset", "user": "admin", **DONE}


def test_the_example_of_the_page_on_security_is_such_a_line() -> None:
    [line] = re.findall(r"^change=reset .*$", PAGE.read_text(encoding="utf-8"), re.M)

    assert parsed(line).keys() == {"change", "user", *DONE}


def test_a_log_that_raises_spoils_no_change(
    guarded: Site, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            raise OSError("no syslog")

    logger = logging.getLogger(LOGGER)
    monkeypatch.setattr(logger, "filters", [Broken()])

    assert ask(guarded, "POST", "/reset", ADMIN).status == 200
