"""Which sources have changed since workers loaded them."""

import json
import os
from pathlib import Path

import pytest

from wsgi_coverage.data import stamp, versions
from wsgi_coverage.data.versions import VersionsOnDisk, current

LONG_AGO = 1_000_000_000  # nanoseconds since 1970
AT_ONCE = -10_000_000_000  # nanoseconds


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "app.py"
    path.write_text("x = 1\n")
    os.utime(path, ns=(LONG_AGO, LONG_AGO))
    return path


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What has been read to hash it, from an empty memory on; no source is too young."""
    names: list[str] = []
    fingerprint = stamp.fingerprint
    monkeypatch.setattr(versions, "_known", {})
    monkeypatch.setattr(versions, "SETTLED", AT_ONCE)
    monkeypatch.setattr(
        versions.stamp, "fingerprint", lambda name: (names.append(str(name)), fingerprint(name))[1]
    )
    return names


def loaded(**fingerprints: str) -> stamp.Fingerprints:
    return "\0".join(fingerprints), ",".join(fingerprints.values())


def test_a_source_is_hashed_once_for_all_workers(source: Path, hashed: list[str]) -> None:
    known = VersionsOnDisk(lambda name: str(source))

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


@pytest.mark.parametrize("mtime", [LONG_AGO, None], ids=["set-back", "young"])
def test_a_source_written_just_now_is_hashed_every_time(
    source: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch, mtime: int | None
) -> None:
    monkeypatch.undo()
    if mtime is None:
        os.utime(source)

    assert current(str(source)) == stamp.fingerprint(source)
    assert str(source) not in versions._known
    assert (versions.noted(str(source)) or [])[:-1] == [*versions.NOT_KNOWN]


def test_what_another_process_has_found_is_not_hashed_again(
    source: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = versions.noted(str(source))
    monkeypatch.setattr(versions, "_known", {})
    hashed.clear()

    versions.remember(json.loads(json.dumps({str(source): noted})))

    assert versions.noted(str(source)) == noted
    assert hashed == []


def test_what_another_process_has_found_of_an_edited_source_does_not_count(
    source: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = versions.noted(str(source))
    monkeypatch.setattr(versions, "_known", {})
    assert noted is not None
    source.write_text("x = 2\n")
    os.utime(source, ns=(LONG_AGO, LONG_AGO))

    versions.remember({str(source): noted})

    assert current(str(source)) == stamp.fingerprint(source) != noted[-1]
    assert versions.has_changed(str(source), noted)


def test_what_is_known_is_not_replaced_by_what_another_process_has_found(
    source: Path, hashed: list[str]
) -> None:
    noted = versions.noted(str(source))
    assert noted is not None

    versions.remember({str(source): [*noted[:-1], "another"]})

    assert versions.noted(str(source)) == noted


def test_a_source_that_cannot_be_read_has_not_changed(tmp_path: Path) -> None:
    known = VersionsOnDisk(lambda name: str(tmp_path / name))

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
