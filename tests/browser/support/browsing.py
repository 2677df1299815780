"""Chromium as these tests and the screenshots use it; and pages that have to stay silent."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright

CHROMIUM = shutil.which("chromium")
QUIET = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]
SIZES = {"wide": (1280, 844), "narrow": (390, 844)}
REPORT_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", event =>
  complain(`CSP: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`));
"""
FORGET = "() => { try { localStorage.clear(); sessionStorage.clear() } catch {} }"


def launch(playwright: Playwright) -> Browser:
    """A Chromium that talks to nobody but the server under test."""
    return playwright.chromium.launch(executable_path=CHROMIUM, chromium_sandbox=False, args=QUIET)


class Windows:
    """Windows of one browser, one of each kind: to open one takes longer than most tests."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._opened: dict[str, tuple[Page, list[str]]] = {}

    @contextlib.contextmanager
    def silent_page(self, **kind: Any) -> Iterator[Page]:
        """A page that has to stay silent: no console message, no error, no CSP violation.

        Nor may it ask anybody but its own server for anything.

        Args:
            kind: `size` (wide or narrow), `scheme` (light or dark), `scripts` (whether there are
                any), and what else a context of Playwright takes.
        """
        key = str(sorted(kind.items()))
        if key not in self._opened:
            self._opened[key] = self._open(**kind)
        page, complaints = self._opened[key]
        try:
            yield page
            page.unroute_all(behavior="ignoreErrors")
            if kind.get("scripts", True):  # coverage.py's pages keep their filter there
                page.evaluate(FORGET)
            page.goto("about:blank")
            page.context.clear_cookies()
            assert not complaints, complaints
        except BaseException:
            self._opened.pop(key)[0].context.close()
            raise

    def _open(
        self, *, size: str = "wide", scheme: str = "light", scripts: bool = True, **more: Any
    ) -> tuple[Page, list[str]]:
        complaints: list[str] = []
        width, height = SIZES[size]
        context = self._browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            java_script_enabled=scripts,
            **more,
        )
        context.set_default_timeout(10_000)
        if scripts:
            context.expose_function("complain", lambda text: complaints.append(text))
            context.add_init_script(REPORT_VIOLATIONS)
        page = context.new_page()

        def listen(message: ConsoleMessage) -> None:
            # Beside plain text a browser asks the application for an icon.
            if not message.location["url"].endswith("/favicon.ico"):
                complaints.append(f"console: {message.text} {message.location}")

        def check_host(address: str) -> None:
            if not address.startswith(("http://127.0.0.1:", "data:", "blob:")):
                complaints.append(f"request: {address}")

        page.on("console", listen)  # answers of 400 and above are told there too
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("request", lambda request: check_host(request.url))
        return page, complaints


def too_wide(page: Page) -> list[str]:
    """What makes the page wider than its window, if anything does."""
    page.wait_for_load_state("load")  # the stylesheet included
    found: list[str] = page.evaluate(
        """() => document.documentElement.scrollWidth <= window.innerWidth ? [] :
        [...document.querySelectorAll("body, body *")]
          .filter(each => each.getBoundingClientRect().right > window.innerWidth)
          .map(each => `${each.tagName} ${each.className} ${each.getBoundingClientRect().right}`)
          .concat(`the page: ${document.documentElement.scrollWidth}`)"""
    )
    return found
