"""Every page in every kind of window: nothing to complain of, for axe and for the keyboard."""

from typing import Any

import pytest
from browsing import too_wide

playwright_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright_api.expect

PAGES = {
    "overview": "",
    "overview-folder": "?in=nothing",
    "files-tree": "files",
    "files-list": "files?view=list",
    "files-none": "files?q=nothing-is-called-that",
    "functions-unused": "functions?unused=1",
    "functions-all": "functions",
    "source": "source/app.py?line=87",
    "snapshots": "snapshots",
    "diff": "diff?a={snapshot}&b=current",
    "snapshot-files": "snapshots/{snapshot}/files?view=list",
    "workers": "workers",
    "health": "health",
}


@pytest.fixture
def furnished(measured_shop):
    """A shop with a report, a line to be drawn, and two snapshots; the id of the first."""
    shop = measured_shop
    taken = shop.client.json("/debug/coverage/snapshots")
    if [each["label"] for each in taken] != ["after", "before"]:
        shop.forget()
        shop.client.json("/debug/coverage/refresh", method="POST")
        shop.client.json("/debug/coverage/snapshot?label=before", method="POST")
        shop.client.open("/admin/sales")
        shop.client.json("/debug/coverage/refresh", method="POST")
        shop.client.json("/debug/coverage/snapshot?label=after", method="POST")
        taken = shop.client.json("/debug/coverage/snapshots")
    return shop, taken[-1]["id"]


def address(furnished, path: str) -> str:
    shop, snapshot = furnished
    return shop.dashboard + path.format(snapshot=snapshot)


@pytest.mark.parametrize(
    "window",
    [
        {"size": "wide", "scheme": "light"},
        {"size": "narrow", "scheme": "dark"},
        {"size": "wide", "scheme": "dark", "scripts": False},
        {"size": "narrow", "scheme": "light", "scripts": False},
    ],
    ids=["wide", "narrow", "wide-without-scripts", "narrow-without-scripts"],
)
@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES.keys())
def test_a_page_fits_its_window_and_is_silent(
    windows, furnished, window: dict[str, Any], path: str
) -> None:
    with windows.silent_page(**window) as page:
        answer = page.goto(address(furnished, path))

        assert answer.status == 200
        assert too_wide(page) == []
        expect(page.get_by_role("main")).to_be_visible()


@pytest.mark.parametrize(("size", "scheme"), [("wide", "dark"), ("narrow", "light")])
@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES.keys())
def test_axe_finds_no_violation(windows, furnished, size: str, scheme: str, path: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    # Axe is put into the page, which the page's policy does not allow.
    with windows.silent_page(size=size, scheme=scheme, bypass_csp=True) as page:
        page.goto(address(furnished, path))
        page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")

        found = axe.Axe().run(page)

    assert [violation["id"] for violation in found.response["violations"]] == [], (
        found.generate_report()
    )


def test_axe_finds_no_violation_in_a_question(windows, furnished, size: str, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    with windows.silent_page(size=size, scheme=scheme, bypass_csp=True) as page:
        page.goto(address(furnished, "snapshots"))
        page.get_by_role("button", name="Reset…").click()

        found = axe.Axe().run(page)

    assert found.response["violations"] == [], found.generate_report()


def test_an_error_has_a_page_that_axe_accepts(chromium, measured_shop, size: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    measured_shop.forget()
    context = chromium.new_context(bypass_csp=True)  # the console tells of every 404
    page = context.new_page()

    answer = page.goto(f"{measured_shop.dashboard}files")
    found = axe.Axe().run(page)
    page.get_by_role("button", name="Make the first report").click()

    assert answer.status == 404
    assert found.response["violations"] == [], found.generate_report()
    expect(page.get_by_text("The report is refreshed")).to_be_visible()
    context.close()


@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES.keys())
def test_the_keyboard_reaches_everything_and_shows_where_it_is(
    scripted, furnished, path: str
) -> None:
    scripted.goto(address(furnished, path))
    reachable = scripted.evaluate(
        """() => [...document.querySelectorAll("a[href], button, input, summary, textarea")]
          .filter(each => each.tabIndex >= 0 && each.checkVisibility() && !each.closest("[popover]")
            && each.type !== "radio").length"""
    )
    reached = scripted.evaluate_handle("new Set()")

    for _ in range(reachable + 10):
        scripted.keyboard.press("Tab")
        shows = scripted.evaluate(
            """reached => {
              const at = document.activeElement;
              if (at === document.body) return true;
              if (at.type !== "radio") reached.add(at);
              const style = getComputedStyle(at.closest("svg") ? at.querySelector("rect") : at);
              return style.outlineStyle === "solid" || style.strokeWidth === "3px";
            }""",
            reached,
        )
        assert shows, scripted.evaluate("document.activeElement.outerHTML")

    assert reached.evaluate("each => each.size") == reachable


def test_the_first_stop_of_the_keyboard_skips_to_the_content(scripted, furnished) -> None:
    scripted.goto(address(furnished, "files"))

    scripted.keyboard.press("Tab")
    expect(scripted.locator(":focus")).to_have_text("Skip to content")
    scripted.keyboard.press("Enter")
    scripted.keyboard.press("Tab")

    expect(scripted.locator("main :focus")).to_have_text("Folders")


def test_a_slash_goes_to_the_filter(scripted, furnished) -> None:
    scripted.goto(address(furnished, "files"))

    scripted.keyboard.press("/")

    expect(scripted.get_by_label("Filter")).to_be_focused()
    expect(scripted.get_by_label("Filter")).to_have_value("")


@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES.keys())
def test_every_figure_says_what_it_means_on_hover_and_below(scripted, furnished, path: str) -> None:
    scripted.goto(address(furnished, path))

    unexplained = scripted.evaluate(
        """() => [...document.querySelectorAll(
            "main thead th.number, main dl.figures:not(.sides) > div")]
          .filter(each => !each.title && !each.querySelector("[title]"))
          .map(each => each.textContent.trim())"""
    )

    assert [each for each in unexplained if each != "Line"] == []
