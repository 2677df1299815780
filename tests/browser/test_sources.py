"""The source pages: where a click on any page leads, and the way through a long file."""

import pytest
from browsing import too_wide

playwright_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright_api.expect


@pytest.fixture
def reported(shop):
    shop.client.open("/product/lamp")
    shop.client.json("/debug/coverage/refresh", method="POST")
    return shop


def never_run(shop, name: str) -> list[int]:
    lines = shop.client.json(f"/debug/coverage/source/{name}")["lines"]
    return [each["line"] for each in lines if each["ran"] == "never"]


def shown(page, state: str) -> list[int]:
    rows = page.locator(f".lines > .{state}:not(.c)")
    return [int(each.removeprefix("L")) for each in rows.evaluate_all("all => all.map(e => e.id)")]


def test_from_the_overview_to_the_largest_function_that_never_ran_and_back(page, reported) -> None:
    page.goto(reported.dashboard)
    largest = reported.client.json("/debug/coverage/functions?unused=1")[0]

    page.get_by_role("link", name=largest["name"], exact=True).first.click()

    expect(page.locator(f"#L{largest['line']}")).to_be_in_viewport()
    assert largest["line"] + 1 not in shown(page, "r")
    assert too_wide(page) == []
    page.get_by_role("link", name="Overview").click()
    expect(page.get_by_role("heading", name="The code")).to_be_visible()


def test_lines_have_the_states_of_the_json(page, reported) -> None:
    page.goto(f"{reported.dashboard}source/app.py")

    assert shown(page, "n") == never_run(reported, "app.py")


def test_a_line_tells_more_of_itself_at_its_address(page, reported) -> None:
    page.goto(f"{reported.dashboard}source/app.py")
    line = never_run(reported, "app.py")[0]

    page.locator(f"#L{line} > a").first.click()

    expect(page.get_by_role("note")).to_contain_text(f"Line {line} never ran")
    expect(page.locator(f"#L{line}")).to_be_in_viewport()
    assert page.url.endswith(f"?line={line}#L{line}")


def test_an_arrow_leads_to_the_next_block_that_never_ran(page, reported) -> None:
    page.goto(f"{reported.dashboard}source/app.py")
    page.get_by_role("link", name="The first block that never ran").click()
    first = page.url

    page.locator(":target").get_by_role("link", name="Next block that never ran").click()
    assert page.url != first
    page.locator(":target").get_by_role("link", name="Previous block that never ran").click()

    assert page.url == first


def test_the_keys_n_and_p_go_from_block_to_block(scripted, reported) -> None:
    scripted.goto(f"{reported.dashboard}source/app.py")

    seen = []
    for key in "nnp":
        scripted.keyboard.press(key)
        seen.append(scripted.url.partition("#L")[2])

    starts = scripted.locator(".jump").evaluate_all("all => all.map(e => e.parentElement.id)")
    assert [f"L{each}" for each in seen] == [starts[0], starts[1], starts[0]]


def test_coverages_own_page_is_one_click_away_and_leads_back(page, reported) -> None:
    page.goto(f"{reported.dashboard}source/app.py")
    page.get_by_role("link", name="coverage.py's page").click()
    expect(page.locator("#source")).to_be_visible()

    page.get_by_role("link", name="Back to the dashboard").click()

    expect(page.get_by_role("heading", name="Files")).to_be_visible()
