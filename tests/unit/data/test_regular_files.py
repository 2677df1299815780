"""A name that is said to be a source's may lead to a pipe, a device, or a file without end."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from special_files import device, listened_at, pipe

from wsgi_coverage.data import regular_files

MakeData = Callable[..., Path]


@pytest.mark.parametrize("make", [pipe, listened_at, device, Path.mkdir])
def test_a_source_that_is_no_regular_file_is_named_and_not_opened(
    project: Path, data_file: MakeData, build_report: Any, make: Callable[[Path], None]
) -> None:
    path = data_file(".coverage.a", {"app.py": [1], "hostile.py": [1]})
    make(project / "hostile.py")

    report = build_report(path)

    (warning,) = report.warnings
    assert warning.startswith(f"{project / 'hostile.py'} is not in the figures: No source for code")
    assert "it is no regular file" in warning
    assert report.summary["statements"] > 0


def test_a_source_of_two_gigabytes_is_named_and_not_read(
    project: Path, data_file: MakeData, build_report: Any
) -> None:
    path = data_file(".coverage.a", {"hostile.py": [1]})
    with (project / "hostile.py").open("wb") as file:
        file.truncate(2 << 30)

    (warning,) = build_report(path).warnings

    assert "it has 2,147,483,648 bytes, and no more than 33,554,432 are read" in warning


def test_a_pipe_takes_the_place_of_a_file_after_it_was_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    check = regular_files.check

    def then_replaced(*arguments: Any, **named: Any) -> None:
        check(*arguments, **named)
        path.unlink()
        os.mkfifo(path)

    monkeypatch.setattr(regular_files, "check", then_replaced)

    with pytest.raises(regular_files.UnreadableError):
        regular_files.read(path)


def test_a_file_is_read_up_to_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10)

    assert regular_files.read(path, 10) == b"x" * 10
    with pytest.raises(regular_files.UnreadableError, match="it has 10 bytes, and no more than 9"):
        regular_files.read(path, 9)
