"""The title of the page that shows an error."""

import pytest

from wsgi_coverage import errors
from wsgi_coverage.errors import WsgiCoverageError
from wsgi_coverage.web.dashboard import pages

# Raised where an application is wrapped, so no page shows them.
AT_CONSTRUCTION = {"settings", "auth-not-configured", "missing-extra", "unsupported-python"}
SLUGS = {
    each.slug
    for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, WsgiCoverageError)
}


def test_every_error_that_a_page_can_show_has_a_title_of_its_own() -> None:
    assert pages.TITLES.keys() == SLUGS - AT_CONSTRUCTION - {"internal"}
    assert len({*pages.TITLES.values()}) == len(pages.TITLES)


@pytest.mark.parametrize(
    ("error", "title"),
    [
        (errors.UnauthorizedError("give a password"), "Authentication required"),
        (errors.CrossSiteError("another site asked"), "Cross-site request refused"),
        (errors.UntrustedHostError("evil.example is not served"), "Host not allowed"),
        (errors.NotFoundError("there is no such page"), "Not found"),
        (WsgiCoverageError("a fault"), "Internal error"),
    ],
)
def test_a_page_says_what_kind_of_error_it_shows(error: WsgiCoverageError, title: str) -> None:
    page = pages.problem(error, root="./")

    assert f"<h1>{title}</h1>" in page
    assert f"<p>{error}.</p>" in page
