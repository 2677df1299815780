"""What a published data file says of itself."""

import sqlite3
from pathlib import Path

import coverage
import pytest

from wsgi_coverage.data import stamp
from wsgi_coverage.data.stamp import BrokenSealError, Stamp

STAMP = Stamp(worker_id="h.1.a", host="h", epoch=3)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    out = tmp_path / ".coverage.h.1.a"
    data = coverage.CoverageData(str(out))
    data.add_lines({"/app/app.py": [1, 2]})
    data.close()
    return out


def fingerprints(path: Path) -> dict[str, str]:
    with stamp.reading(path) as connection:
        return stamp.read_fingerprints(connection)


def test_a_stamp_is_read_as_it_was_put(path: Path) -> None:
    stamp.put(path, STAMP)

    assert stamp.read(path) == STAMP


def test_a_stamped_file_is_sealed_and_another_is_not(path: Path) -> None:
    before = stamp.is_sealed(path.read_bytes())

    stamp.put(path, STAMP)

    assert (before, stamp.is_sealed(path.read_bytes())) == (False, True)


def test_a_seal_shows_every_flipped_bit_but_of_its_own_presence(path: Path) -> None:
    stamp.put(path, STAMP)
    content = path.read_bytes()

    for offset in range(len(stamp.MAGIC), len(content), 101):
        path.write_bytes(content[:offset] + bytes([content[offset] ^ 4]) + content[offset + 1 :])
        with pytest.raises(BrokenSealError):
            stamp.is_sealed(path.read_bytes())


def test_a_seal_shows_that_the_end_is_missing(path: Path) -> None:
    stamp.put(path, STAMP)
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(BrokenSealError):
        stamp.is_sealed(path.read_bytes())


def test_whoever_changes_a_file_takes_its_seal_off(path: Path) -> None:
    stamp.put(path, STAMP)

    stamp.put_fingerprints(path, {"/app/app.py": "v1"})

    assert not stamp.is_sealed(path.read_bytes())
    assert stamp.read(path) == STAMP


def test_a_change_does_not_wait_for_the_disk(path: Path) -> None:
    with stamp.changing(path) as connection:
        waits = connection.execute("pragma synchronous").fetchone()[0]

    assert not waits


def test_a_file_that_is_sealed_again_is_whole(path: Path) -> None:
    stamp.put(path, STAMP)
    stamp.put_fingerprints(path, {"/app/app.py": "v"})
    stamp.put(path, STAMP)

    assert stamp.is_sealed(path.read_bytes())
    assert fingerprints(path) == {"/app/app.py": "v"}


@pytest.mark.parametrize("content", [b"", b"x", b"x" * 5000, stamp.MAGIC])
def test_what_is_no_data_file_has_no_seal(content: bytes) -> None:
    assert not stamp.is_sealed(content)


def test_coverage_combine_reads_a_sealed_file_and_leaves_it_as_it_is(
    path: Path, tmp_path: Path
) -> None:
    stamp.put(path, STAMP)
    content = path.read_bytes()

    cov = coverage.Coverage(data_file=str(tmp_path / ".coverage"), config_file=False)
    cov.combine(strict=True, keep=True)

    assert cov.get_data().lines("/app/app.py") == [1, 2]
    assert path.read_bytes() == content
    cov.get_data().close(force=True)


def test_sqlite_finds_nothing_wrong_with_a_sealed_file(path: Path) -> None:
    stamp.put(path, STAMP)

    connection = sqlite3.connect(path)
    found = connection.execute("pragma integrity_check").fetchone()
    connection.close()

    assert found == ("ok",)


def test_fingerprints_are_read_as_they_were_put(path: Path) -> None:
    stamp.put_fingerprints(path, {"/app/é, b.py": "v1", "/app/new\nline.py": "v2"})
    stamp.put_fingerprints(path, {"/app/é, b.py": "v3"})

    assert fingerprints(path) == {"/app/é, b.py": "v3", "/app/new\nline.py": "v2"}


def test_a_file_without_fingerprints_has_none(path: Path) -> None:
    assert fingerprints(path) == {}
