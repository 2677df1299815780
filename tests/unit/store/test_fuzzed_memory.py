"""A memory whose files are damaged is read without a crash, and lines never come from nowhere.

Bytes that are no marks are named. A flipped bit that makes a mark cannot be told from one, and a
damaged or missing claim moves the places of those after it: the index has no checksum, because
processes append to it without a lock.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from fuzzing import fuzzed
from hypothesis import given
from hypothesis import strategies as st

from wsgi_coverage.data.phases import Phase
from wsgi_coverage.data.reading import Reading
from wsgi_coverage.store.memory import HEADER, Memory

FILES = ["index", "control", "processes", "run-0-0.lines", "load-0.lines", "flushed-0.log", "early"]
PLACES = st.floats(0, 1)
BYTES = st.lists(
    st.tuples(st.sampled_from(FILES), PLACES, st.binary(min_size=1, max_size=9)), max_size=5
)


@pytest.fixture
def whole(tmp_path: Path) -> tuple[Path, dict[str, set[int]]]:
    """The folder of a memory, and what has run by source."""
    folder = tmp_path / "whole"
    folder.mkdir()
    memory = Memory(folder)
    ran = {}
    for number in range(12):
        name = f"module_{number}.py"
        place = memory.place(name, f"v{number}", 90)
        ran[name] = {number + 1, number + 40, 89}
        for phase in (Phase.RUNTIME, Phase.LOAD):
            chunk = memory.chunk(phase, 0, place.chunk)
            for line in ran[name]:
                chunk[place.at + line] = 1
    return folder, ran


def copy_of(whole: tuple[Path, Any]) -> Path:
    target = whole[0].with_name("copy")
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(whole[0], target)
    return target


def lines_of(reading: Reading) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for claim, by_phase in reading.executed():
        for bits in by_phase.values():
            found.setdefault(claim.name, set()).update(
                number for number in range(bits.bit_length()) if bits >> number & 1
            )
    return found


def read(folder: Path, *, claims: bool = False) -> Reading | None:
    """What is read of it, after another claim or without; None: it is refused."""
    try:
        memory = Memory(folder, make=False)
        if claims:
            memory.place("new.py", "v", 10)
        return memory.read()
    except OSError:
        return None


@fuzzed
@given(changes=BYTES)
def test_any_bytes_in_any_of_its_files_are_read_or_refused(
    whole: tuple[Path, dict[str, set[int]]], changes: list[tuple[str, float, bytes]]
) -> None:
    folder = copy_of(whole)
    for name, where, new in changes:
        for path in folder.glob(f"{name}*"):
            raw = bytearray(path.read_bytes())
            at = int(where * max(len(raw) - len(new), 0))
            raw[at : at + len(new)] = new
            path.write_bytes(raw)

    reading = read(folder, claims=True)

    assert reading is None or isinstance(lines_of(reading), dict)


@fuzzed
@given(name=st.sampled_from(FILES), where=PLACES)
def test_a_file_that_was_cut_adds_no_line_that_nothing_has_run(
    whole: tuple[Path, dict[str, set[int]]], name: str, where: float
) -> None:
    folder = copy_of(whole)
    for path in folder.glob(f"{name}*"):
        raw = path.read_bytes()
        path.write_bytes(raw[: int(where * len(raw))])

    reading = read(folder)

    found = {} if reading is None else lines_of(reading)
    assert all(lines <= whole[1][each] for each, lines in found.items())


@fuzzed
@given(where=PLACES, new=st.integers(2, 255))
def test_what_is_no_mark_in_a_chunk_is_named_and_no_line(
    whole: tuple[Path, dict[str, set[int]]], where: float, new: int
) -> None:
    folder = copy_of(whole)
    path = folder / "run-0-0.lines"
    raw = bytearray(path.read_bytes())
    at = HEADER + int(where * (len(raw) - HEADER - 1))
    raw[at] = new
    path.write_bytes(raw)

    reading = read(folder)

    assert reading is not None
    assert any("damaged" in each for each in reading.problems)
    assert all(lines <= whole[1][each] for each, lines in lines_of(reading).items())
