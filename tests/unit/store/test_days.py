"""The days on which lines ran, on disk."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from wsgi_coverage.data.reading import Claim, Place, Reading
from wsgi_coverage.store import days
from wsgi_coverage.store.days import FOLDER, DaysKept, DaysStore, bitmaps_of

MONDAY = date(2026, 11, 23).toordinal()
KEPT = DaysKept(90, "r1")
NAME, VERSION = "/srv/app.py", "v1"


@pytest.fixture
def store(tmp_path: Path) -> DaysStore:
    return DaysStore(tmp_path / FOLDER)


@pytest.fixture(autouse=True)
def on_day(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def set_day(day: int) -> None:
        monkeypatch.setattr(days, "today", lambda: day)

    set_day(MONDAY)
    return set_day


def reading(**lines_of_days: set[int]) -> Reading:
    """A memory that has one source; keywords are day_<days after Monday>."""
    room = 64
    found = {
        MONDAY + int(day.removeprefix("day_")): {0: bytes(n in lines for n in range(room))}
        for day, lines in lines_of_days.items()
    }
    claim = Claim(NAME, VERSION, Place(0, 0, room))
    return Reading(id="m", host="h", epoch=0, sources=(claim,), by_phase={}, days=found)


def add(store: DaysStore, readings: list[Reading], kept: DaysKept) -> None:
    store.add(bitmaps_of(readings, kept.release), kept.days)


def bits(*lines: int) -> int:
    return sum(1 << line for line in lines)


def test_days_of_memories_are_united_by_release_and_version(store: DaysStore) -> None:
    add(store, [reading(day_0={1, 2})], KEPT)
    add(store, [reading(day_0={2, 5}, day_1={1})], KEPT)
    add(store, [reading(day_1={7})], DaysKept(90, "r2"))

    assert store.read().lines == {
        MONDAY: {"r1": {NAME: {VERSION: bits(1, 2, 5)}}},
        MONDAY + 1: {
            "r1": {NAME: {VERSION: bits(1)}},
            "r2": {NAME: {VERSION: bits(7)}},
        },
    }


def test_nothing_is_written_where_nothing_is_new(store: DaysStore, tmp_path: Path) -> None:
    add(store, [reading(day_0={1, 2})], KEPT)
    path = tmp_path / FOLDER / "2026-11-23"
    before = path.stat().st_ino

    add(store, [reading(day_0={2})], KEPT)

    assert path.stat().st_ino == before


def test_only_so_many_days_are_kept(store: DaysStore, on_day: Callable[[int], None]) -> None:
    add(store, [reading(day_0={1})], DaysKept(1, ""))
    on_day(MONDAY + 1)
    add(store, [reading(day_1={1})], DaysKept(1, ""))
    assert [*store.read().lines] == [MONDAY, MONDAY + 1]

    on_day(MONDAY + 2)
    add(store, [reading(day_2={1})], DaysKept(1, ""))

    assert [*store.read().lines] == [MONDAY + 1, MONDAY + 2]


@pytest.mark.parametrize(
    "content", [b"", b"no day", days.pack([1]), days.pack({"r": {"n": {"v": 1}}})]
)
def test_a_damaged_day_is_left_out_and_made_anew(
    store: DaysStore, tmp_path: Path, content: bytes
) -> None:
    add(store, [reading(day_0={1}, day_1={2})], KEPT)
    (tmp_path / FOLDER / "2026-11-23").write_bytes(content)

    assert [*store.read().lines] == [MONDAY + 1]
    assert store.read().since == MONDAY + 1  # not all that ran before is known any more

    add(store, [reading(day_0={3})], KEPT)
    assert store.read().since == MONDAY + 1
    assert store.read().lines[MONDAY] == {"r1": {NAME: {VERSION: bits(3)}}}


def test_functions_are_kept_for_versions_that_ran_on_some_day(store: DaysStore) -> None:
    add(store, [reading(day_0={1})], KEPT)
    store.note_functions({NAME: {VERSION: {"f": [[1, 2]]}}, "gone.py": {"v0": {"g": [[1, 1]]}}})

    store.note_functions({NAME: {"v2": {"f": [[3, 4]]}}})

    assert store.functions() == {NAME: {VERSION: {"f": [[1, 2]]}, "v2": {"f": [[3, 4]]}}}


def test_what_is_no_day_is_left_alone(store: DaysStore, tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "notes.txt").write_text("theirs")

    add(store, [reading(day_0={1})], KEPT)

    assert [*store.read().lines] == [MONDAY]
    assert (tmp_path / FOLDER / "notes.txt").read_text() == "theirs"


def test_after_a_gap_days_are_known_from_the_next_one_on(store: DaysStore) -> None:
    add(store, [reading(day_0={1})], KEPT)
    assert store.read().since == 0

    store.note_gap(MONDAY + 3)
    store.note_gap(MONDAY + 1)

    assert store.read().since == MONDAY + 4
    assert [*store.read().lines] == [MONDAY]


def test_a_gap_whose_note_is_damaged_lasts_up_to_now(store: DaysStore) -> None:
    store.note_gap(MONDAY - 9)
    (store.folder / "since").write_text("some day")

    assert store.read().since == MONDAY + 1
