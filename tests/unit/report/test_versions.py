"""Which sources have changed since workers loaded them."""

import os
from pathlib import Path

import pytest

from wsgi_coverage.data import stamp, versions
from wsgi_coverage.data.versions import Versions, current

LONG_AGO = 1_000_000_000  # nanoseconds since 1970


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "app.py"
    path.write_text("x = 1\n")
    os.utime(path, ns=(LONG_AGO, LONG_AGO))
    return path


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What has been read to hash it, from an empty memory on."""
    names: list[str] = []
    fingerprint = stamp.fingerprint
    monkeypatch.setattr(versions, "_known", {})
    monkeypatch.setattr(
        versions.stamp, "fingerprint", lambda name: (names.append(str(name)), fingerprint(name))[1]
    )
    return names


def loaded(**fingerprints: str) -> stamp.Fingerprints:
    return "\0".join(fingerprints), ",".join(fingerprints.values())


def test_a_source_is_hashed_once_for_all_workers(source: Path, hashed: list[str]) -> None:
    known = Versions(lambda name: str(source))

    answers = [known.changed(loaded(app=version)) for version in ("old", "older", "old")]

    assert answers == [["app"]] * 3
    assert hashed == [str(source)]


def test_a_source_that_looks_the_same_is_not_hashed_again(source: Path, hashed: list[str]) -> None:
    answers = [current(str(source)) for _ in range(3)]

    assert answers == [stamp.fingerprint(source)] * 3
    assert hashed == [str(source)] * 2  # the second is this test's own


@pytest.mark.parametrize("change", ["mtime", "size", "replaced"])
def test_a_source_that_looks_otherwise_is_hashed_again(
    source: Path, hashed: list[str], change: str
) -> None:
    current(str(source))
    if change == "replaced":
        other = source.with_name("other")
        other.write_text("x = 2\n")
        os.utime(other, ns=(LONG_AGO, LONG_AGO))
        other.replace(source)
    else:
        source.write_text("x = 2\n" * (1 + (change == "size")))
        later = LONG_AGO + (change == "mtime")
        os.utime(source, ns=(later, later))

    assert current(str(source)) == stamp.fingerprint(source)


def test_a_source_written_just_now_is_hashed_every_time(source: Path, hashed: list[str]) -> None:
    source.write_text("x = 2\n")
    looks = os.stat(source)
    current(str(source))
    source.write_text("x = 3\n")
    os.utime(source, ns=(looks.st_atime_ns, looks.st_mtime_ns))

    assert current(str(source)) == stamp.fingerprint(source)


def test_a_source_that_cannot_be_read_has_not_changed(tmp_path: Path) -> None:
    known = Versions(lambda name: str(tmp_path / name))

    assert known.changed(loaded(missing="v")) == []


def test_what_is_remembered_is_bounded(
    source: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "MOST", 2)
    for number in range(5):
        path = source.with_name(f"{number}.py")
        path.write_text("x = 1\n")
        os.utime(path, ns=(LONG_AGO, LONG_AGO))
        current(str(path))

    assert len(versions._known) <= 2
