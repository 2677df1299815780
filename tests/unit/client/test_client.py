"""The client against a stand-in for a dashboard: what it sends, and what it makes of answers."""

from __future__ import annotations

import errno
import io
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from wsgi_coverage.client import (
    BadAddressError,
    Client,
    FailedError,
    NotADashboardError,
    RefusedError,
    UnreachableError,
    VersionMismatchError,
)

DONE = {
    "complete": True, "workers": [], "summary": {}, "warnings": [], "id": "one", "label": None
}  # fmt: skip
DIFF = {"a": {}, "b": {}, "files": []}
FILE = {"file": "a.py", "statements": 1, "percent": 0.0}
METHODS = {
    "refresh": (lambda client: client.refresh(), "POST /cov/refresh", DONE),
    "refresh, later": (lambda client: client.refresh(wait=2.5), "POST /cov/refresh?wait=2.5", DONE),
    "reset": (lambda client: client.reset(), "POST /cov/reset", DONE),
    "pause": (lambda client: client.pause(wait=0), "POST /cov/pause?wait=0", DONE),
    "resume": (lambda client: client.resume(), "POST /cov/resume", DONE),
    "files": (lambda client: client.files(), "GET /cov/files", [FILE]),
    "functions": (lambda client: client.functions(), "GET /cov/functions", []),
    "functions unused": (
        lambda client: client.functions(unused=True, snapshot="a/b"),
        "GET /cov/snapshots/a%2Fb/functions?unused=1",
        [],
    ),
    "functions not at runtime": (
        lambda client: client.functions(unused="runtime"),
        "GET /cov/functions?unused=runtime",
        [],
    ),
    "snapshot": (lambda client: client.snapshot(), "POST /cov/snapshot", DONE),
    "snapshot of a test": (
        lambda client: client.snapshot(label="a b&c", reset=True, keep=False, detail="lines"),
        "POST /cov/snapshot?label=a+b%26c&reset=1&keep=0&detail=lines",
        DONE,
    ),
    "snapshots": (lambda client: client.snapshots(), "GET /cov/snapshots", [DONE]),
    "diff": (lambda client: client.diff("one"), "GET /cov/diff?a=one&b=current", DIFF),
    "openapi": (
        lambda client: client.openapi(), "GET /cov/openapi.json", {"openapi": "3.1.0", "paths": {}}
    ),
}  # fmt: skip


# What it sends


@pytest.mark.parametrize("name", METHODS)
def test_a_method_sends_one_request_and_answers_with_its_json(stand_in: Any, name: str) -> None:
    call, request, answer = METHODS[name]
    stand_in.put(request.partition("?")[0], (200, answer))

    assert call(Client(stand_in.url)) == answer

    assert stand_in.asked_for == [request]
    assert set(stand_in.accepted) == {"application/json"}


def test_a_report_is_text(stand_in: Any) -> None:
    stand_in.put("GET /cov/snapshots/one/report", (200, "Näme\n".encode()))

    assert Client(stand_in.url).report(snapshot="one") == "Näme\n"


def test_a_snapshot_is_deleted_by_delete(stand_in: Any) -> None:
    stand_in.put("DELETE /cov/snapshots/one", (200, {"status": "deleted"}))

    Client(stand_in.url).delete_snapshot("one")

    assert stand_in.asked_for == ["DELETE /cov/snapshots/one"]


def test_health_is_asked_once(stand_in: Any) -> None:
    assert Client(stand_in.url).health()["status"] == "ok"

    assert stand_in.asked == ["GET /cov/health"]


def test_the_dashboard_is_looked_for_once(stand_in: Any) -> None:
    stand_in.put("GET /cov/files", (200, []))
    client = Client(stand_in.url)

    client.files()
    client.files()

    assert stand_in.asked == ["GET /cov/health?wait=0", "GET /cov/files", "GET /cov/files"]


def test_nothing_is_posted_to_what_is_no_dashboard(stand_in: Any) -> None:
    stand_in.put("GET /cov/health", (200, {"status": "ok"}))

    with pytest.raises(NotADashboardError, match="is not a dashboard"):
        Client(stand_in.url).reset()

    assert [each for each in stand_in.asked if not each.startswith("GET")] == []


def test_at_a_sites_root_the_dashboard_is_found(stand_in: Any) -> None:
    stand_in.answers["GET /debug/coverage/health"] = stand_in.answers.pop("GET /cov/health")
    stand_in.put("POST /debug/coverage/reset", (200, DONE))
    client = Client(stand_in.root + "/")

    client.reset()

    assert client.url == f"{stand_in.root}/debug/coverage"


def test_what_the_application_answers_at_the_root_is_not_asked_for(stand_in: Any) -> None:
    stand_in.answers["GET /debug/coverage/health"] = stand_in.answers.pop("GET /cov/health")

    Client(stand_in.root).health()

    assert stand_in.asked == ["GET /debug/coverage/health"]


@pytest.mark.parametrize("end", ["", "/"])
def test_a_dashboard_at_the_root_itself_is_found(stand_in: Any, end: str) -> None:
    stand_in.answers["GET /health"] = stand_in.answers.pop("GET /cov/health")
    client = Client(stand_in.root + end)

    client.health()

    assert client.url == stand_in.root


def test_a_wrong_password_at_the_dashboard_below_the_root_is_said(stand_in: Any) -> None:
    stand_in.put("GET /debug/coverage/health", (401, {"error": "unauthorized", "message": "no"}))

    with pytest.raises(RefusedError, match=r"/debug/coverage/health refuses \(401\): no"):
        Client(stand_in.root).health()


# What goes wrong


@pytest.mark.parametrize(
    ("status", "answer", "error", "said"),
    [
        (401, {"error": "unauthorized", "message": "no, no"}, RefusedError, "(401): no, no"),
        (403, b"", RefusedError, "(403): give a user name and a password"),
        (429, {"error": "too-many-attempts", "message": "in 9 s"}, RefusedError, "(429): in 9 s"),
        (429, b"<html>", NotADashboardError, "answers 429"),
        (404, {"error": "not-found", "message": "no"}, VersionMismatchError, "another version"),
        (404, b"<html>", VersionMismatchError, "does not know"),
        (405, {"error": "method-not-allowed", "message": "no"}, VersionMismatchError, "another"),
        (404, {"error": "no-report", "message": "refresh"}, FailedError, "(no-report): refresh"),
        (507, {"error": "disk-full", "message": "no room"}, FailedError, "(disk-full): no room"),
        (502, b"<html>", NotADashboardError, "answers 502"),
        (302, b"", NotADashboardError, "redirects to http://other/: use that address"),
        (200, b"<html>", VersionMismatchError, "not understood"),
        (200, {"files": []}, VersionMismatchError, "not understood"),
        (200, [1], VersionMismatchError, "not understood"),
        (200, [{"file": "a.py"}], VersionMismatchError, "not understood"),
    ],
)  # fmt: skip
def test_an_answer_that_is_no_good_is_one_line(
    stand_in: Any, status: int, answer: Any, error: type[Exception], said: str
) -> None:
    stand_in.put("GET /cov/files", (status, answer))
    stand_in.headers = {"Location": "http://other/"}

    with pytest.raises(error) as raised:
        Client(stand_in.url).files()

    assert type(raised.value) is error
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_dashboards_error_keeps_its_slug_and_its_status(stand_in: Any) -> None:
    stand_in.put("POST /cov/reset", (409, {"error": "not-ours", "message": "somebody else's"}))

    with pytest.raises(FailedError) as raised:
        Client(stand_in.url).reset()

    assert (raised.value.error, raised.value.status) == ("not-ours", 409)


def test_no_redirect_is_followed(stand_in: Any) -> None:
    stand_in.put("POST /cov/reset", (307, b""))
    stand_in.headers = {"Location": f"{stand_in.url}/elsewhere"}

    with pytest.raises(NotADashboardError, match="redirects to"):
        Client(stand_in.url, password="s").reset()

    assert stand_in.asked_for == ["POST /cov/reset"]


@pytest.mark.parametrize("url", ["", "shop", "ftp://shop", "http://", "http://a:x", "http://a b"])
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(BadAddressError, match="must be an address such as"):
        Client(url)


# Trying again


def test_where_nobody_listens_anything_is_tried_again_with_longer_pauses(
    nobody: str, pauses: list[float]
) -> None:
    with pytest.raises(UnreachableError, match="Connection refused") as raised:
        Client(nobody, retries=3).reset()

    assert raised.value.arrived is False
    assert pauses == [0.2, 0.4, 0.8]


def test_a_read_whose_connection_breaks_is_sent_again(
    stand_in: Any, pauses: list[float], closing: Any
) -> None:
    stand_in.put("GET /cov/files", closing, closing, (200, []))

    assert Client(stand_in.url, retries=2).files() == []

    assert len(pauses) == 2


def test_a_read_is_sent_again_so_often_and_not_more(
    stand_in: Any, pauses: list[float], closing: Any
) -> None:
    stand_in.put("GET /cov/files", closing)

    with pytest.raises(UnreachableError, match="/cov/files cannot be reached"):
        Client(stand_in.url, retries=2).files()

    assert stand_in.asked_for == ["GET /cov/files"] * 3


@pytest.mark.parametrize("method", ["refresh", "reset", "snapshot"])
def test_a_change_that_may_have_arrived_is_not_sent_again(
    stand_in: Any, pauses: list[float], closing: Any, method: str
) -> None:
    stand_in.put(f"POST /cov/{method}", closing, (200, DONE))

    with pytest.raises(UnreachableError) as raised:
        getattr(Client(stand_in.url), method)()

    assert raised.value.arrived is True
    assert stand_in.asked_for == [f"POST /cov/{method}"]


def test_who_does_not_answer_in_time_is_not_asked_again(stand_in: Any, pauses: list[float]) -> None:
    done = threading.Event()
    stand_in.put("GET /cov/files", lambda handler: done.wait(10))

    with pytest.raises(UnreachableError, match=r"no answer within 0\.2 s"):
        Client(stand_in.url, timeout=0.2).files()
    done.set()

    assert stand_in.asked_for == ["GET /cov/files"]


def test_a_report_may_take_longer_than_the_time_limit(stand_in: Any) -> None:
    started = threading.Event()

    def late(handler: Any) -> None:
        started.wait(0.6)  # nobody sets it: three times the limit
        handler.reply(200, DONE)

    stand_in.put("POST /cov/refresh", late)

    assert Client(stand_in.url, timeout=0.2).refresh() == DONE


# Downloads


def test_a_download_is_in_the_file_with_the_bytes_and_the_mode_of_any_other(
    stand_in: Any, tmp_path: Path
) -> None:
    stand_in.put("GET /cov/export", (200, b"data" * 50_000))
    (tmp_path / "other").touch()

    size = Client(stand_in.url).export(tmp_path / "file", format="xml")

    assert stand_in.asked_for == ["GET /cov/export?format=xml"]
    assert (tmp_path / "file").read_bytes() == b"data" * 50_000
    assert size == 200_000
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "other"]


def test_a_download_that_breaks_off_is_tried_again_and_leaves_the_file_as_it_was(
    stand_in: Any, tmp_path: Path, pauses: list[float], halving: Any
) -> None:
    stand_in.put("GET /cov/export", halving)
    target = tmp_path / "file"
    target.write_bytes(b"before")

    with pytest.raises(UnreachableError, match="broke off 100000 bytes before its end"):
        Client(stand_in.url, retries=1).export(target)

    assert len(stand_in.asked_for) == 2
    assert target.read_bytes() == b"before"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_what_follows_a_download_that_broke_off_is_whole(
    stand_in: Any, tmp_path: Path, pauses: list[float], halving: Any
) -> None:
    stand_in.put("GET /cov/export", halving, (200, b"whole"))

    Client(stand_in.url).export(tmp_path / "file")

    assert (tmp_path / "file").read_bytes() == b"whole"


def test_a_download_into_an_open_file_is_not_tried_again(
    stand_in: Any, pauses: list[float], halving: Any
) -> None:
    stand_in.put("GET /cov/export", halving, (200, b"whole"))
    opened = io.BytesIO()

    with pytest.raises(UnreachableError, match="broke off"):
        Client(stand_in.url).export(opened)

    assert pauses == []


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ENOSPC])
def test_an_open_file_that_cannot_be_written_to_is_not_taken_for_the_connection(
    stand_in: Any, pauses: list[float], number: int
) -> None:
    class Unwritable(io.BytesIO):
        def write(self, chunk: Any) -> int:
            raise OSError(number, "of the file")

    stand_in.put("GET /cov/export", (200, b"whole"))

    with pytest.raises(OSError, match="of the file") as raised:
        Client(stand_in.url).export(Unwritable())

    assert raised.value.errno == number
    assert pauses == []


def test_a_device_is_written_to_and_stays_one(stand_in: Any, tmp_path: Path) -> None:
    stand_in.put("GET /cov/export", (200, b"whole"))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()

    Client(stand_in.url).export(pipe)
    reader.join()

    assert got == [b"whole"]
    assert pipe.is_fifo()


def test_an_ipv6_address_without_a_port_is_not_taken_for_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def create(address: tuple[str, int], *_: Any, **__: Any) -> None:
        asked.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr("socket.create_connection", create)
    for url in ("http://[::1]/", "https://[::1]:8443/"):
        with pytest.raises(UnreachableError):
            Client(url, retries=0).health()

    assert asked == [("::1", 80), ("::1", 8443)]


def test_a_link_stays_a_link_to_what_is_downloaded(stand_in: Any, tmp_path: Path) -> None:
    stand_in.put("GET /cov/export", (200, b"whole"))
    (tmp_path / "link").symlink_to("file")

    Client(stand_in.url).export(tmp_path / "link")

    assert (tmp_path / "link").readlink() == Path("file")
    assert (tmp_path / "file").read_bytes() == b"whole"


def test_an_error_is_not_downloaded(stand_in: Any, tmp_path: Path) -> None:
    stand_in.put("GET /cov/export", (409, {"error": "no-data", "message": "no data yet"}))

    with pytest.raises(FailedError, match="no data yet"):
        Client(stand_in.url).export(tmp_path / "file")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("way", ["folder", "no folder"])
def test_a_file_that_cannot_be_written_is_one_line(stand_in: Any, tmp_path: Path, way: str) -> None:
    stand_in.put("GET /cov/export", (200, b"whole"))
    target = tmp_path if way == "folder" else tmp_path / "none" / "file"

    with pytest.raises(Exception, match="cannot be written: ") as raised:
        Client(stand_in.url).export(target)

    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


# Progress


def test_whoever_asks_is_told_how_far_a_report_is(
    stand_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wsgi_coverage.client import progress

    monkeypatch.setattr(progress, "INTERVAL", 0.01)
    building = {"files_done": 3, "files_total": 7, "started_at": ""}
    _, health = stand_in.answers["GET /cov/health"]
    stand_in.put("GET /cov/health", (200, health), (200, {**health, "building": building}))
    told = threading.Event()

    def until_told(handler: Any) -> None:
        told.wait(10)
        handler.reply(200, DONE)

    stand_in.put("POST /cov/refresh", until_told)
    seen = []

    def progressing(done: int, total: int | None) -> None:
        seen.append((done, total))
        told.set()

    Client(stand_in.url).refresh(progress=progressing)

    assert set(seen) == {(3, 7)}
