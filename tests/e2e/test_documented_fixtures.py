"""The fixture of Playwright Test in docs/how-to/who-ran-it.md, run as it stands there by Node."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

pytestmark = pytest.mark.skipif(sys.version_info < (3, 12), reason="needs sys.monitoring")

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "who-ran-it.md"
DASHBOARD = "/debug/coverage"
RUNNER = "@playwright/test"
INSTALL = ("install", "--no-save", "--ignore-scripts", "--fetch-retries=0", f"{RUNNER}@1")
TIMEOUT = 60  # seconds
FLAGS = [
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--no-first-run", "--disable-quic", "--disable-dev-shm-usage"),
]
# The first two run at the same time: a request of each waits for the other's.
TESTS = """
import { test, expect } from './fixtures';

const get = (page, url, headers) => page.evaluate(
  asked => fetch(asked.url, asked).then(answer => answer.text()), { url, headers });

test.describe('a page', () => {
  test('and what it fetches', async ({ page }) => {
    await page.goto('/r0');
    await expect(page.locator('body')).toHaveText('0');
    expect(await get(page, '/r1', { 'X-Meet': '1' })).toBe('1');
    expect(await get(page, process.env.ELSEWHERE)).toBe('elsewhere');
  });
});

test('in another tab: é > 你, 100 %', async ({ page, context }) => {
  await page.goto('/r2');
  expect(await get(page, '/r3', { 'X-Meet': '1' })).toBe('3');
  const tab = await context.newPage();
  await tab.goto('/r4');
  expect(await get(tab, process.env.ELSEWHERE)).toBe('elsewhere');
});

test('😀'.repeat(300), async ({ page }) => {
  await page.goto('/r5');
});

test('with a route of its own', async ({ page, baseURL }) => {
  await page.route('**/r7', route => route.fallback({ url: `${baseURL}r8` }));
  await page.goto('/r6');
  expect(await get(page, '/r7')).toBe('8');
  expect(await (await page.request.get('/r9')).text()).toBe('9');
  await page.route('**/r10', route => route.continue());
  expect(await get(page, '/r10')).toBe('10');
});
"""


@pytest.fixture
def runner(tmp_path):
    """A folder in which Playwright Test is installed."""
    for program in ("chromium", "node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program}")
    folder = tmp_path / "suite"
    folder.mkdir()
    try:
        done = subprocess.run(
            ["npm", *INSTALL],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm did not bring {RUNNER} within {TIMEOUT} s")
    if done.returncode:
        pytest.skip(f"npm cannot bring {RUNNER}: {done.stderr.strip().splitlines()[:1]}")
    return folder


@pytest.fixture
def elsewhere():
    """Another host, which any page may ask: its address, and the headers of all requests to it."""
    seen: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(200)
            self.send_header("Access-Control-Allow-Origin", "*")
            self.send_header("Content-Length", "9")
            self.end_headers()
            self.wfile.write(b"elsewhere")

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with serving(Handler) as address:
        yield address, seen


@contextlib.contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def test_parallel_workers_of_playwright_label_their_pages(
    project, routes, password, runner, elsewhere
):
    routes.write(project, early=True, meeting=2)
    options = ("-w", "1", "--threads", "8", "served:application")
    env = {**password, "WSGI_COVERAGE_CONTEXTS": "header"}
    server = project.gunicorn(*options, env=env)
    other, asked = elsewhere
    [fixtures] = re.findall(r"^```js\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)
    (runner / "fixtures.js").write_text(fixtures, "utf-8")
    (runner / "shop.spec.js").write_text(TESTS, "utf-8")
    (runner / "playwright.config.js").write_text(f"module.exports = {json.dumps(config(server))};")

    done = subprocess.run(
        ["node", f"node_modules/{RUNNER}/cli.js", "test"],
        cwd=runner,
        env={**os.environ, "ELSEWHERE": other},
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * TIMEOUT,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout
    server.refresh()
    assert paths(server, routes) == {
        "shop.spec.js > a page > and what it fetches": {"/r0", "/r1"},
        "shop.spec.js > in another tab: é > 你, 100 %": {"/r2", "/r3", "/r4"},
        f"shop.spec.js > {'😀' * 185}": {"/r5"},
        "shop.spec.js > with a route of its own": {"/r6", "/r8"},
    }
    assert len(asked) == 2
    assert not {"x-coverage-context", "baggage"} & {name for headers in asked for name in headers}


def config(server: Any) -> dict[str, Any]:
    """The configuration of Playwright: two workers, and the Chromium that is here."""
    launch = {"executablePath": shutil.which("chromium"), "chromiumSandbox": False, "args": FLAGS}
    return {
        "fullyParallel": True,
        "workers": 2,
        "reporter": "line",
        "use": {"baseURL": f"http://127.0.0.1:{server.port}/", "launchOptions": launch},
    }


def paths(server: Any, routes: Any) -> dict[str, set[str]]:
    """The routes that ran, by label."""
    known = {line: path for path, line in routes.bodies.items()}
    found = {}
    for each in server.get(f"{DASHBOARD}/contexts").json():
        label = quote(each["label"], safe="")
        files = server.get(f"{DASHBOARD}/contexts/{label}").json()["files"]
        found[each["label"]] = {known[line] for file in files for line in file["lines"]}
    return found
