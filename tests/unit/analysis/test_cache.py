"""The analysis cache."""

import errno
import os
from pathlib import Path

import pytest

from wsgi_coverage.analysis.cache import AnalysisCache
from wsgi_coverage.data.packed import pack, read_packed
from wsgi_coverage.system import own_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "report").mkdir()
    return tmp_path / "report"


@pytest.fixture
def cache(tmp_path: Path, folder: Path) -> AnalysisCache:
    """A cache with one value, `one`, that a report has too."""
    cache = AnalysisCache(tmp_path / "cache")
    own_files.replace(folder / "one", pack({"a": [1, "\udcff"]}))
    cache.take("one", folder)
    return cache


def test_what_was_kept_comes_back(cache: AnalysisCache) -> None:
    assert cache.get("one") == {"a": [1, "\udcff"]}
    assert cache.get("other") is None


@pytest.mark.parametrize("position", [0, 15, 16, -1])
def test_one_wrong_byte_is_as_good_as_nothing(
    cache: AnalysisCache, folder: Path, position: int
) -> None:
    path = cache.folder / "one"
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)

    assert cache.get("one") is None
    assert not cache.link_into("one", folder)


@pytest.mark.parametrize("content", [b"", b"short"])
def test_a_file_that_is_not_whole_is_as_good_as_nothing(
    cache: AnalysisCache, content: bytes
) -> None:
    (cache.folder / "one").write_bytes(content)

    assert cache.get("one") is None


def test_a_loan_outlives_the_cache(cache: AnalysisCache, tmp_path: Path) -> None:
    (tmp_path / "snapshot").mkdir()

    assert cache.link_into("one", tmp_path / "snapshot")
    (cache.folder / "one").unlink()

    assert read_packed(tmp_path / "snapshot" / "one") == {"a": [1, "\udcff"]}


def test_a_loan_takes_no_room_of_its_own(cache: AnalysisCache, tmp_path: Path) -> None:
    (tmp_path / "snapshot").mkdir()

    cache.link_into("one", tmp_path / "snapshot")

    assert (tmp_path / "snapshot" / "one").samefile(cache.folder / "one")


def test_where_there_are_no_links_a_loan_is_a_copy(
    cache: AnalysisCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "another file system")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "snapshot").mkdir()

    assert cache.link_into("one", tmp_path / "snapshot")

    assert [path.name for path in (tmp_path / "snapshot").iterdir()] == ["one"]
    assert read_packed(tmp_path / "snapshot" / "one") == {"a": [1, "\udcff"]}


def test_what_was_not_used_for_longest_is_pruned_first(cache: AnalysisCache, folder: Path) -> None:
    for age, name in enumerate(["newest", "newer", "older", "oldest"]):
        own_files.replace(folder / name, pack(name))
        cache.take(name, folder)
        os.utime(cache.folder / name, (1000 - age, 1000 - age))
    (cache.folder / "one").unlink()
    size = (cache.folder / "newest").stat().st_size

    cache.prune(used=["oldest"], limit=2 * size + size // 2)

    assert {path.name for path in cache.folder.iterdir()} == {"oldest", "newest"}


def test_below_the_limit_only_what_killed_writers_left_is_pruned(cache: AnalysisCache) -> None:
    left, new = (cache.folder / f"{own_files.TEMPORARY}{each}" for each in ("left", "new"))
    left.touch()
    os.utime(left, (1, 1))
    new.touch()

    cache.prune(used=[])

    assert {path.name for path in cache.folder.iterdir()} == {"one", new.name}


def test_a_write_that_fails_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "replace", fail)

    with pytest.raises(OSError, match="full"):
        own_files.replace(folder / "two", b"x")

    assert list(folder.iterdir()) == []
