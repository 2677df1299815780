"""The history of an application's reports: their percentages, and since when data is counted.

    cache_dir/
        history.json    since when, and a point for each of the last refreshes and resets

Concurrency: written under the build lock, and replaced by renaming; readers take no lock.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from wsgi_coverage.data.stored import DamagedError, as_dataclass, read_json
from wsgi_coverage.errors import is_shortage
from wsgi_coverage.model import Point, Report
from wsgi_coverage.system import own_files

MAX_POINTS = 200  # points


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """The content of history.json."""

    since: str | None = None  # ISO 8601, UTC: what ran from then on is in the data
    points: tuple[Point, ...] = ()  # in the order of time


class History:
    """The history of one cache folder."""

    def __init__(self, cache_dir: Path) -> None:
        self._path = cache_dir / "history.json"

    def read(self) -> Past:
        """Read the history; return an empty one where there is no file, or a damaged one.

        Raises:
            OSError: no descriptor or no room is left to read it.
        """
        try:
            return as_dataclass(Past, read_json(self._path))
        except (OSError, DamagedError) as error:
            if is_shortage(error):
                raise  # else the next write would replace the history by an empty one
            return Past()

    def since(self, started_at: str) -> str:
        """Return since when data is counted, ISO 8601 in UTC; `started_at` without a history.

        Other processes may have started before this one: then the data goes back further.
        """
        return self.read().since or started_at

    def add(self, report: Report, *, since: str) -> None:
        """Add a point for a published report; call it under the build lock."""
        self._write(since, [*self.read().points, point_of(report, "refresh")])

    def begin_anew(self, at: str) -> None:
        """Add a reset, from which on data is counted; call it under the build lock."""
        points = self.read().points
        if not points or points[-1].kind == "reset":
            self._write(at, points)
        else:
            self._write(at, [*points, Point(at=at, kind="reset")])

    def forget_since(self) -> None:
        """Forget since when data is counted, which was removed by hand; call it under the lock."""
        past = self.read()
        if past.since is not None:
            self._write(None, past.points)

    def _write(self, since: str | None, points: Sequence[Point]) -> None:
        last = [asdict(each) for each in points[-MAX_POINTS:]]
        text = json.dumps({"since": since, "points": last})
        # A chart that lacks a point is no reason to fail: a full disk is found where it matters.
        with contextlib.suppress(OSError):
            own_files.replace(self._path, text)


def point_of(report: Report, kind: str) -> Point:
    """Return a report as a point of the chart over time."""
    summary = report.summary
    return Point(
        at=report.refreshed_at,
        kind=kind,
        percent=summary["percent"],
        runtime_percent=summary.get("runtime_percent"),
        label=report.label,
    )


def in_order(past: Past, snapshots: Iterable[Report], last: int) -> list[Point]:
    """Merge a history with snapshots: return the last points, the oldest first.

    Args:
        past: from `History.read`.
        snapshots: reports, in any order.
        last: how many points, at most.
    """
    points = [*past.points, *(point_of(each, "snapshot") for each in snapshots)]
    return sorted(points, key=lambda point: point.at)[-last:]
