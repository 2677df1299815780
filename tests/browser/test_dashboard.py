"""The dashboard as somebody with a browser uses it, wide and narrow."""

import re
from pathlib import Path

import pytest

playwright_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright_api.expect


def press(page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def notice(page):
    return page.get_by_role("status")


def too_wide(page) -> list[str]:
    """What makes the page wider than its window, if anything does."""
    page.wait_for_load_state("load")  # the stylesheet included
    return page.evaluate(
        """() => document.documentElement.scrollWidth <= window.innerWidth ? [] :
        [...document.querySelectorAll("body, body *")]
          .filter(each => each.getBoundingClientRect().right > window.innerWidth)
          .map(each => `${each.tagName} ${each.className} ${each.getBoundingClientRect().right}`)
          .concat(`the page: ${document.documentElement.scrollWidth}`)"""
    )


def test_before_the_first_refresh_it_says_how_to_get_a_report(page, shop) -> None:
    page.goto(shop.dashboard)

    expect(page.get_by_text("There is no report yet")).to_be_visible()
    expect(page.get_by_role("button", name="Make the first report")).to_be_visible()
    assert too_wide(page) == []


def test_the_button_makes_a_report_of_both_workers(page, shop) -> None:
    page.goto(shop.dashboard)

    press(page, "Make the first report")

    expect(notice(page)).to_have_text(re.compile("The report is refreshed"))
    expect(page.get_by_text("by 2 workers")).to_be_visible()
    expect(page.get_by_role("region", name="Least executed files")).to_contain_text("shop/sales.py")
    assert page.url.startswith(shop.dashboard)
    assert too_wide(page) == []


def test_the_figures_shown_are_those_of_the_files_endpoint(page, shop) -> None:
    shop.client.open("/product/lamp")
    page.goto(shop.dashboard)
    press(page, "Make the first report")

    expect(notice(page)).to_be_visible()

    names, figures = (page.locator(f"dl.figures {tag}").all_inner_texts() for tag in ("dt", "dd"))
    shown = dict(zip(names, figures, strict=True))

    files = shop.client.json("/debug/coverage/files")
    assert shown["Statements"] == str(sum(file["statements"] for file in files))
    assert shown["Executed"] == str(sum(file["covered"] for file in files))
    assert shown["Files"] == str(len(files))


def test_refresh_shows_what_has_run_since(page, shop) -> None:
    page.goto(shop.dashboard)
    press(page, "Make the first report")
    executed = page.locator("dl.figures div", has_text="Executed").locator("dd")
    before = int(executed.inner_text())

    shop.client.open("/admin/sales")
    page.reload()
    assert int(executed.inner_text()) == before
    press(page, "Refresh")

    expect(executed).not_to_have_text(str(before))
    assert int(executed.inner_text()) > before


def test_a_snapshot_keeps_its_label_and_its_report(page, shop) -> None:
    label = "before <b>the sale</b> & after"
    page.goto(shop.dashboard)
    page.get_by_label("Label").fill(label)
    press(page, "Take a snapshot")

    expect(notice(page)).to_have_text("The snapshot is taken.")
    row = page.get_by_role("region", name="Snapshots").locator("tbody tr")
    expect(row).to_have_count(1)
    expect(row).to_contain_text(label)
    assert too_wide(page) == []
    row.get_by_role("link", name="Source").click()
    expect(page.get_by_role("heading", name=re.compile("Coverage report"))).to_be_visible()


def test_deleting_a_snapshot_takes_it_off_the_list(page, shop) -> None:
    page.goto(shop.dashboard)
    page.get_by_label("Label").fill("short-lived")
    press(page, "Take a snapshot")

    page.get_by_role("button", name=re.compile("^Delete")).click()

    expect(notice(page)).to_have_text("The snapshot is deleted.")
    expect(page.get_by_text("short-lived")).to_have_count(0)
    assert shop.client.json("/debug/coverage/snapshots") == []


def test_the_source_opens_line_by_line_and_its_links_work(page, shop) -> None:
    shop.client.open("/search?q=tea")
    page.goto(shop.dashboard)
    press(page, "Make the first report")

    page.get_by_role("link", name="Source, line by line").click()
    page.get_by_role("link", name=re.compile(r"sales\.py")).first.click()

    expect(page.locator("#source")).to_contain_text("def best_sellers")
    expect(page.locator("#source p.mis").first).to_be_visible()
    page.wait_for_load_state("load")  # the script included
    page.keyboard.press("u")  # coverage.py's own script: up to the index
    expect(page).to_have_url(re.compile(r"/html/index\.html$"))


def test_the_filter_of_the_html_report_works(page, shop) -> None:
    page.goto(shop.dashboard)
    press(page, "Make the first report")
    page.get_by_role("link", name="Source, line by line").click()
    page.wait_for_load_state("load")  # the script included

    page.locator("#filter").fill("pricing")

    expect(page.locator("table.index tbody tr:visible")).to_have_count(1)


def test_reset_withdraws_the_report_and_counts_anew(page, shop) -> None:
    shop.client.open("/admin/sales")
    page.goto(shop.dashboard)
    press(page, "Make the first report")

    press(page, "Reset")

    expect(notice(page)).to_have_text(re.compile("Everything is forgotten"))
    expect(page.get_by_text("There is no report yet")).to_be_visible()
    assert too_wide(page) == []


def test_other_formats_are_one_link_away(page, shop) -> None:
    page.goto(shop.dashboard)
    press(page, "Make the first report")

    with page.expect_download() as download:
        page.get_by_role("link", name="Data file").click()
    page.get_by_role("link", name="Text", exact=True).click()

    assert Path(download.value.path()).read_bytes().startswith(b"SQLite format 3")
    expect(page.get_by_text("TOTAL")).to_be_visible()


def test_the_keyboard_reaches_every_button_and_shows_where_it_is(page, shop) -> None:
    page.goto(shop.dashboard)

    page.keyboard.press("Tab")

    focused = page.locator(":focus")
    expect(focused).to_have_text("Make the first report")
    assert focused.evaluate("element => getComputedStyle(element).outlineStyle") == "solid"


def test_without_data_it_says_so_and_offers_nothing_that_is_not_there(
    page, unmeasured_address
) -> None:
    page.goto(f"{unmeasured_address}/debug/coverage/")

    press(page, "Make the first report")

    expect(page.locator("dl.figures")).to_contain_text("no data yet")
    expect(page.locator("body")).not_to_contain_text("%")
    expect(page.get_by_role("link", name="Source, line by line")).to_have_count(0)
    assert too_wide(page) == []
