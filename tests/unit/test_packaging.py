"""What a package index shows of the project."""

import re
from importlib.metadata import metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOME = "https://github.com/wsgi-coverage/wsgi-coverage"
PICTURES = "https://raw.githubusercontent.com/wsgi-coverage/wsgi-coverage/main/"


def description() -> str:
    return metadata("wsgi-coverage").get_payload()


def test_every_picture_of_the_readme_is_shown_by_a_package_index() -> None:
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", description())

    assert pictures
    for address in pictures:
        assert address.startswith(PICTURES)
        assert (ROOT / address.removeprefix(PICTURES)).is_file()


def test_every_link_of_the_readme_leads_somewhere_from_a_package_index() -> None:
    for address in re.findall(r"\]\(([^)]+)\)", description()):
        assert address.startswith("https://"), address
        path = address.partition("#")[0]
        if path.startswith(f"{HOME}/blob/main/"):
            assert (ROOT / path.removeprefix(f"{HOME}/blob/main/")).is_file(), address


def test_a_package_index_shows_all_of_the_readme() -> None:
    relative = re.sub(rf"\]\(({HOME}/blob/main/|{PICTURES})", "](", description())

    assert relative.strip() == (ROOT / "README.md").read_text(encoding="utf-8").strip()


def test_a_package_index_links_to_the_project() -> None:
    urls = dict(each.split(", ") for each in metadata("wsgi-coverage").get_all("Project-URL"))

    assert {"Homepage", "Documentation", "Source", "Issues", "Changes"} <= set(urls)
    assert all(address.startswith(HOME) for address in urls.values())
