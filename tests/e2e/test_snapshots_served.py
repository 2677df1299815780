"""Snapshots of a real server: as many as were asked for, their labels unchanged, other ids 404."""

from __future__ import annotations

import html
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, urlencode

import pytest

DASHBOARD = "/debug/coverage"
POSTS = 8
LABEL = (
    "it's \"quoted\"\r\n\tbroken\n<script>alert('x')</script> &amp; {{ 7*7 }} é 漢字 🎉 ../%2e\\"
)
LABEL += "x" * (500 - len(LABEL))
FORM = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
DISHONEST = [
    *("..", "../", "%2e%2e", "..%2f..%2fetc%2fpasswd", "../../../../etc/passwd", "%00"),
    *(".building-x", "20260101T000000.000000Z-00000000", "x" * 3000),
    *(
        "{id}%00",
        "{id}%0a",
        "{id}%2f..",
        "..%2f.flask-coverage-snapshots%2f{id}",
        "{id}.coveragex",
    ),
]
READERS = ["", "/report", "/files", "/export", "/html/", "/html/..%2fmeta.json", "/html/%00"]


@pytest.fixture
def server(project, routes, password):
    routes.write(project)
    options = ("-w", "2", "--worker-class", "gthread", "--threads", "4")
    server = project.gunicorn(*options, "served:application", env=password)
    server.wait_for_workers(2)
    server.get("/r0")
    return server


def test_posts_at_once_give_as_many_snapshots_with_ids_of_their_own(server):
    labels = [f"label {number}" for number in range(POSTS)]
    started = time.monotonic()

    with ThreadPoolExecutor(POSTS) as pool:
        paths = [f"{DASHBOARD}/snapshot?label={quote(label)}" for label in labels]
        answers = list(pool.map(server.post, paths))
    seconds = time.monotonic() - started

    print(f"{POSTS} snapshots in {seconds:.2f} s")
    assert {answer.status for answer in answers} == {200}
    taken = {answer.json()["id"]: answer.json()["label"] for answer in answers}
    assert sorted(taken.values()) == labels
    listed = server.get(f"{DASHBOARD}/snapshots").json()
    assert {each["id"]: each["label"] for each in listed} == taken
    times = [each["taken_at"] for each in listed]
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize("way", ["query", "form"])
def test_a_label_survives_unchanged_over_http_and_on_the_page(server, way):
    path, given = f"{DASHBOARD}/snapshot", urlencode({"label": LABEL})

    if way == "query":
        answer = server.post(f"{path}?{given}")
    else:
        answer = server.request("POST", path, headers=FORM, body=given.encode())

    assert (answer.status, answer.json()["label"]) == (200, LABEL)
    [listed] = server.get(f"{DASHBOARD}/snapshots").json()
    assert listed["label"] == LABEL
    page = server.get(f"{DASHBOARD}/snapshots?format=html").body.decode()
    assert LABEL in html.unescape(page)
    assert "<script>alert" not in page
    assert server.get(f"{DASHBOARD}/snapshots/{listed['id']}/report").status == 200


def test_an_id_that_no_snapshot_has_is_404_and_changes_nothing(server):
    identity = server.post(f"{DASHBOARD}/snapshot").json()["id"]
    before = server.get(f"{DASHBOARD}/snapshots").body
    ids = [each.replace("{id}", identity) for each in DISHONEST]

    answers = {
        (method, each, reader): server.request(method, f"{DASHBOARD}/snapshots/{each}{reader}")
        for each in ids
        for method, reader in [("DELETE", ""), *(("GET", reader) for reader in READERS)]
    }

    assert {key: a.status for key, a in answers.items() if a.status != 404} == {}
    assert {answer.json()["error"] for answer in answers.values()} <= {
        *("unknown-snapshot", "not-found"),
    }
    assert server.get(f"{DASHBOARD}/snapshots").body == before
    assert "Traceback" not in server.output


@pytest.mark.parametrize("page", ["..%2fmeta.json", "%00", "%2e%2e%2freport.txt", "x" * 300])
def test_a_page_of_a_snapshot_that_there_is_not_is_404(server, page):
    identity = server.post(f"{DASHBOARD}/snapshot").json()["id"]

    answer = server.get(f"{DASHBOARD}/snapshots/{identity}/html/{page}")

    assert (answer.status, answer.json()["error"]) == (404, "not-found")


def test_snapshots_are_combined_and_counted_by_whichever_worker_answers(server):
    one = server.post(f"{DASHBOARD}/snapshot").json()["id"]
    server.get("/r1")
    server.post(f"{DASHBOARD}/refresh")
    query = f"subtract=current&subtract={one}"

    made = server.post(f"{DASHBOARD}/snapshots?{query}&label=new").json()

    assert (made["operation"], [each["id"] for each in made["made_of"]]) == (
        "subtract",
        ["current", one],
    )
    difference = server.get(f"{DASHBOARD}/diff?a=current&b={one}").json()["files"]
    report = server.get(f"{DASHBOARD}/snapshots/{made['id']}/export?format=json").json()["files"]
    executed = [each["executed_lines"] for each in report.values() if each["executed_lines"]]
    assert executed == [each["only_a"]["lines"] for each in difference]
    for _ in range(4):
        metrics = server.get(f"{DASHBOARD}/metrics").text.splitlines()
        assert "wsgi_coverage_workers 2.0" in metrics
        assert "wsgi_coverage_report_complete 1.0" in metrics
