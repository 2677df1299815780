"""The labels of tests."""

from __future__ import annotations

import http.client
from types import SimpleNamespace
from typing import Any

import pytest

from wsgi_coverage.testing.plugin import MOST, CoverageLabel, Labels, label_of, without_try


@pytest.mark.parametrize(
    ("nodeid", "execution", "label"),
    [
        ("test_a.py::test_b[x|y]", 1, "test_a.py::test_b[x|y]"),
        ("test_a.py::test_b", 2, "test_a.py::test_b (try 2)"),
    ],
)
def test_a_label_is_the_id_of_the_test_and_which_try_it_is(
    nodeid: str, execution: int, label: str
) -> None:
    assert label_of(nodeid, execution) == label


def test_labels_of_long_ids_differ() -> None:
    first, second, again = (
        label_of("x" * 300 + end, n) for end, n in (("a", 1), ("b", 1), ("a", 2))
    )

    assert len({first, second, again}) == 3
    assert max(map(len, (first, second, again))) <= MOST
    assert without_try(again) == without_try(first) == first


@pytest.mark.parametrize(
    ("label", "headers"),
    [
        ("", {}),
        ("test_a", {"X-Coverage-Context": "test_a"}),
        ("é x", {"baggage": "coverage.context=%C3%A9%20x"}),
    ],
)
def test_the_headers_of_a_label(label: str, headers: dict[str, str]) -> None:
    assert CoverageLabel(label).headers == headers


@pytest.mark.parametrize(
    ("url", "asked", "is_to"),
    [
        ("http://shop.example:8000", "http://shop.example:8000/x?y", True),
        ("http://shop.example:8000/debug/coverage/", "http://SHOP.example:8000/", True),
        ("https://shop.example", "https://shop.example:443/", True),
        ("http://shop.example", "https://shop.example/", False),
        ("http://shop.example", "http://cdn.example/", False),
        ("http://[::1]:8000", "http://[::1]:8000/", True),
    ],
)
def test_only_requests_to_the_application_are_labelled(url: str, asked: str, is_to: bool) -> None:
    before = http.client.HTTPConnection.endheaders
    config: Any = SimpleNamespace(getoption=lambda _: None)
    labels = Labels(url, config)
    try:
        assert not labels._is_to(asked)
        labels.label = "test"
        assert labels._is_to(asked) is is_to
    finally:
        labels.pytest_unconfigure()
    assert http.client.HTTPConnection.endheaders is before
