"""A snapshot's data file, `<id>.coverage` in the folder of snapshots, which scripts look for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from coverage import CoverageData
from stand_ins import Site
from wsgi_calls import JSON

RunScript = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / ".wsgi-coverage-snapshots"


def take(site: Site, label: str = "") -> str:
    return str(site.post("/snapshot", JSON, form={"label": label}).json()["id"])


def listed(site: Site) -> list[str]:
    return [each["id"] for each in site.get("/snapshots").json()]


@pytest.mark.parametrize(
    ("label", "slug"),
    [
        ("", ""),
        ("Before the Release!", "-before-the-release"),
        ("  --a__b--  ", "-a-b"),
        ("\u6f22\u5b57", "-label"),
        ("x" * 60, "-" + "x" * 50),
        ("x" * 49 + " y", "-" + "x" * 49),
    ],
)
def test_an_id_ends_with_the_slug_of_the_label(site: Site, label: str, slug: str) -> None:
    identity = take(site, label)

    assert identity.partition("Z-")[2][8:] == slug
    assert site.get(f"/snapshots/{identity}/report").status == 200


def test_it_is_found_by_its_suffix_and_read_by_coverage(site: Site, folder: Path) -> None:
    identity = take(site, "first")

    [found] = folder.glob("*.coverage")
    data = CoverageData(basename=str(found))
    data.read()

    assert found.stem == identity
    assert found.read_bytes() == site.get(f"/snapshots/{identity}").body
    assert data.measured_files()
    data.close()


@pytest.mark.parametrize("path", ["", "/report", "/files"])
def test_an_id_may_have_the_suffix(site: Site, path: str) -> None:
    identity = take(site)

    answer = site.get(f"/snapshots/{identity}.coverage{path}")

    assert answer.body == site.get(f"/snapshots/{identity}{path}").body
    assert answer.status == 200


@pytest.mark.parametrize("suffix", ["", ".coverage"])
def test_it_goes_with_the_snapshot(site: Site, folder: Path, suffix: str) -> None:
    identity = take(site)

    assert site.call("DELETE", f"/snapshots/{identity}{suffix}", JSON).status == 200
    assert list(folder.iterdir()) == []


def test_who_removes_it_removes_the_snapshot(site: Site, folder: Path) -> None:
    removed, kept = take(site), take(site)
    (folder / f"{removed}.coverage").unlink()

    assert listed(site) == [kept]
    assert site.get(f"/snapshots/{removed}/report").error == "unknown-snapshot"
    assert site.call("DELETE", f"/snapshots/{removed}", JSON).error == "unknown-snapshot"

    site.post("/refresh", JSON)

    assert {path.name for path in folder.iterdir()} == {kept, f"{kept}.coverage"}


def test_a_snapshot_of_an_earlier_version_gets_it_at_the_next_refresh(
    site: Site, folder: Path
) -> None:
    identity = take(site)
    (folder / f"{identity}.coverage").unlink()
    (folder / identity / "has-file").unlink()  # earlier versions made neither

    assert listed(site) == [identity]
    assert site.get(f"/snapshots/{identity}/report").status == 200

    site.post("/refresh", JSON)

    assert [path.stem for path in folder.glob("*.coverage")] == [identity]
    assert listed(site) == [identity]


def test_one_that_was_made_just_before_its_process_was_killed_counts(
    site: Site, folder: Path
) -> None:
    identity = take(site)
    (folder / identity / "has-file").unlink()

    site.post("/refresh", JSON)
    (folder / f"{identity}.coverage").unlink()

    assert listed(site) == []


def test_it_is_a_copy_where_the_file_system_has_no_links(
    site: Site, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)

    identity = take(site)

    file = folder / f"{identity}.coverage"
    assert file.stat().st_nlink == 1
    assert file.read_bytes() == (folder / identity / "data.coverage").read_bytes()
    assert file.stat().st_mode & 0o777 == 0o600
    assert len(list(folder.iterdir())) == 2


def test_a_snapshot_that_is_deleted_while_it_is_made_leaves_no_file(
    site: Site, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def delete_first(source: Path, target: Path) -> None:
        shutil.copy(source, target)
        shutil.rmtree(folder / target.stem)

    monkeypatch.setattr("wsgi_coverage.report.snapshots.own_files.link", delete_first)

    take(site)

    assert list(folder.iterdir()) == []


def test_files_of_other_names_are_left_alone(site: Site, folder: Path) -> None:
    identity = take(site)
    others = ["mine.coverage", "20260101T000000.000000Z-00000000.coverage"]
    for name in others:
        (folder / name).write_text("mine", encoding="utf-8")

    site.post("/refresh", JSON)

    assert listed(site) == [identity]
    assert all((folder / name).read_text(encoding="utf-8") == "mine" for name in others)
