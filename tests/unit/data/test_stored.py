"""JSON of ours is read as what anybody may have put there."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from reports import a_report
from special_files import device, full_folder, loop, pipe

from wsgi_coverage import clock
from wsgi_coverage.data.stored import DamagedError, as_dataclass, parsed, read_json
from wsgi_coverage.model import Moment, Point, Report

REPORT = a_report(duration_seconds=1)


@pytest.mark.parametrize("value", [REPORT, Point(at="now", kind="reset"), clock.now()])
def test_what_was_stored_is_read_as_it_was(tmp_path: Path, value: Any) -> None:
    (tmp_path / "it").write_text(json.dumps(asdict(value)))

    assert as_dataclass(type(value), read_json(tmp_path / "it")) == value


@pytest.mark.parametrize("make", [pipe, device, loop, full_folder])
def test_what_is_no_regular_file_is_damaged(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "it")

    with pytest.raises(DamagedError, match="it is "):
        read_json(tmp_path / "it")


def test_what_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "it")


def test_a_file_that_is_too_large_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "it").write_text("[" + " " * 100 + "]")

    with pytest.raises(DamagedError, match="102 bytes"):
        read_json(tmp_path / "it", most=101)


@pytest.mark.parametrize("raw", [b"", b"7 7", b"\xff\xfe", b"[" * 200_000, b"9" * 5_000])
def test_what_is_no_json_is_damaged(raw: bytes) -> None:
    with pytest.raises(DamagedError):
        parsed(raw)


@pytest.mark.parametrize(
    "changed",
    [
        {"id": 7},
        {"id": None},
        {"label": []},
        {"size": True},
        {"size": 1.5},
        {"size": 10**300},
        {"duration_seconds": float("nan")},
        {"duration_seconds": float("inf")},
        {"complete": 1},
        {"summary": []},
        {"workers": [7]},
        {"workers": {}},
        {"warnings": [[]]},
        {"collected": ["boot", 1.0]},
        {"collected": {"boot": "b", "seconds": "1"}},
        {"collected": {"boot": "b"}},
        {"more": 1},
    ],
)
def test_a_field_of_another_type_is_damaged(changed: dict[str, Any]) -> None:
    with pytest.raises(DamagedError):
        as_dataclass(Report, {**asdict(REPORT), **changed})


@pytest.mark.parametrize("raw", [None, [], "x", {}, {"boot": "b"}])
def test_another_value_is_damaged(raw: object) -> None:
    with pytest.raises(DamagedError):
        as_dataclass(Moment, raw)
