"""Whatever a client sends in a header, an address or a form: no answer is a 500."""

from __future__ import annotations

import itertools
from typing import Any
from urllib.parse import quote

import pytest
from fuzzing import fuzzed
from hypothesis import given
from hypothesis import strategies as st
from stand_ins import Site
from wsgi_calls import JSON, PREFIX, call, environ_for, run

from wsgi_coverage.collect.labels.requests import asked, why_no_label

# What a server lets through of a header: bytes, as latin-1.
RAW = st.text(
    st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=60
)
TOKENS = st.sampled_from(
    ["text/html", "application/json", "*/*", "q=", "q=1", ";", ",", "=", '"', "\\", "Basic ",
     "Basic Og==", "Bearer x", "coverage.context=", "%", "%00", "%ff", "\xff", " ",
     "\t", "0.5", "-1"]
)  # fmt: skip
HEADERS = st.one_of(RAW, st.lists(TOKENS, max_size=12).map("".join))
NAMES = ["Accept", "Authorization", "baggage", "X-Coverage-Context", "Cookie", "Origin",
         "Referer", "Content-Type", "If-None-Match", "Range", "X-Forwarded-Prefix"]  # fmt: skip
SEGMENTS = st.one_of(
    st.text(max_size=30).map(lambda each: quote(each.encode("utf-8", "surrogatepass"), safe="/")),
    st.binary(max_size=12).map(quote),
    st.sampled_from(
        ["", ".", "..", "%2e%2e", "current", "0" * 500, "20260101T000000.000000Z-00000000"]
    ),
)
ADDRESSES = [
    *("/{}", "/snapshots/{}", "/snapshots/{}/export", "/html/{}", "/files/{}", "/contexts/{}"),
    *("/diff/{}", "/export?format={}", "/contexts?label={}", "/files?page={}"),
]


ADDRESSES_OF_CLIENTS = itertools.cycle(range(256))


@pytest.fixture
def guarded(wrap: Any) -> Site:
    site: Site = wrap(password="open sesame")
    return site


@fuzzed
@given(
    headers=st.dictionaries(st.sampled_from(NAMES), HEADERS, max_size=4),
    page=st.sampled_from(["/", "/files", "/health"]),
)
def test_any_headers_get_an_answer_that_is_no_500(
    reported: Site, headers: dict[str, str], page: str
) -> None:
    answers = [reported.get(page, headers), reported.post("/snapshot", {**JSON, **headers})]

    assert [each.status for each in answers if each.status >= 500] == []


@fuzzed
@given(value=HEADERS)
def test_no_made_up_authorization_is_let_in(guarded: Site, value: str) -> None:
    # After some wrong passwords from one address, all from there would be a 429.
    somewhere = f"192.0.2.{next(ADDRESSES_OF_CLIENTS)}"

    answer = guarded.get("/files", {"Authorization": value}, REMOTE_ADDR=somewhere)

    assert answer.status in (400, 401, 403)


@fuzzed
@given(
    address=st.sampled_from(ADDRESSES),
    segment=SEGMENTS,
    method=st.sampled_from(["GET", "POST", "HEAD"]),
)
def test_any_address_gets_an_answer_that_is_no_500(
    reported: Site, address: str, segment: str, method: str
) -> None:
    environ = environ_for(method, f"{PREFIX}{address.format(segment)}", JSON)

    assert run(reported.app, environ).status < 500


@fuzzed
@given(label=st.text(max_size=1100))
def test_any_label_of_a_snapshot_is_stored_as_it_is_or_refused(reported: Site, label: str) -> None:
    form = {"label": label.encode("utf-8", "replace").decode()}
    answer = reported.post("/snapshot", JSON, form=form)

    assert answer.status in (200, 400)
    if answer.status == 200:
        assert answer.json()["label"] == (form["label"] or None)
        identity = answer.json()["id"]
        deleted = call(reported.app, "DELETE", f"{PREFIX}/snapshots/{identity}", JSON)
        assert deleted.status in (200, 204)


@fuzzed
@given(header=st.sampled_from(["HTTP_BAGGAGE", "HTTP_X_COVERAGE_CONTEXT"]), value=HEADERS)
def test_any_label_of_a_request_is_a_text_or_none_and_passes_the_rule_or_not(
    header: str, value: str
) -> None:
    found = asked({header: value})

    label = found[0]
    assert label is None or isinstance(label, str)
    why = None if label is None else why_no_label(label)
    assert why is None or isinstance(why, str)


@fuzzed
@given(prefix=SEGMENTS)
def test_any_script_name_gets_an_answer_that_is_no_500(reported: Site, prefix: str) -> None:
    answers = [
        call(
            reported.app,
            "GET",
            f"{PREFIX}{page}",
            JSON,
            script_name=f"/{prefix.strip('/')}".rstrip("/"),
        )
        for page in ("/", "/files")
    ]

    assert [each.status for each in answers if each.status >= 500] == []
