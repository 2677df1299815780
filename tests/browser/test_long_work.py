"""Work that takes long: a bar that moves, a page that follows it, an end with a message."""

import re

import pytest

playwright_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright_api.expect

STARTED = "2026-01-01T00:00:00+00:00"


@pytest.fixture
def held(scripted):
    """A page whose next refresh is held back, and is told of progress by the test."""

    class Held:
        route = None
        done: int | None = None

        def hold(self, route) -> None:
            self.route = route

        def tell(self, route) -> None:
            known = {"files_done": self.done, "files_total": 400, "started_at": STARTED}
            route.fulfill(json={"building": None if self.done is None else known})

    held = Held()
    scripted.route("**/refresh**", held.hold)
    scripted.route("**/building", held.tell)
    return held


def test_a_refresh_shows_a_bar_that_moves_and_ends_in_a_message(scripted, shop, held) -> None:
    scripted.goto(shop.dashboard)
    bar = scripted.get_by_role("progressbar", name="Report being made")

    scripted.get_by_role("button", name="Make the first report").click()

    expect(bar).to_be_visible()
    expect(scripted.get_by_text("Combining the workers' data")).to_be_visible()
    for done in (100, 300):
        held.done = done
        expect(bar).to_have_attribute("value", str(done))
        expect(bar).to_have_attribute("max", "400")
        expect(scripted.get_by_text(f"{done} of 400 files")).to_be_visible()
    expect(scripted.get_by_role("button", name="Make the first report")).to_be_disabled()
    held.route.continue_()
    expect(scripted.get_by_text("The report is refreshed")).to_be_visible()
    expect(bar).to_be_hidden()
    expect(scripted.get_by_text("by 2 workers")).to_be_visible()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (
            {"status": 503, "json": {"error": "refresh-busy", "message": "it is busy"}},
            "it is busy.",
        ),
        ({"status": 200, "body": "<html>a proxy's own page"}, "The server did not answer."),
    ],
)
def test_a_refresh_that_fails_says_why_and_can_be_tried_again(
    chromium, shop, answer: dict[str, object], says: str
) -> None:
    page = chromium.new_page()  # the console tells of every answer of 400 and above
    page.goto(shop.dashboard)
    page.route("**/refresh**", lambda route: route.fulfill(**answer))
    button = page.get_by_role("button", name="Make the first report")

    button.click()

    expect(page.locator("#work")).to_contain_text(says)
    page.unroute("**/refresh**")
    button.click()
    expect(page.get_by_text("The report is refreshed")).to_be_visible()
    page.close()


def test_a_page_that_is_opened_meanwhile_follows_and_shows_the_new_report(page, shop) -> None:
    shop.client.json("/debug/coverage/refresh", method="POST")
    note = shop.note_building(done=120, total=400)

    page.goto(shop.dashboard)
    expect(page.locator("#work")).to_contain_text(re.compile("120 of 400 files"))
    expect(page.get_by_role("progressbar")).to_have_attribute("value", "120")
    note.unlink()

    expect(page.locator("#work")).to_be_hidden()


def test_the_refresh_of_a_large_project_ends_in_a_message(scripted, large) -> None:
    scripted.goto(large)

    scripted.get_by_role("button", name="Refresh", exact=True).click()

    expect(scripted.get_by_text("The report is refreshed")).to_be_visible(timeout=60_000)
