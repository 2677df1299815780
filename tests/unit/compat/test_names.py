"""Which undocumented names of coverage.py are there, and what is said of one that is not."""

import dataclasses
from collections.abc import Iterator

import coverage
import pytest

from wsgi_coverage.compat import names, needs
from wsgi_coverage.errors import CoverageChangedError


@pytest.fixture
def without_index_item(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A coverage.py in which one class has another name."""
    names.missing.cache_clear()
    names.find.cache_clear()
    monkeypatch.delattr("coverage.html.IndexItem")
    yield
    monkeypatch.undo()
    names.missing.cache_clear()
    names.find.cache_clear()


def test_this_coverage_py_has_every_name() -> None:
    assert names.problems() == []


def test_what_is_documented_of_it_is_no_undocumented_name() -> None:
    documented = {each for each in dir(coverage.Coverage) if not each.startswith("_")}
    of_coverage = {
        name.rpartition(".")[2]
        for need in needs.NEEDS.values()
        for name in need.names
        if name.startswith("coverage.control:Coverage.")
    }

    assert of_coverage.isdisjoint(documented)


@pytest.mark.usefixtures("without_index_item")
def test_a_name_that_is_missing_is_said_with_what_is_so_without_it() -> None:
    assert names.missing(needs.PAGES) == ("coverage.html:IndexItem",)
    assert names.has(needs.RULES, needs.REPORTS)
    assert not names.has(needs.RULES, needs.PAGES)
    (problem,) = names.problems()
    assert problem == (f"coverage.html.IndexItem: {needs.NEEDS[needs.PAGES].without}")


@pytest.mark.usefixtures("without_index_item")
def test_a_name_is_not_missed_in_a_release_before_the_first_that_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    since = dataclasses.replace(needs.NEEDS[needs.PAGES], since=(99, 0))
    monkeypatch.setattr(names, "NEEDS", {**needs.NEEDS, needs.PAGES: since})

    assert names.missing(needs.PAGES) == ()


@pytest.mark.usefixtures("without_index_item")
def test_what_cannot_be_done_without_it_is_refused_by_its_name() -> None:
    names.require(needs.REPORTS)
    with pytest.raises(CoverageChangedError, match=r"coverage\.html\.IndexItem"):
        names.require(needs.PAGES)


@pytest.mark.parametrize(
    "name", ["coverage.nothing:anything", "coverage.html:nothing", "coverage.html:HtmlReporter.no"]
)
def test_what_is_not_there_is_not_found(name: str) -> None:
    with pytest.raises(CoverageChangedError, match="has no coverage"):
        names.find(name)


@pytest.fixture(autouse=True)
def nothing_was_met(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "_met", {})


def test_an_attribute_that_something_of_coverage_pys_lacks_is_named() -> None:
    with pytest.raises(CoverageChangedError, match=r"has no coverage\..*Coverage\.renamed"):  # noqa: SIM117
        with names.explaining():
            _ = coverage.Coverage(data_file=None, config_file=False).renamed

    (problem,) = names.problems()
    assert "Coverage.renamed" in problem


def test_an_attribute_that_a_module_of_coverage_pys_lacks_is_named() -> None:
    with pytest.raises(CoverageChangedError, match=r"has no coverage\.exceptions\.renamed"):  # noqa: SIM117
        with names.explaining():
            _ = coverage.exceptions.renamed


def test_a_module_of_coverage_pys_that_is_not_there_is_named() -> None:
    with pytest.raises(CoverageChangedError, match="renamed"), names.explaining():
        import coverage.renamed  # noqa: F401


@pytest.mark.parametrize("error", [ValueError("bad"), AttributeError("x", name="x", obj=object())])
def test_what_has_nothing_to_do_with_coverage_py_stays_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, names.explaining():
        raise error

    assert raised.value is error
