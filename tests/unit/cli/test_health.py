"""`wsgi-coverage health` against a stand-in for a dashboard."""

import base64
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from stand_in_site import StandIn, serving

from wsgi_coverage import cli

Output = pytest.CaptureFixture[str]

WELL = {
    "status": "ok",
    "core": "sysmon",
    "core_reason": "the fastest that can measure this here",
    "coverage_version": "7.17.3",
    "branch": False,
    "data_folder": "/srv/shop",
    "workers": [
        {"host": "vm", "pid": 7, "state": "measuring", "published_at": "2026-11-21", "fresh": True}
    ],
    "problems": [],
    "diagnoses": [],
}
ILL = {
    **WELL,
    "status": "degraded",
    "workers": [
        *WELL["workers"],
        {"host": "vm", "pid": 8, "state": "silent", "published_at": None, "error": "no answer"},
    ],
    "problems": ["autosave failed"],
    "diagnoses": [{"name": "autosave-off", "text": "it is off", "remedy": "turn it on"}],
}


@pytest.fixture
def dashboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as server:
        server.answers.clear()
        yield server


@pytest.fixture
def well(dashboard: StandIn) -> StandIn:
    dashboard.answers["GET /cov/health"] = (200, WELL)
    return dashboard


def basic(credentials: str) -> str:
    return f"Basic {base64.b64encode(credentials.encode()).decode()}"


# What is shown


def test_where_all_is_well_the_exit_code_is_0(well: StandIn, capsys: Output) -> None:
    assert cli.main(["health", well.url]) == 0

    out, err = capsys.readouterr()
    assert out.splitlines() == [
        f"{well.url}: ok",
        "core:         sysmon (the fastest that can measure this here)",
        "coverage.py:  7.17.3",
        "measured:     statements",
        "data folder:  /srv/shop",
        "workers:      1",
        "  vm 7 measuring, published 2026-11-21",
    ]
    assert err == ""


def test_a_setting_that_somebody_has_set_is_shown_with_its_origin(
    dashboard: StandIn, capsys: Output
) -> None:
    settings = {
        "debug": {"value": True, "origin": "keyword debug"},
        "branch": {"value": None, "origin": "default"},
    }
    dashboard.answers["GET /cov/health"] = (200, {**WELL, "settings": settings})

    assert cli.main(["health", dashboard.url]) == 0

    assert capsys.readouterr().out.splitlines()[-1] == "setting:      debug = true (keyword debug)"


def test_what_is_the_matter_is_shown_with_its_remedy_and_the_exit_code_is_1(
    dashboard: StandIn, capsys: Output
) -> None:
    dashboard.answers["GET /cov/health"] = (200, ILL)

    assert cli.main(["health", dashboard.url]) == 1

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{dashboard.url}: degraded"
    assert lines[-5:] == [
        "  vm 8 silent, published nothing yet: no answer",
        "problems:",
        "  autosave failed",
        "autosave-off: it is off",
        "  Remedy: turn it on",
    ]


def test_what_is_out_of_date_in_the_report_is_shown(dashboard: StandIn, capsys: Output) -> None:
    report = {"refreshed_at": "2026-11-21", "outdated": ["1 source has changed"]}
    dashboard.answers["GET /cov/health"] = (200, {**WELL, "report": report})

    assert cli.main(["health", dashboard.url]) == 0

    assert "report:       1 source has changed" in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(("answer", "code"), [(WELL, 0), (ILL, 1)])
def test_json_is_the_dashboards_answer(
    dashboard: StandIn, capsys: Output, answer: dict[str, Any], code: int
) -> None:
    dashboard.answers["GET /cov/health"] = (200, answer)

    assert cli.main(["health", "--json", dashboard.url]) == code

    assert json.loads(capsys.readouterr().out) == answer


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_an_answer_can_do_nothing_to_the_terminal(
    dashboard: StandIn, capsys: Output, option: list[str]
) -> None:
    dashboard.answers["GET /cov/health"] = (200, {**WELL, "core_reason": "\x1b[2Jgone\r\nfine"})

    assert cli.main(["health", *option, dashboard.url]) == 0

    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\r" not in out
    assert "fine" in out


# Where it asks


@pytest.mark.parametrize("end", ["", "/"])
def test_the_address_may_end_in_a_slash(well: StandIn, end: str) -> None:
    assert cli.main(["health", f"{well.url}{end}"]) == 0

    assert well.asked == ["GET /cov/health"]


@pytest.mark.parametrize("end", ["", "/"])
@pytest.mark.parametrize(
    "own", [(404, b"nothing"), (405, b""), (200, {"status": "ok"}), (200, b"<html>"), (302, b"")]
)
def test_at_a_sites_root_the_dashboard_is_found_behind_whatever_its_own_health_says(
    dashboard: StandIn, capsys: Output, own: tuple[int, Any], end: str
) -> None:
    dashboard.answers |= {"GET /health": own, "GET /debug/coverage/health": (200, WELL)}

    assert cli.main(["health", f"{dashboard.root}{end}"]) == 0

    assert capsys.readouterr().out.startswith(f"{dashboard.root}/debug/coverage: ok\n")


# Who asks


@pytest.mark.parametrize(
    ("options", "environment", "sent"),
    [
        ([], {}, None),
        (["--password", "s"], {}, basic("admin:s")),
        (["--username", "eve", "--password", "ü:"], {}, basic("eve:ü:")),
        (["--username", "eve"], {}, None),
        ([], {"PASSWORD": "s"}, basic("admin:s")),
        ([], {"PASSWORD": "s", "USERNAME": "eve"}, basic("eve:s")),
        (["--password", "own"], {"PASSWORD": "s", "USERNAME": "eve"}, basic("eve:own")),
    ],
)
def test_credentials_come_from_options_and_else_from_the_environment(
    well: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    environment: dict[str, str],
    sent: str | None,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(f"WSGI_COVERAGE_{name}", value)

    assert cli.main(["health", *options, well.url]) == 0

    assert well.authorizations == [sent]


def test_credentials_may_stand_in_the_address_and_are_not_shown(
    well: StandIn, capsys: Output
) -> None:
    url = well.url.replace("http://", "http://eve:s%40fe@")

    assert cli.main(["health", url]) == 0

    assert well.authorizations == [basic("eve:s@fe")]
    assert "fe@" not in capsys.readouterr().out


def test_credentials_are_sent_nowhere_else(well: StandIn, capsys: Output) -> None:
    well.answers = {"GET /health": (302, b""), "GET /debug/coverage/health": (302, b"")}
    well.headers["Location"] = f"{well.root}/elsewhere"

    assert cli.main(["health", "--password", "s", well.root]) == 3

    assert well.asked == ["GET /debug/coverage/health", "GET /health"]
    assert f"redirects to {well.root}/elsewhere" in capsys.readouterr().err


# What goes wrong


@pytest.mark.parametrize(
    ("status", "answer", "code", "said"),
    [
        (401, {"error": "unauthorized", "message": "no credentials"}, 3, "(401): no credentials"),
        (403, b"", 3, "refuses (403): give a user name and a password"),
        (500, {"error": "internal", "message": "it broke"}, 1, "500 (internal): it broke"),
        (503, {"error": "not-measuring", "message": "no room"}, 1, "(not-measuring): no room"),
        (503, b"busy", 3, "answers 503"),
        (404, b"", 3, "there is no dashboard at"),
        (200, b"<html>", 3, "is not a dashboard"),
        (200, {"status": "ok"}, 3, "is not a dashboard"),
        (200, [1], 3, "is not a dashboard"),
        (200, {**WELL, "workers": 3}, 3, "is not a dashboard"),
        (200, {**WELL, "diagnoses": [{"name": "x"}]}, 3, "is not a dashboard"),
    ],
)
def test_what_cannot_be_shown_is_one_line_on_stderr(
    dashboard: StandIn, capsys: Output, status: int, answer: Any, code: int, said: str
) -> None:
    dashboard.answers["GET /cov/health"] = (status, answer)

    assert cli.main(["health", dashboard.url]) == code

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("wsgi-coverage: ")
    assert err.count("\n") == 1
    assert said in err


def test_a_server_that_is_not_there_is_exit_code_3(
    capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as taken:  # bound and not listening: a connection is refused
        taken.bind(("127.0.0.1", 0))

        assert cli.main(["health", f"http://127.0.0.1:{taken.getsockname()[1]}"]) == 3

    assert "cannot be reached: " in capsys.readouterr().err


def test_a_server_that_speaks_no_http_is_exit_code_3(
    capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=speak_nonsense, args=(server,))
        thread.start()

        assert cli.main(["health", f"http://127.0.0.1:{server.getsockname()[1]}"]) == 3
        thread.join()

    assert "cannot be reached: " in capsys.readouterr().err


def speak_nonsense(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(65_536)
        connection.sendall(b"220 mail\r\n\r\n")


@pytest.mark.parametrize(
    "url", ["", "shop", "ftp://shop", "http://", "http://shop:port", "http://shop/a b", "file:///x"]
)
def test_an_address_that_is_none_is_wrong_usage(url: str, capsys: Output) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["health", url])

    assert ended.value.code == 2
    assert "must be an address such as http://" in capsys.readouterr().err
