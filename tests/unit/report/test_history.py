"""What is remembered of reports that are gone, and since when data is counted."""

from dataclasses import replace
from pathlib import Path

import pytest
from reports import a_report

from wsgi_coverage.model import Point
from wsgi_coverage.report.history import MAX_POINTS, History, Past, in_order

REPORT = a_report(
    refreshed_at="2026-01-02T00:00:00+00:00",
    summary={"percent": 50.0, "runtime_percent": 25.0},
    workers=(),
    warnings=(),
)
START = "2026-01-01T00:00:00+00:00"
RESET = "2026-01-03T00:00:00+00:00"


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path)


def test_a_published_report_is_a_point(history: History) -> None:
    history.add(REPORT, since=START)

    [point] = history.read().points
    assert point == Point(
        at=REPORT.refreshed_at, kind="refresh", percent=50.0, runtime_percent=25.0
    )


def test_since_is_the_start_of_who_asks_until_it_is_written_down(history: History) -> None:
    assert history.since(START) == START

    history.add(REPORT, since=START)

    assert history.since("2026-02-01T00:00:00+00:00") == START


def test_a_reset_is_a_point_and_since_begins_anew(history: History) -> None:
    history.add(REPORT, since=START)

    history.begin_anew(RESET)

    assert history.since(START) == RESET
    assert [point.kind for point in history.read().points] == ["refresh", "reset"]


def test_resets_one_after_another_are_one_point(history: History) -> None:
    history.add(REPORT, since=START)
    history.begin_anew(START)

    history.begin_anew(RESET)

    assert [point.kind for point in history.read().points] == ["refresh", "reset"]
    assert history.since(START) == RESET


def test_where_the_data_was_taken_away_since_is_told_anew_and_points_stay(
    history: History,
) -> None:
    history.add(REPORT, since=START)

    history.forget_since()

    assert history.since(RESET) == RESET
    assert len(history.read().points) == 1


def test_only_the_last_points_are_kept(history: History) -> None:
    times = [f"2026-01-01T00:00:00.{number:06}+00:00" for number in range(MAX_POINTS + 5)]

    for at in times:
        history.add(replace(REPORT, refreshed_at=at), since=START)

    assert [point.at for point in history.read().points] == times[5:]


@pytest.mark.parametrize("content", ["", "[]", "{", '{"since": null}', '{"since": 1, "points": 3}'])
def test_a_damaged_file_is_no_history(history: History, tmp_path: Path, content: str) -> None:
    (tmp_path / "history.json").write_text(content)

    assert history.read() == Past()


def test_where_it_cannot_be_written_nothing_fails_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "history.json").mkdir()

    History(tmp_path).add(REPORT, since=START)

    assert [path.name for path in tmp_path.iterdir()] == ["history.json"]


def test_snapshots_stand_between_the_refreshes_of_their_time(history: History) -> None:
    for at in ("2026-01-01", "2026-01-03"):
        history.add(replace(REPORT, refreshed_at=at), since=START)
    snapshot = replace(REPORT, refreshed_at="2026-01-02", label="sale")

    points = in_order(history.read(), [snapshot], 2)

    assert [(point.at, point.kind, point.label) for point in points] == [
        ("2026-01-02", "snapshot", "sale"),
        ("2026-01-03", "refresh", None),
    ]
