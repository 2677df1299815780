"""Whatever value a setting gets: it is accepted, or refused by source, rule and value."""

from __future__ import annotations

from typing import Any

from fuzzing import fuzzed
from hypothesis import given
from hypothesis import strategies as st

from wsgi_coverage.settings import RULES, Settings, SettingsError, load, variable

NEARLY = ["/", "/x/../y", "1e9", "-0", "on", "off", "nan", "30", "localhost, [::1]:80", "a:b"]
TEXTS = st.one_of(st.text(max_size=40), st.sampled_from(NEARLY))
VALUES: st.SearchStrategy[Any] = st.one_of(
    TEXTS,
    st.booleans(),
    st.integers(),
    st.floats(),
    st.binary(max_size=20),
    st.lists(TEXTS, max_size=3),
    st.dictionaries(TEXTS, TEXTS, max_size=2),
    st.builds(object),
)


def outcome(**sources: Any) -> str | None:
    """The message of the refusal; None: accepted."""
    try:
        found = load(**{"keywords": {}, "env": {}, **sources})
    except SettingsError as error:
        return str(error)
    assert isinstance(found, Settings)
    return None


@fuzzed
@given(name=st.sampled_from(sorted(RULES)), value=VALUES)
def test_any_keyword_is_accepted_or_refused_by_name_and_value(name: str, value: Any) -> None:
    message = outcome(keywords={name: value})

    assert message is None or message.startswith(f"keyword {name}: {name} ")
    assert message is None or " got " in message


@fuzzed
@given(name=st.sampled_from(sorted(RULES)), value=TEXTS)
def test_any_variable_and_option_is_accepted_or_refused_by_name_and_value(
    name: str, value: str
) -> None:
    of_env = outcome(env={variable(name): value})
    of_paste = outcome(options={name: value})

    for source, message in (
        ("environment variable " + variable(name), of_env),
        ("paste option " + name, of_paste),
    ):
        assert message is None or message.startswith(f"{source}: {name} ")
        assert message is None or name in ("password", "store") or repr(value) in message


@fuzzed
@given(name=TEXTS, value=VALUES)
def test_any_name_that_is_no_setting_is_refused(name: str, value: Any) -> None:
    message = outcome(keywords={name: value})

    assert name in RULES or (message is not None and repr(name) in message)
