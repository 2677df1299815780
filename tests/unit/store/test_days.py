"""The days on which lines ran, on disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from wsgi_coverage.data.reading import Claim, Day, Place, Reading
from wsgi_coverage.store import days
from wsgi_coverage.store.days import FOLDER, Bitmaps, DaysStore, Ran, bitmaps_of

MONDAY = date(2026, 11, 23).toordinal()
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


def reading(release: str = "r1", **lines_of_days: set[int]) -> Reading:
    """A memory that has one source; keywords are day_<days after Monday>."""
    room = 64
    found = {
        Day(MONDAY + int(day.removeprefix("day_")), release): {
            0: bytes(n in lines for n in range(room))
        }
        for day, lines in lines_of_days.items()
    }
    claim = Claim(NAME, VERSION, Place(0, 0, room))
    return Reading(id="m", host="h", epoch=0, sources=(claim,), by_phase={}, days=found)


def add(store: DaysStore, readings: list[Reading], kept: int = 90) -> None:
    store.add(bitmaps_of(readings), kept)


def read(store: DaysStore) -> dict[int, Bitmaps]:
    found = {day: store.read_day(day) for day in store.states()}
    return {day: lines for day, lines in found.items() if lines is not None}


def bits(*lines: int) -> int:
    return sum(1 << line for line in lines)


def test_days_of_memories_are_united_by_release_and_version(store: DaysStore) -> None:
    add(store, [reading(day_0={1, 2})])
    add(store, [reading(day_0={2, 5}, day_1={1})])
    add(store, [reading("r2", day_1={7})])

    assert read(store) == {
        MONDAY: {"r1": {NAME: {VERSION: bits(1, 2, 5)}}},
        MONDAY + 1: {
            "r1": {NAME: {VERSION: bits(1)}},
            "r2": {NAME: {VERSION: bits(7)}},
        },
    }


def test_what_a_killed_process_has_left_half_written_is_removed(
    store: DaysStore, tmp_path: Path
) -> None:
    add(store, [reading(day_0={1})])
    left = tmp_path / FOLDER / ".wsgi-coverage-new-0123456789abcdef"
    left.touch()
    os.utime(left, (0, 0))

    add(store, [reading(day_0={2})])

    assert not left.exists()
    assert read(store)[MONDAY] == {"r1": {NAME: {VERSION: bits(1, 2)}}}


def test_nothing_is_written_where_nothing_is_new(store: DaysStore, tmp_path: Path) -> None:
    add(store, [reading(day_0={1, 2})])
    path = tmp_path / FOLDER / "2026-11-23"
    before = path.stat().st_ino

    add(store, [reading(day_0={2})])

    assert path.stat().st_ino == before


def test_only_so_many_days_are_kept(store: DaysStore, on_day: Callable[[int], None]) -> None:
    add(store, [reading(day_0={1})], 1)
    on_day(MONDAY + 1)
    add(store, [reading(day_1={1})], 1)
    assert [*read(store)] == [MONDAY, MONDAY + 1]

    on_day(MONDAY + 2)
    add(store, [reading(day_2={1})], 1)

    assert [*read(store)] == [MONDAY + 1, MONDAY + 2]


@pytest.mark.parametrize(
    "content", [b"", b"no day", days.pack([1]), days.pack({"r": {"n": {"v": 1}}})]
)
def test_a_damaged_day_is_left_out_and_made_anew(
    store: DaysStore, on_day: Callable[[int], None], content: bytes
) -> None:
    on_day(MONDAY - 9)
    add(store, [reading(**{"day_-9": {1}})])
    on_day(MONDAY)
    add(store, [reading(day_0={1}, day_1={2})])
    assert store.known(90).since == MONDAY - 8
    (store.folder / "2026-11-23").write_bytes(content)

    assert [*read(store)] == [MONDAY - 9, MONDAY + 1]
    assert store.known(90).since == MONDAY + 1  # not all that ran before is known any more

    add(store, [reading(day_0={3})])
    assert store.known(90).since == MONDAY + 1
    assert read(store)[MONDAY] == {"r1": {NAME: {VERSION: bits(3)}}}


def test_functions_are_kept_for_versions_that_ran_on_some_day(store: DaysStore) -> None:
    add(store, [reading(day_0={1})])
    store.note_functions({NAME: {VERSION: {"f": [[1, 2]]}}, "gone.py": {"v0": {"g": [[1, 1]]}}}, 90)

    store.note_functions({NAME: {"v2": {"f": [[3, 4]]}}}, 90)

    assert store.functions() == {NAME: {VERSION: {"f": [[1, 2]]}, "v2": {"f": [[3, 4]]}}}


def test_what_is_no_day_is_left_alone(store: DaysStore, tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "notes.txt").write_text("theirs")

    add(store, [reading(day_0={1})])

    assert [*read(store)] == [MONDAY]
    assert (tmp_path / FOLDER / "notes.txt").read_text() == "theirs"


def test_days_are_known_from_the_first_whole_one_on(
    store: DaysStore, on_day: Callable[[int], None]
) -> None:
    assert store.known(90).since == MONDAY + 1

    add(store, [reading(day_0={1})])
    on_day(MONDAY + 5)
    add(store, [reading(day_5={1})])

    assert store.known(90).since == MONDAY + 1


def test_after_a_gap_days_are_known_from_the_next_one_on(store: DaysStore) -> None:
    add(store, [reading(day_0={1})])

    store.note_gap(MONDAY + 3)
    store.note_gap(MONDAY + 1)

    assert store.known(90).since == MONDAY + 4
    assert store.gap() == MONDAY + 4
    assert [*read(store)] == [MONDAY]


def test_a_clock_that_was_ahead_once_removes_no_days(
    store: DaysStore, on_day: Callable[[int], None]
) -> None:
    for day in range(5):
        on_day(MONDAY + day)
        add(store, [reading(**{f"day_{day}": {1}})])
    on_day(MONDAY + 400)
    add(store, [reading(day_400={1})])

    on_day(MONDAY + 5)

    [(_, versions)] = store.known(90).lines.items()
    assert [each.day - MONDAY for each in versions[VERSION]] == [0, 4]


def test_a_gap_whose_note_is_damaged_lasts_up_to_now(store: DaysStore) -> None:
    store.note_gap(MONDAY - 9)
    (store.folder / "gap").write_text("some day")

    assert store.known(90).since == MONDAY + 1


HISTORY = {0: ("a", {1, 2}), 1: ("a", {1, 2, 3}), 2: ("b", {1, 3}), 3: ("b", {1, 3}), 4: ("b", {1})}


@pytest.fixture
def history(store: DaysStore, on_day: Callable[[int], None]) -> DaysStore:
    for day, (release, lines) in HISTORY.items():
        on_day(MONDAY + day)
        add(store, [reading(release, **{f"day_{day}": lines})])
    return store


def days_of(store: DaysStore, line: int, kept: int = 90) -> tuple[int, int, set[str]]:
    ran = [each for each in store.known(kept).lines[NAME][VERSION] if each.bits >> line & 1]
    return ran[0].day - MONDAY, ran[-1].day - MONDAY, {each.release for each in ran}


def test_first_and_last_days_and_releases_of_each_line_are_known(history: DaysStore) -> None:
    found = {line: days_of(history, line) for line in (1, 2, 3)}

    assert found == {1: (0, 4, {"a", "b"}), 2: (0, 1, {"a"}), 3: (1, 3, {"a", "b"})}


def test_they_are_known_of_the_days_that_are_asked_for(history: DaysStore) -> None:
    assert days_of(history, 1, kept=2) == (2, 4, {"b"})
    assert days_of(history, 3, kept=2) == (2, 3, {"b"})


def test_days_before_today_are_read_once_until_one_changes(
    history: DaysStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = history.known(90)
    opened: list[str] = []
    read = days.read_packed
    monkeypatch.setattr(days, "read_packed", lambda path: [opened.append(path.name), read(path)][1])

    assert history.known(90) == first
    assert opened == ["past", "2026-11-27"]

    add(history, [reading(day_1={9})])
    opened.clear()
    assert days_of(history, 9) == (1, 1, {"r1"})
    assert len(opened) == 1 + 4 + 1


@pytest.mark.parametrize("content", [b"", b"no days", days.pack([1, 2, 3]), days.pack([[], 0, 1])])
def test_what_is_stored_of_the_past_is_made_anew_where_it_is_damaged(
    history: DaysStore, content: bytes
) -> None:
    first = history.known(90)
    (history.folder / "past").write_bytes(content)

    assert history.known(90) == first
    assert history.known(90).lines[NAME][VERSION][0] == Ran(MONDAY, "a", bits(1, 2))
