"""Take the pictures of the dashboard that the documentation shows.

    python tests/browser/screenshots.py docs/images

Serves the demo's shop, sends its customers in, and writes dashboard.png; with --all also one for
each width and each colour scheme.
"""

import argparse
import contextlib
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from wsgi_coverage.demo import traffic
from wsgi_coverage.demo.server import Server, bind

QUIET = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]
SIZES = {"wide": (1280, 800), "narrow": (390, 844)}


def main() -> int:
    parser = argparse.ArgumentParser(description="Take the pictures of the dashboard.")
    parser.add_argument("folder", type=Path, help="where they go")
    parser.add_argument("--all", action="store_true", help="each width and colour scheme")
    arguments = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        print("there is no chromium", file=sys.stderr)
        return 1
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        listening = stack.enter_context(bind(0))
        server = stack.enter_context(Server(listening, folder, 2))
        for _ in traffic.drive(server.address):
            pass
        client = traffic.Browser(server.address)
        client.json("/debug/coverage/snapshot?label=Before+the+spring+sale", method="POST")
        client.json("/debug/coverage/refresh", method="POST")
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(
            executable_path=chromium, chromium_sandbox=False, args=QUIET
        )
        dashboard = f"{server.address}/debug/coverage/"
        take(browser, dashboard, arguments.folder / "dashboard.png", "wide", "light")
        for size in SIZES if arguments.all else ():
            for scheme in ("light", "dark"):
                path = arguments.folder / f"dashboard-{size}-{scheme}.png"
                take(browser, dashboard, path, size, scheme)
        browser.close()
    return 0


def take(browser: Browser, address: str, path: Path, size: str, scheme: str) -> None:
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page = context.new_page()
    page.goto(address)
    page.screenshot(path=path, full_page=True)
    context.close()
    print(path)


if __name__ == "__main__":
    sys.exit(main())
