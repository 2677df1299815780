"""The documentation names everything that there is, and its links lead somewhere."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from command_names import COMMAND_NAMES

from wsgi_coverage import __version__, bounds, errors
from wsgi_coverage.health.diagnoses import CHECKS
from wsgi_coverage.web.dashboard.glossary import GLOSSARY
from wsgi_coverage.web.routes import ROUTES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PACKAGE = ROOT / "wsgi_coverage"
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "changes/README.md")),
    *sorted(DOCS.rglob("*.md")),
]
FENCE = re.compile(r"^ *```.*?^ *```", re.M | re.S)


def text(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as Git hosts make them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def error_classes() -> list[type[errors.WsgiCoverageError]]:
    classes = [each for each in vars(errors).values() if isinstance(each, type)]
    return [each for each in classes if issubclass(each, errors.WsgiCoverageError)]


@pytest.mark.parametrize("error", error_classes(), ids=lambda error: error.slug)
def test_every_error_has_an_anchor_with_its_status_and_name(
    error: type[errors.WsgiCoverageError],
) -> None:
    _, _, section = text("reference/errors.md").partition(f"\n## {error.slug}\n")
    section = section.partition("\n## ")[0]

    assert section.lstrip().startswith(f"{error.status}, `{error.__name__}`")
    assert "Remedy: " in section


def test_no_error_is_documented_that_does_not_exist() -> None:
    slugs = {error.slug for error in error_classes()}

    assert anchors(DOCS / "reference/errors.md") - {"errors"} == slugs


@pytest.mark.parametrize("name", CHECKS)
def test_every_diagnosis_has_an_anchor_with_its_remedy(name: str) -> None:
    _, _, section = text("reference/diagnoses.md").partition(f"\n## {name}\n")

    assert "Remedy: " in section.partition("\n## ")[0]


def test_no_diagnosis_is_documented_that_does_not_exist() -> None:
    assert anchors(DOCS / "reference/diagnoses.md") - {"diagnoses"} == set(CHECKS)


def test_the_seconds_that_a_request_may_wait_are_documented() -> None:
    told = f"`wait` (a query parameter, seconds, 0 to {bounds.MAX_WAIT:g}, default {bounds.WAIT:g})"

    assert told in text("reference/http.md")


def test_the_endpoints_documented_are_those_that_there_are() -> None:
    page = text("reference/http.md").replace("&lt;", "<").replace("&gt;", ">")
    headings = re.findall(r"^## ([A-Z, ]+) (/.*)$", page, re.M)

    assert named_in(headings) == set(endpoints())


def test_the_readme_has_all_endpoints_but_those_that_pages_ask_for() -> None:
    table = re.findall(r"^\| ([A-Z, ]+) \| (`/.*?) \|", PAGES[0].read_text(encoding="utf-8"), re.M)
    rows = [(methods, re.sub(r"`|\?[^`]*", "", paths)) for methods, paths in table]

    asked_for_by_pages = ("/static/<name>", "/html/<path>")
    assert named_in(rows) == {
        each for each in endpoints() if not each[1].endswith(asked_for_by_pages)
    }


def named_in(rows: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Methods and paths: each method of a row with each of its paths."""
    named = set()
    for methods, paths in rows:
        below = "/snapshots/<id>" if paths.startswith("/snapshots/<id>/") else ""
        for path in paths.removeprefix(below).split(", "):
            named |= {(method, below + path) for method in methods.split(", ")}
    return named


def endpoints() -> Iterator[tuple[str, str]]:
    for rule in ROUTES:
        path = rule.template.translate(str.maketrans("{}", "<>"))
        # What is left out is for links and forms: the same without a slash, or without DELETE.
        if not path.endswith(("/html", "/delete")):
            yield from ((verb, path) for verb in rule.verbs)


@pytest.mark.parametrize("figure", GLOSSARY)
def test_every_figure_of_the_dashboard_is_explained_in_the_same_words(figure: str) -> None:
    assert f"| {figure} | {GLOSSARY[figure]} |" in text("how-to/dashboard.md")


@pytest.mark.parametrize("name", COMMAND_NAMES)
def test_every_command_is_documented(name: str) -> None:
    assert f"## `wsgi-coverage {name}" in text("reference/cli.md")


def test_the_readme_links_to_the_changes_of_every_version_and_of_this_one() -> None:
    linked = set(re.findall(r"\(docs/changes/(.+?)\.md\)", PAGES[0].read_text(encoding="utf-8")))

    assert linked == {page.stem for page in (DOCS / "changes").iterdir()}
    assert __version__ in linked


def test_no_command_is_documented_that_does_not_exist() -> None:
    named = set(re.findall(r"^## `wsgi-coverage (\w+)", text("reference/cli.md"), re.M))

    assert named == set(COMMAND_NAMES)


@pytest.mark.parametrize("name", ["architecture", "flows", "measuring"])
def test_every_module_that_an_explanation_names_exists(name: str) -> None:
    named = re.findall(r"`(?:wsgi_coverage/)?([\w/]+\.py)`", text(f"explanation/{name}.md"))

    assert named
    assert [each for each in named if not any(PACKAGE.rglob(each))] == []


def test_the_architecture_tells_what_each_package_is_for() -> None:
    _, _, section = text("explanation/architecture.md").partition("\n## Packages\n")
    rows = re.findall(r"^\| (.+?) \|", section.partition("\n## ")[0], re.M)
    named = {each for row in rows for each in re.findall(r"`(\w+)`", row)}

    there = {each.stem for each in PACKAGE.iterdir() if each.suffix == ".py" or each.is_dir()}
    assert {each for each in there if not each.startswith("__")} - named == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_inside_the_project_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page

        assert linked.is_file(), target
        assert not anchor or anchor in anchors(linked), target
