"""The dashboard's actions in a browser, with scripts and without."""

import re
from pathlib import Path

import pytest
from browsing import too_wide

playwright_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright_api.expect


def press(page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def make_report(page, shop) -> None:
    page.goto(shop.dashboard)
    press(page, "Make the first report")
    expect(notice(page)).to_have_text(re.compile("The report is refreshed"))


def notice(page):
    return page.locator("p.notice[role=status]")


def card(page, name: str):
    return page.locator("dl.figures > div").filter(
        has=page.locator("dt").get_by_text(name, exact=True)
    )


def test_before_the_first_refresh_it_says_how_to_get_a_report(page, shop) -> None:
    page.goto(shop.dashboard)

    expect(page.get_by_text("There is no report yet")).to_be_visible()
    expect(page.get_by_role("button", name="Make the first report")).to_be_visible()
    expect(page.get_by_role("link", name="Files")).to_have_count(0)
    assert too_wide(page) == []


def test_the_button_makes_a_report_of_both_workers(page, shop) -> None:
    make_report(page, shop)

    expect(page.get_by_text("by 2 workers")).to_be_visible()
    expect(card(page, "Workers")).to_contain_text("2")
    expect(page.get_by_role("region", name="Files with most unused code")).to_contain_text(
        "sales.py"
    )
    assert page.url.startswith(shop.dashboard)


def test_the_figures_shown_are_those_of_the_report(page, shop) -> None:
    shop.client.open("/product/lamp")

    make_report(page, shop)

    files = shop.client.json("/debug/coverage/files")
    sums = {key: sum(file[key] for file in files) for key in ("load", "runtime", "covered")}
    statements = sum(file["statements"] for file in files)
    unused = shop.client.json("/debug/coverage/functions?unused=1")
    expect(card(page, "Load coverage")).to_contain_text(f"{sums['load']} of {statements}")
    expect(card(page, "Executed")).to_contain_text(f"{sums['covered']} of {statements}")
    expect(card(page, "Runtime coverage")).to_contain_text(f"{sums['runtime']} of ")
    expect(card(page, "Functions never run")).to_contain_text(str(len(unused)))
    both = shop.client.json("/debug/coverage/functions?unused=runtime")
    at_load = f"{len(both) - len(unused)} ran at load only"
    expect(card(page, "Functions never run")).to_contain_text(at_load)
    expect(card(page, "Files")).to_contain_text(str(len(files)))
    of_files = [file["ran"] for file in files]
    expect(card(page, "Files")).to_contain_text(
        f"{of_files.count('never')} never ran; {of_files.count('at load only')} ran at load only"
    )


def test_refresh_shows_what_has_run_since(page, shop) -> None:
    make_report(page, shop)
    figure = card(page, "Runtime coverage").locator(".figure")
    before = figure.inner_text()

    shop.client.open("/admin/sales")
    page.reload()
    assert figure.inner_text() == before
    press(page, "Refresh")

    expect(figure).not_to_have_text(before)
    expect(notice(page)).to_be_visible()


@pytest.mark.parametrize("tab", ["Files", "Functions", "Snapshots", "Workers", "Health"])
def test_a_refresh_leads_back_to_the_page_it_was_asked_for_on(page, shop, tab: str) -> None:
    make_report(page, shop)
    page.get_by_label("Pages").get_by_role("link", name=tab).click()

    press(page, "Refresh")

    expect(notice(page)).to_have_text(re.compile("The report is refreshed"))
    expect(page.get_by_label("Pages").locator("[aria-current]")).to_have_text(tab)


def test_a_message_is_gone_after_a_reload(scripted, shop) -> None:
    make_report(scripted, shop)
    expect(scripted).not_to_have_url(re.compile("notice="))  # the script has seen it

    scripted.reload()

    expect(notice(scripted)).to_have_count(0)


def test_a_box_of_the_map_opens_its_file(page, shop) -> None:
    make_report(page, shop)
    page.wait_for_load_state("load")  # until the style is there, both maps are shown

    page.locator("svg.treemap:visible").get_by_role("link", name=re.compile(r"^sales\.py")).click()

    expect(page.get_by_role("region", name="Source")).to_contain_text("def best_sellers")
    page.wait_for_load_state("load")


def test_the_map_can_be_read_as_a_table(page, shop) -> None:
    make_report(page, shop)
    section = page.get_by_role("region", name="The code")

    section.get_by_text("Show as a table").click()

    expect(section.get_by_role("row", name=re.compile(r"sales\.py"))).to_be_visible()
    assert too_wide(page) == []


def test_a_line_is_drawn_from_the_second_report_on(page, shop) -> None:
    shop.client.json("/debug/coverage/refresh", method="POST")
    shop.forget()
    make_report(page, shop)
    region = page.get_by_role("region", name="Coverage over time")
    figure = card(page, "Runtime coverage").locator(".figure")
    before = figure.inner_text()
    shop.client.open("/admin/sales")
    press(page, "Refresh")
    expect(figure).not_to_have_text(before)

    region.get_by_text("Show as a table").click()

    first, second, third = region.locator("tbody tr").all_inner_texts()[:3]
    assert [each.split("\t")[1] for each in (first, second, third)] == [
        "refresh", "refresh", "reset"
    ]  # fmt: skip
    expect(region.locator("svg.chart:visible polyline.runtime").first).to_be_attached()


def test_a_snapshot_keeps_its_label_and_its_report(page, shop) -> None:
    label = "before <b>the sale</b> & after"
    page.goto(f"{shop.dashboard}snapshots")
    page.get_by_label("Label").fill(label)
    press(page, "Take a snapshot")

    expect(notice(page)).to_have_text("The snapshot is taken.")
    row = page.locator("#snapshots tbody tr")
    expect(row).to_have_count(1)
    expect(row).to_contain_text(label)
    assert too_wide(page) == []
    row.get_by_role("link", name="HTML", exact=True).click()
    expect(page.get_by_role("heading", name=re.compile("Coverage report"))).to_be_visible()


@pytest.mark.parametrize("name", ["Files", "Functions"])
def test_a_snapshot_has_pages_of_its_own(page, shop, name: str) -> None:
    shop.client.json("/debug/coverage/snapshot?label=kept", method="POST")
    page.goto(f"{shop.dashboard}snapshots")

    page.locator("#snapshots").get_by_role("link", name=name, exact=True).click()

    expect(page.locator(".snapshot")).to_contain_text("kept")
    expect(page.locator("#listing")).to_contain_text("sales.py")
    page.locator("#listing").get_by_role("link", name="sales.py").click()
    expect(page.get_by_role("region", name="Source")).to_contain_text("def best_sellers")
    page.wait_for_load_state("load")


@pytest.mark.parametrize(
    ("name", "begins"),
    [
        ("Data file", b"SQLite format 3"),
        ("LCOV", b"SF:"),
        ("XML", b"<?xml"),
        ("HTML (zip)", b"PK"),
    ],
)
def test_a_snapshot_opens_in_every_format(page, shop, name: str, begins: bytes) -> None:
    shop.client.json("/debug/coverage/snapshot?label=kept", method="POST")
    page.goto(f"{shop.dashboard}snapshots")
    page.get_by_text("More", exact=True).click()

    with page.expect_download() as download:
        page.get_by_role("link", name=name).click()

    assert begins in Path(download.value.path()).read_bytes()


def test_deleting_a_snapshot_asks_first(page, shop) -> None:
    shop.client.json("/debug/coverage/snapshot?label=short-lived", method="POST")
    page.goto(f"{shop.dashboard}snapshots")

    page.get_by_role("button", name=re.compile("^Delete the snapshot")).click()
    question = page.get_by_role("dialog", name="Delete this snapshot?")
    expect(question).to_contain_text("short-lived")
    question.get_by_role("button", name="Cancel").click()
    expect(question).to_be_hidden()
    assert len(shop.client.json("/debug/coverage/snapshots")) == 1

    page.get_by_role("button", name=re.compile("^Delete the snapshot")).click()
    question.get_by_role("button", name="Delete").click()

    expect(notice(page)).to_have_text("The snapshot is deleted.")
    expect(page.get_by_text("short-lived")).to_have_count(0)
    assert shop.client.json("/debug/coverage/snapshots") == []


def test_two_reports_are_compared_line_by_line(page, shop) -> None:
    shop.client.json("/debug/coverage/snapshot?label=before", method="POST")
    shop.client.open("/admin/sales")
    shop.client.json("/debug/coverage/refresh", method="POST")
    page.goto(f"{shop.dashboard}snapshots")

    press(page, "Compare A with B")

    expect(page.get_by_role("heading", name="Two reports compared")).to_be_visible()
    row = page.get_by_role("row", name=re.compile(r"sales\.py"))
    expect(row.locator(".side-a")).to_contain_text("none")
    expect(row.locator(".side-b")).to_contain_text(re.compile(r"\d+ lines?: \d+"))
    assert too_wide(page) == []


def test_reset_asks_first_then_withdraws_the_report_and_counts_anew(page, shop) -> None:
    shop.client.open("/admin/sales")
    make_report(page, shop)

    press(page, "Reset…")
    question = page.get_by_role("dialog", name="Reset coverage?")
    expect(question).to_contain_text("is forgotten, in every worker, and the report")
    page.keyboard.press("Escape")
    expect(question).to_be_hidden()
    assert shop.client.json("/debug/coverage/files")
    press(page, "Reset…")
    if not page.locator("html.scripted").count():
        page.keyboard.press("Tab")
    expect(question.get_by_role("button", name="Cancel")).to_be_focused()
    question.get_by_role("button", name="Reset").click()

    expect(notice(page)).to_have_text(re.compile("Coverage is reset"))
    expect(page.get_by_text("There is no report yet")).to_be_visible()
    assert too_wide(page) == []


def test_pause_and_resume_reach_every_worker(page, shop) -> None:
    page.goto(f"{shop.dashboard}workers")

    press(page, "Pause")

    expect(notice(page)).to_have_text(re.compile("Measuring is paused"))
    expect(page.locator("#workers .state")).to_have_text(["paused", "paused"])
    press(page, "Resume")
    expect(notice(page)).to_have_text("Measuring is resumed.")
    expect(page.locator("#workers .state")).to_have_text(["measuring", "measuring"])


def test_every_worker_is_listed_with_its_server_core_and_requests(page, shop) -> None:
    known = {each["pid"]: each for each in shop.client.json("/debug/coverage/workers")["workers"]}

    page.goto(f"{shop.dashboard}workers")

    rows = page.locator("#workers tbody tr")
    expect(rows).to_have_count(2)
    for pid, worker in known.items():
        row = rows.filter(has_text=str(pid))
        expect(row).to_contain_text(re.compile("gunicorn"))
        expect(row).to_contain_text(worker["core"])
        expect(row).to_contain_text(worker["host"])
        assert worker["requests"] >= 1
    assert too_wide(page) == []


def test_health_says_what_is_the_matter_and_what_to_do(page, shop) -> None:
    page.goto(f"{shop.dashboard}health")
    expect(page.get_by_text("No problems found.")).to_be_visible()

    press(page, "Pause")

    diagnosis = page.locator("article.diagnosis").filter(has_text="paused")
    expect(diagnosis).to_contain_text("What to do:")
    press(page, "Resume")
    expect(page.get_by_text("No problems found.")).to_be_visible()
    assert too_wide(page) == []


def test_coverages_html_opens_line_by_line_and_its_links_work(scripted, shop) -> None:
    shop.client.open("/search?q=tea")
    make_report(scripted, shop)

    scripted.get_by_role("link", name="coverage.py's HTML").click()
    scripted.get_by_role("link", name=re.compile(r"sales\.py")).first.click()

    expect(scripted.locator("#source")).to_contain_text("def best_sellers")
    expect(scripted.locator("#source p.mis").first).to_be_visible()
    scripted.wait_for_load_state("load")  # the script included
    scripted.keyboard.press("u")  # coverage.py's own script: up to the index
    expect(scripted).to_have_url(re.compile(r"/html/index\.html$"))


def test_the_filter_of_the_html_report_works(scripted, shop) -> None:
    make_report(scripted, shop)
    scripted.get_by_role("link", name="coverage.py's HTML").click()
    scripted.wait_for_load_state("load")  # the script included

    scripted.locator("#filter").fill("pricing")

    expect(scripted.locator("table.index tbody tr:visible")).to_have_count(1)


def test_other_formats_are_one_link_away(page, shop) -> None:
    make_report(page, shop)

    with page.expect_download() as download:
        page.get_by_role("link", name="Data file").click()
    page.get_by_role("link", name="Text", exact=True).click()

    assert Path(download.value.path()).read_bytes().startswith(b"SQLite format 3")
    expect(page.get_by_text("TOTAL")).to_be_visible()


def test_without_data_it_says_so_and_offers_nothing_that_is_not_there(
    page, unmeasured_address
) -> None:
    page.goto(f"{unmeasured_address}/debug/coverage/")

    press(page, "Make the first report")

    expect(page.locator("dl.figures")).to_contain_text("no data yet")
    expect(page.locator("body")).not_to_contain_text("%")
    expect(page.get_by_role("link", name="coverage.py's HTML")).to_have_count(0)
    assert too_wide(page) == []
