"""What killed processes have left is removed at the next occasion, and nothing of living ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from stand_ins import Site
from wsgi_calls import JSON

from wsgi_coverage.store.workspace import LOCK, working_on

Wrap = Callable[..., Site]

CACHE, SNAPSHOTS = ".wsgi-coverage-cache", ".wsgi-coverage-snapshots"
HALF = ".building-0123456789abcdef"
WORKED_ON = ".building-fedcba9876543210"
DELETED = ".building-deleted-20260101T000000.000000Z-00000000"


def make_old(top: Path) -> None:
    for path in (top, *top.rglob("*")):
        os.utime(path, (0, 0))


def half_made(parent: Path, name: str) -> Path:
    (parent / name / "sources").mkdir(parents=True)
    (parent / name / "data.coverage").write_bytes(b"half")
    make_old(parent / name)
    return parent / name


@pytest.mark.parametrize("occasion", ["start", "refresh", "snapshot"])
def test_at_the_next_occasion_what_is_half_made_is_gone_and_what_is_being_made_is_not(
    wrap: Wrap, tmp_path: Path, occasion: str
) -> None:
    site = wrap()
    folders = [tmp_path / CACHE / "reports", tmp_path / SNAPSHOTS]
    left = [half_made(folder, name) for folder in folders for name in (HALF, DELETED)]
    for name in (".wsgi-coverage-new-0123456789abcdef", f"reports/{HALF}{LOCK}"):
        (tmp_path / CACHE / name).touch()
        make_old(tmp_path / CACHE / name)
        left.append(tmp_path / CACHE / name)
    of_living = [half_made(folder, WORKED_ON) for folder in folders]
    young = half_made(tmp_path / SNAPSHOTS, ".building-ffffffffffffffff")
    os.utime(young)

    with working_on(folders[0], WORKED_ON), working_on(folders[1], WORKED_ON):
        if occasion == "start":
            assert wrap().get("/snapshots").status == 200  # the first request to the dashboard
        else:
            assert site.post(f"/{occasion}", JSON).status == 200

        assert [path for path in left if path.exists()] == []
        assert all((path / "data.coverage").is_file() for path in (*of_living, young))


def test_where_nothing_is_left_nothing_is_made(wrap: Wrap, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))

    assert wrap().get("/snapshots").status == 200

    assert sorted(tmp_path.rglob("*")) == before


def test_what_cannot_be_swept_harms_nobody(
    wrap: Wrap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = half_made(tmp_path / SNAPSHOTS, HALF)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("not yours")

    monkeypatch.setattr("wsgi_coverage.store.workspace.locked", refuse)
    answer = wrap().get("/snapshots")

    assert (answer.status, answer.json()) == (200, [])
    assert left.is_dir()
