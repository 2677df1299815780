"""A published data file that is damaged in any way is set aside by name, or read as it was."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fuzzing import fuzzed
from hypothesis import given
from hypothesis import strategies as st

from wsgi_coverage.data import datafile, stamp

Published = tuple[Path, bytes, bytes, list[Any]]

LIMIT = 30.0  # seconds to read one file, on a busy machine
# What is done to the bytes: a kind, a place from 0 to 1, and a number.
DAMAGE = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "zero", "swap", "insert", "repeat"]),
        st.floats(0, 1),
        st.integers(1, 5000),
    ),
    min_size=1,
    max_size=6,
)


def damaged(raw: bytes, other: bytes, how: list[tuple[str, float, int]]) -> bytes:
    out = bytearray(raw)
    for kind, where, number in how:
        at = int(where * max(len(out) - 1, 0))
        match kind:
            case "flip" if out:
                out[at] ^= 1 << number % 8
            case "cut":
                del out[at:]
            case "zero":
                out[at : at + number] = bytes(min(number, len(out) - at))
            case "swap":
                out[at : at + number] = other[at : at + number]
            case "insert":
                out[at:at] = other[:number]
            case "repeat":
                out[at:at] = out[at : at + number]
    return bytes(out)


@pytest.fixture
def published(data_file: Callable[..., Path], combined: Callable[..., Any]) -> Published:
    """A file, its content, that of another one, and what is read of either."""
    contents, found = [], []
    for name, step in ((".coverage.one", 3), (".coverage.two", 2)):
        path = data_file(name, {f"package/{each}.py": range(1, 400, step) for each in "abcd"})
        stamp.put_fingerprints(path, {f"/package/{each}.py": name for each in "abcd"})
        stamp.put(path, stamp.Stamp(worker_id=name, host="h", epoch=0))
        contents.append(path.read_bytes())
        found.append(combined(path)[0])
    return path, contents[0], contents[1], found


@fuzzed
@given(how=DAMAGE)
def test_it_is_set_aside_or_read_as_it_was_in_a_bounded_time(
    published: Published,
    combined: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    how: list[tuple[str, float, int]],
) -> None:
    monkeypatch.setattr(datafile, "RETRY_INTERVAL", 0)
    path, raw, other, whole = published

    path.write_bytes(damaged(raw, other, how))
    begun = time.monotonic()
    found, warnings = combined(path)

    assert time.monotonic() - begun < LIMIT
    assert all(each.startswith(f"data file {path} is set aside: ") for each in warnings)
    assert bool(warnings) != bool(found.tracers)
    assert warnings or found in whole
