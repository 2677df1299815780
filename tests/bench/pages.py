"""How soon the pages of 3,000 files are painted, and filtered, in Chromium.

    python tests/bench/pages.py

Milliseconds until the first content of each page is painted, and from the last key until the
filtered list is; the middle and the best of several rounds, on an idle machine.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "browser" / "support"))

from browsing import launch, silent_page
from large import serving_large
from playwright.sync_api import sync_playwright

ROUNDS = 10
LINES = 20_000
PAGES = ("", "files", "files?view=list", "functions", "functions?unused=1")
FILTERED = ("files", "files?view=list", "functions")
WORDS = ("module_1", "1", "part3 module", "", "inner2", "5", "part", "module_29")
PAINTED = """
() => new Promise(resolve => {
  const found = () => performance.getEntriesByName("first-contentful-paint")[0];
  const look = () => found() ? resolve(found().startTime) : requestAnimationFrame(look);
  look();
})
"""
FILTER = """
text => new Promise(resolve => {
  const list = document.getElementById("listing");
  const field = document.getElementById("filter");
  performance.mark("typed");
  new MutationObserver((_, observer) => {
    observer.disconnect();
    requestAnimationFrame(() => setTimeout(() => {
      performance.mark("shown");
      resolve(performance.measure("filtered", "typed", "shown").duration);
    }));
  }).observe(list.parentElement, { childList: true });
  field.value = text;
  field.dispatchEvent(new Event("input", { bubbles: true }));
})
"""


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        serving_large(Path(folder), LINES) as dashboard,
        sync_playwright() as playwright,
        launch(playwright) as browser,
        silent_page(browser) as page,
    ):
        for path in PAGES:
            times = []
            for _ in range(ROUNDS):
                page.goto(dashboard + path)
                times.append(page.evaluate(PAINTED))
            _tell(f"/{path} painted", times)
        for path in FILTERED:
            page.goto(dashboard + path)
            _tell(f"/{path} filtered", [page.evaluate(FILTER, word) for word in WORDS])
        times = []
        for _ in range(ROUNDS):
            page.goto(f"{dashboard}source/big/long.py")
            times.append(page.evaluate(PAINTED))
        _tell(f"/source of {page.locator('.lines > div').count():,} lines", times)


def _tell(what: str, times: list[float]) -> None:
    print(f"{what:28} {statistics.median(times):4.0f} ms, best {min(times):4.0f} (200)")


if __name__ == "__main__":
    main()
