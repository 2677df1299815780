"""Files and functions: filtered, sorted, in folders, copied; few of them and thousands."""

import csv
import io
import re
from pathlib import Path

import pytest
from browsing import too_wide

playwright_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright_api.expect


def search(page, text: str) -> None:
    """Type, and press the button where no script listens."""
    page.get_by_label("Filter").fill(text)
    button = page.get_by_role("button", name="Filter")
    if button.is_visible():
        button.click()


@pytest.fixture
def reported(shop):
    shop.client.open("/product/lamp")
    shop.client.json("/debug/coverage/refresh", method="POST")
    return shop


def names(page) -> list[str]:
    return page.locator("#listing tbody td.name, #listing .row:not(.head) .name").all_inner_texts()


@pytest.mark.parametrize("view", ["tree", "list"])
def test_every_file_is_there_and_opens_its_source(page, reported, view: str) -> None:
    page.goto(f"{reported.dashboard}files?view={view}")

    files = reported.client.json("/debug/coverage/files")
    assert sorted(names(page)) == sorted(file["file"].rpartition("/")[2] for file in files)
    assert too_wide(page) == []
    page.locator("#listing").get_by_role("link", name="sales.py").click()
    expect(page.get_by_role("region", name="Source")).to_contain_text("def best_sellers")
    page.wait_for_load_state("load")


@pytest.mark.parametrize("view", ["tree", "list"])
def test_the_filter_leaves_what_has_every_word(page, reported, view: str) -> None:
    page.goto(f"{reported.dashboard}files?view={view}")

    search(page, "RIC py")

    expect(page.locator("#count")).to_contain_text("1 file")
    assert names(page) == ["pricing.py"]
    page.get_by_role("link", name="all files").click()
    expect(page.locator("#count")).not_to_contain_text("1 file")


def test_what_is_filtered_can_be_linked_to(scripted, reported) -> None:
    scripted.goto(f"{reported.dashboard}files?view=list")
    search(scripted, "pricing")
    expect(scripted.locator("#count")).to_contain_text("1 file")

    scripted.reload()

    assert names(scripted) == ["pricing.py"]
    expect(scripted.get_by_label("Filter")).to_have_value("pricing")


@pytest.mark.parametrize(
    ("column", "key"),
    [
        ("Statements", "statements"),
        ("Load", "load"),
        ("Runtime", "runtime"),
        ("Runtime %", "runtime_percent"),
        ("Executed %", "percent"),
    ],
)
def test_the_list_is_sorted_by_any_column_both_ways(page, reported, column: str, key: str) -> None:
    files = [each for each in reported.client.json("/debug/coverage/files") if each["percent"]]
    figures = {each["file"].rpartition("/")[2]: each[key] for each in files}
    page.goto(f"{reported.dashboard}files?view=list")
    header = page.get_by_role("columnheader", name=column, exact=True)

    for direction in ("descending", "ascending"):
        header.get_by_role("link").click()
        expect(header).to_have_attribute("aria-sort", direction)
        shown = [figures[name] for name in names(page) if name in figures]
        assert shown == sorted(figures.values(), reverse=direction == "descending")


def test_a_header_keeps_the_keyboards_place_when_it_sorts(scripted, reported) -> None:
    scripted.goto(f"{reported.dashboard}files?view=list")
    header = scripted.get_by_role("link", name="Statements")
    header.focus()

    scripted.keyboard.press("Enter")

    expect(scripted.locator("th[aria-sort]")).to_have_text("Statements")
    expect(header).to_be_focused()


def test_functions_never_run_are_listed_by_file_and_since_when(page, reported) -> None:
    unused = reported.client.json("/debug/coverage/functions?unused=1")

    page.goto(f"{reported.dashboard}functions?unused=1")

    expect(page.locator("#count")).to_contain_text(f"{len(unused)} functions")
    expect(page.locator("#count")).to_contain_text(re.compile(r"never ran\s+since 20\d\d-"))
    assert sorted(names(page)) == sorted(each["name"] for each in unused)
    assert too_wide(page) == []
    page.get_by_role("link", name="best_sellers").click()
    expect(page).to_have_url(re.compile(r"source/sales\.py#L\d+$"))
    page.wait_for_load_state("load")


def test_what_ran_at_load_only_is_a_list_and_a_word_of_its_own(page, reported) -> None:
    found = reported.client.json("/debug/coverage/functions?unused=runtime")
    at_load = [each["name"] for each in found if each["ran"] == "at load only"]

    page.goto(f"{reported.dashboard}functions?unused=1")
    expect(page.get_by_role("link", name=at_load[0], exact=True)).to_have_count(0)
    page.get_by_role("link", name="Not at runtime").click()

    expect(page.locator("#count")).to_contain_text(f"{len(at_load)} ran at load only")
    for name in at_load:
        expect(page.locator("td.name", has_text=name)).to_contain_text("at load only")
    assert too_wide(page) == []
    page.get_by_role("link", name="All", exact=True).click()
    expect(page.locator("td.name", has_text=at_load[0])).to_contain_text("at load only")
    page.goto(f"{reported.dashboard}files?view=list")
    expect(page.locator("tr", has_text="sales.py")).to_contain_text("at load only 0 %")


def test_the_functions_are_one_press_away_from_csv(page, reported) -> None:
    page.goto(f"{reported.dashboard}functions?unused=1")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download CSV").click()
    text = Path(download.value.path()).read_text(encoding="utf-8")

    rows = list(csv.DictReader(io.StringIO(text, newline="")))

    unused = reported.client.json("/debug/coverage/functions?unused=1")
    assert {row["name"] for row in rows} == {each["name"] for each in unused}
    page.get_by_text("CSV to copy").click()
    expect(page.get_by_label("Functions as CSV")).to_have_value(text.replace("\r\n", "\n"))


def test_copy_puts_the_csv_on_the_clipboard(scripted, reported) -> None:
    scripted.context.grant_permissions(["clipboard-read", "clipboard-write"])
    scripted.goto(f"{reported.dashboard}functions?unused=1")

    scripted.get_by_role("button", name="Copy as CSV").click()

    expect(scripted.get_by_role("button", name="Copied")).to_be_visible()
    copied = scripted.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("file,name,line,statements,covered,runtime")
    assert "best_sellers" in copied


def test_a_folder_of_a_large_project_opens_where_it_is_and_on_a_page_of_its_own(
    page, large
) -> None:
    page.goto(f"{large}files")
    page.get_by_text(re.compile(r"^part0/")).click()

    page.locator("details[open]").get_by_text(re.compile(r"^inner1/")).first.click()

    expect(page.locator("#listing")).to_contain_text("module_0012.py")
    assert too_wide(page) == []


def test_a_large_list_has_pages_and_is_sorted_over_all_of_them(page, large) -> None:
    page.goto(f"{large}files?view=list&sort=file&q=module")
    expect(page.get_by_label("More")).to_contain_text("1 to 200 of 3,000")
    first = names(page)[0]

    page.get_by_role("link", name="Next").click()
    expect(page.get_by_label("More")).to_contain_text("201 to 400 of 3,000")
    assert first not in names(page)
    assert len(names(page)) == 200

    assert too_wide(page) == []


def test_a_large_map_has_few_boxes_and_leads_down_to_a_file(page, large) -> None:
    page.goto(large)
    boxes = page.locator("svg.treemap:visible")
    assert 20 <= boxes.locator("rect").count() <= 200
    assert too_wide(page) == []

    for name in (r"^part0:", r"^part0.inner0:", r"^part0.inner0.module_\d+\.py:"):
        boxes.get_by_role("link", name=re.compile(name)).first.focus()
        with page.expect_navigation():
            page.keyboard.press("Enter")

    expect(page.get_by_role("region", name="Source")).to_be_visible()


@pytest.mark.parametrize("path", ["files?view=list", "functions"])
def test_a_large_list_is_filtered_over_all_of_its_pages(page, large, path: str) -> None:
    page.goto(large + path)

    search(page, "module_29")  # the last hundred of three thousand

    expect(page.locator("#listing")).not_to_contain_text("module_00")
    expect(page.locator("#listing")).to_contain_text("module_29")
    shown = re.findall(r"module_(\d\d)", page.locator("#listing").inner_text())
    assert {*shown} == {"29"}
