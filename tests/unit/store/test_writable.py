"""Why a folder cannot be written to, told by looking at it."""

import errno
import os
import sqlite3
from pathlib import Path

import pytest

from wsgi_coverage.errors import (
    AccessDeniedError,
    BuildFailedError,
    DiskFullError,
    ReadOnlyError,
    StorageError,
    is_disk_full,
    is_shortage,
    refusal,
    storage_errors,
)
from wsgi_coverage.store import writable
from wsgi_coverage.store.writable import can_open_files, check_removable, why_not_writable


def disk(**facts: int) -> os.statvfs_result:
    names = ("bsize", "frsize", "blocks", "bfree", "bavail", "files", "ffree", "favail", "flag")
    usual = {"blocks": 10, "bfree": 5, "bavail": 5}
    return os.statvfs_result([*(({**usual, **facts}).get(name, 0) for name in names), 255])


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({}, None),
        ({"flag": os.ST_RDONLY}, "the file system is read-only"),
        ({"bfree": 0, "bavail": 0}, "no room on the disk"),
        ({"blocks": 0, "bfree": 0, "bavail": 0}, None),  # one that does not count blocks
    ],
)
def test_a_disk_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, facts: dict[str, int], why: str | None
) -> None:
    monkeypatch.setattr(writable.os, "statvfs", lambda path: disk(**facts))

    assert why_not_writable(tmp_path) == why
    assert why_not_writable(tmp_path / "not" / "there") == why


def test_what_is_on_a_full_disk_can_be_taken_away_and_on_a_read_only_one_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writable.os, "statvfs", lambda path: disk(bfree=0, bavail=0))
    check_removable(tmp_path, "the cache")
    monkeypatch.setattr(writable.os, "statvfs", lambda path: disk(flag=os.ST_RDONLY))
    with pytest.raises(ReadOnlyError, match="read-only: the cache cannot be written to"):
        check_removable(tmp_path, "the cache")


def test_a_folder_that_the_user_may_not_write_to_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writable.os, "access", lambda *_, **__: False)
    monkeypatch.setattr(writable.os, "supports_effective_ids", set())

    assert why_not_writable(tmp_path) == AccessDeniedError.why


def test_whether_files_can_be_opened_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    assert can_open_files()

    def refuse(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(writable.os, "open", refuse)
    assert not can_open_files()


def sqlite(name: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("refused")
    error.sqlite_errorname = name
    return error


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (OSError(errno.EROFS, ""), errno.EROFS),
        (OSError(errno.ENOENT, ""), None),
        (OSError("without a number"), None),
        (ValueError(), None),
        (sqlite("SQLITE_FULL"), errno.ENOSPC),
        (sqlite("SQLITE_READONLY_DBMOVED"), errno.EROFS),
        (sqlite("SQLITE_CANTOPEN"), errno.EIO),
        (sqlite("SQLITE_IOERR_WRITE"), errno.EIO),
        (sqlite("SQLITE_CORRUPT"), None),
    ],
)
def test_what_the_system_refused_is_told_by_its_number(
    error: Exception, number: int | None
) -> None:
    assert refusal(error) == number
    wrapped = RuntimeError("coverage.py's")
    wrapped.__cause__ = error
    assert refusal(wrapped) == number
    with (
        pytest.raises(RuntimeError if number is None else StorageError) as raised,
        storage_errors("it cannot be written"),
    ):
        raise wrapped
    if number is None:
        assert raised.value is wrapped
    else:
        assert str(raised.value).endswith(": it cannot be written")
        assert raised.value.__cause__ is wrapped


def test_a_storage_error_without_a_text_of_its_own_has_that_of_the_system() -> None:
    with (
        pytest.raises(DiskFullError, match=r"^no room on the disk: \[Errno 28\] .*'report'"),
        storage_errors(),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "report")


def test_errors_of_this_project_stay_what_they_are_whatever_the_cause() -> None:
    failed = BuildFailedError("said already")
    failed.__cause__ = OSError(errno.ENOSPC, "")

    with pytest.raises(BuildFailedError) as raised, storage_errors("it cannot be written"):
        raise failed
    assert raised.value is failed


def test_sqlite_that_opens_nothing_for_want_of_a_descriptor_is_told_from_other_reasons(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("wsgi_coverage.errors.os.open", refuse)

    assert refusal(sqlite("SQLITE_CANTOPEN")) == errno.EMFILE
    assert is_shortage(sqlite("SQLITE_CANTOPEN"))
    assert not is_disk_full(sqlite("SQLITE_CANTOPEN"))
