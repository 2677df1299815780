"""`pytest --wsgi-coverage URL`: each test has the lines that its requests ran, by any client."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from typing import Any
from urllib.parse import quote

import pytest

DASHBOARD = "/debug/coverage"
NO_LABELS = sys.version_info < (3, 12)
pytestmark = pytest.mark.skipif(NO_LABELS, reason="needs sys.monitoring")
FLAGS = ("--no-sandbox", "--disable-dev-shm-usage")
TESTS = """
import http.client
import os
import threading
import urllib.request

import pytest

PORT = int(os.environ["PORT"])
ROOT = f"http://127.0.0.1:{PORT}"


def get(path):
    with urllib.request.urlopen(f"{ROOT}{path}") as answer:
        return answer.read().decode()


@pytest.fixture
def prepared():
    get("/r5")


def test_urllib(prepared):
    assert get("/r0") == "0"


@pytest.mark.parametrize("name", ["é", "x" * 300], ids=["é", "x" * 300])
def test_parameters(name):
    get("/r1")


def test_http_client_in_a_thread():
    def ask():
        connection = http.client.HTTPConnection("127.0.0.1", PORT)
        connection.request("GET", "/r2")
        assert connection.getresponse().read() == b"2"
        connection.close()

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()


def test_requests():
    requests = pytest.importorskip("requests")
    assert requests.get(f"{ROOT}/r3").text == "3"


def test_httpx():
    httpx = pytest.importorskip("httpx")
    assert httpx.get(f"{ROOT}/r4").text == "4"
    with httpx.Client() as client:
        client.get(f"{ROOT}/r6")


def test_by_hand(coverage_label):
    # By another name, so it is not labelled without the fixture.
    connection = http.client.HTTPConnection("localhost", PORT)
    connection.request("GET", "/r7", headers=coverage_label.headers)
    connection.getresponse().read()
    connection.close()


def test_by_hand_and_by_itself(coverage_label):
    request = urllib.request.Request(f"{ROOT}/r8", headers=coverage_label.headers)
    urllib.request.urlopen(request).close()


def test_nothing():
    pass
"""
PAGES = """
import os

from playwright.async_api import async_playwright
from playwright.sync_api import sync_playwright

ROOT = f"http://127.0.0.1:{os.environ['PORT']}"
LAUNCH = {"executable_path": os.environ["CHROMIUM"], "args": os.environ["FLAGS"].split()}


def test_pages():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**LAUNCH)
        page = browser.new_page()
        page.goto(f"{ROOT}/r8")
        assert page.inner_text("body") == "8"
        page.evaluate("fetch('/r9').then(answer => answer.text())")
        browser.close()


def test_async_pages():
    import asyncio

    async def visit():
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(**LAUNCH)
            page = await (await browser.new_context()).new_page()
            await page.goto(f"{ROOT}/r10")
            await browser.close()

    asyncio.run(visit())
"""


@pytest.fixture
def server(project, routes, password):
    routes.write(project, early=True)
    env = {**password, "WSGI_COVERAGE_CONTEXTS": "header"}
    return project.gunicorn("-w", "2", "--threads", "4", "served:application", env=env)


@pytest.fixture
def run_pytest(server, tmp_path):
    """Run some tests; returns what pytest printed."""

    def run(tests: str, *options: str, url: str | None = None, **env: str) -> str:
        folder = tmp_path / "tests"
        folder.mkdir()
        (folder / "test_shop.py").write_text(tests)
        (folder / "pytest.ini").write_text("[pytest]\n")
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly"]
        command += ["--wsgi-coverage", url or f"http://127.0.0.1:{server.port}", *options]
        done = subprocess.run(
            command,
            cwd=folder,
            env={
                **{k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")},
                "WSGI_COVERAGE_PASSWORD": "open sesame",
                "PORT": str(server.port),
                **env,
            },
            capture_output=True,
            text=True,
            timeout=120,
        )
        return done.stdout + done.stderr

    return run


def lines_of(server: Any, routes: Any) -> dict[str, set[str]]:
    """The routes that ran, by label."""
    paths = {line: path for path, line in routes.bodies.items()}
    found = {}
    for each in server.get(f"{DASHBOARD}/contexts").json():
        answer = server.get(f"{DASHBOARD}/contexts/{quote(each['label'], safe='')}").json()
        lines = {line for file in answer["files"] for line in file["lines"]}
        found[each["label"]] = {paths[line] for line in lines if line in paths}
    return found


@pytest.mark.parametrize("options", [(), ("-n", "3")], ids=["one process", "xdist"])
def test_each_test_has_its_own_lines_by_any_client(server, routes, run_pytest, options):
    text = run_pytest(TESTS, *options)

    found = lines_of(server, routes)
    wanted = {
        "test_urllib": {"/r0", "/r5"},
        "test_http_client_in_a_thread": {"/r2"},
        "test_by_hand": {"/r7"},
        "test_by_hand_and_by_itself": {"/r8"},
    }
    if importlib.util.find_spec("requests"):
        wanted["test_requests"] = {"/r3"}
    if importlib.util.find_spec("httpx"):
        wanted["test_httpx"] = {"/r4", "/r6"}
    got = {label.removeprefix("test_shop.py::"): paths for label, paths in found.items()}
    parameters = {label for label in got if label.startswith("test_parameters[")}
    assert {got.pop(label) == {"/r1"} for label in parameters} == {True}
    assert sorted(map(len, parameters))[1] == 188 - len("test_shop.py::")
    assert got == wanted
    assert re.search(r"^\d+ of \d+ tests ran lines of the application$", text, re.M), text
    assert re.search(
        r"tests for which nothing was recorded, by requests to \S+:\n +test_shop.py::test_nothing",
        text,
    )
    assert re.search(r"^ +\d+ of +\d+ +test_shop.py::test_urllib$", text, re.M), text


def test_pages_of_playwright_are_labelled(server, routes, run_pytest):
    pytest.importorskip("playwright")
    if shutil.which("chromium") is None:
        pytest.skip("needs chromium")

    text = run_pytest(PAGES, CHROMIUM=str(shutil.which("chromium")), FLAGS=" ".join(FLAGS))

    assert "2 passed" in text, text
    assert lines_of(server, routes) == {
        "test_shop.py::test_pages": {"/r8", "/r9"},
        "test_shop.py::test_async_pages": {"/r10"},
    }


def test_an_address_that_is_none_is_wrong_usage(run_pytest):
    text = run_pytest("def test_one(): pass", url="shop.example")

    assert "--wsgi-coverage shop.example: it is no address such as http://host:8000" in text


def test_a_dashboard_that_does_not_answer_is_said_and_tests_pass(run_pytest):
    text = run_pytest("def test_one(): pass", url="http://127.0.0.1:1")

    assert "1 passed" in text
    assert "did not say what the tests ran" in text
