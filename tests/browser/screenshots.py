"""Take the screenshots of the dashboard that the documentation shows.

    python tests/browser/screenshots.py docs/images

Serves the demo's shop, sends its customers in, and writes dashboard.png; with --all also one for
each page, each width and each colour scheme.
"""

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parent / "support"))

from browsing import CHROMIUM, SIZES, Windows, launch

from wsgi_coverage.demo import traffic
from wsgi_coverage.demo.server import ShopServer, bind

PAGES = {
    "dashboard": "",
    "files": "files?view=list",
    "functions": "functions?unused=1",
    "source": "source/app.py",
    "source-of-a-label": "source/app.py?context=buys%20a%20lamp&line=90#L90",
    "labels": "contexts",
    "label": "contexts/buys%20a%20lamp",
    "files-of-a-label": "files?view=list&context=buys%20a%20lamp",
    "functions-of-a-label": "functions?context=buys%20a%20lamp",
    "labels-compared": "diff?a=context%3Abuys%20a%20lamp&b=context%3Ahas%20a%20code",
    "snapshots": "snapshots",
    "workers": "workers",
    "health": "health",
}
EVERY = 4  # requests between two refreshes, so that there is a line to be drawn
LAST = 60  # requests; from then on customers do what others have done


def main() -> int:
    parser = argparse.ArgumentParser(description="Take the screenshots of the dashboard.")
    parser.add_argument("folder", type=Path, help="where they go")
    parser.add_argument("--all", action="store_true", help="each page, width and colour scheme")
    arguments = parser.parse_args()
    if CHROMIUM is None:
        print("there is no chromium", file=sys.stderr)
        return 1
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        listening = stack.enter_context(bind(0))
        server = stack.enter_context(ShopServer(listening, folder, 2))
        let_customers_in(server.address)
        browser = launch(stack.enter_context(sync_playwright()))
        windows = Windows(browser)
        dashboard = f"{server.address}/debug/coverage/"
        take(windows, dashboard, arguments.folder / "dashboard.png")
        for name, path in PAGES.items() if arguments.all else ():
            for size in SIZES:
                for scheme in ("light", "dark"):
                    picture = arguments.folder / f"{name}-{size}-{scheme}.png"
                    take(windows, dashboard + path, picture, size=size, scheme=scheme)
        browser.close()
    return 0


def let_customers_in(address: str) -> None:
    client = traffic.Browser(address)
    client.open("/")
    client.json("/debug/coverage/refresh", method="POST")
    for number in traffic.drive(address):
        if number == LAST // 3:
            client.json("/debug/coverage/snapshot?label=Before+the+spring+sale", method="POST")
        elif number < LAST and number % EVERY == 0:
            client.json("/debug/coverage/refresh", method="POST")
    client.json("/debug/coverage/refresh", method="POST")


def take(windows: Windows, address: str, path: Path, **window: str) -> None:
    with windows.silent_page(**window) as page:
        page.goto(address)
        page.screenshot(path=path, full_page=True)
    print(path)


if __name__ == "__main__":
    sys.exit(main())
