"""Release folders: what another release is about, by the path of a file below it."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsgi_coverage.data.releases import Releases, find_releases


@pytest.fixture
def top(tmp_path: Path) -> Path:
    (tmp_path / "shop" / "releases" / "12" / "backend").mkdir(parents=True)
    return tmp_path / "shop"


def made(top: Path, *names: str) -> None:
    for name in names:
        path = top / "releases" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.parametrize("link", ["current", "releases/current"])
@pytest.mark.parametrize("below", ["", "backend"])
def test_a_link_that_leads_to_the_release_tells_where_all_are(
    top: Path, link: str, below: str
) -> None:
    (top / link).symlink_to(top / "releases" / "12")
    made(top, "12/app.py")
    old, new = (str(top / "releases" / each / "app.py") for each in ("11", "12"))

    for folder in (top / link / below, top / "releases" / "12" / below):
        found = find_releases(folder)

        assert found is not None
        found.find_others([old])
        assert found.name(old) == new


@pytest.mark.parametrize("link", ["current", "releases/current"])
@pytest.mark.parametrize("below", ["", "backend"])
def test_a_process_of_an_earlier_release_tells_the_same(top: Path, link: str, below: str) -> None:
    (top / link).symlink_to(top / "releases" / "12")
    made(top, "11/backend/app.py", "11/gone.py", "12/backend/app.py", "12/new.py")
    old, new = (str(top / "releases" / each / "backend" / "app.py") for each in ("11", "12"))

    found = find_releases(top / "releases" / "11" / below)

    assert found is not None
    found.find_others([old, new])
    assert found.name(old) == new
    assert found.name(new) is None
    assert found.is_gone(str(top / "releases" / "11" / "gone.py"))


def test_a_link_to_what_no_process_knows_of_tells_nothing(top: Path) -> None:
    (top / "releases" / "other").symlink_to(top / "releases" / "12")
    made(top, "11/app.py", "12/app.py")
    mine = str(top / "releases" / "11" / "app.py")

    found = find_releases(top / "releases" / "11")

    assert found is not None
    found.find_others([mine])
    assert found.name(mine) is None


def test_without_a_link_there_are_no_releases(top: Path) -> None:
    (top / "broken").symlink_to(top / "elsewhere")

    assert find_releases(top / "releases" / "12") is None


def test_links_to_several_releases_do_not_tell_which_is_current(top: Path) -> None:
    made(top, "11/app.py")
    (top / "other").symlink_to(top / "releases" / "11")
    (top / "current").symlink_to(top / "releases" / "12")

    assert find_releases(top / "releases" / "13") is None


def test_a_link_to_what_is_far_above_tells_nothing(top: Path) -> None:
    deep = top / "releases" / "12" / "a" / "b" / "c"
    deep.mkdir(parents=True)
    (top / "current").symlink_to(top / "releases" / "12")

    assert find_releases(deep) is None


def test_folders_of_the_system_are_no_releases() -> None:
    assert find_releases(Path("/usr/lib")) is None  # to which /lib leads on many systems


def test_a_file_of_another_release_is_the_one_with_the_same_path_here(top: Path) -> None:
    for name in ("app.py", "backend/views.py"):
        (top / "releases" / "12" / name).touch()
    old, new = str(top / "releases" / "11"), str(top / "releases" / "12")

    releases = Releases(str(top / "releases"), "12")
    releases.find_others([f"{old}/app.py", f"{old}/gone.py", f"{new}/app.py"])

    assert releases.name(f"{old}/app.py") == f"{new}/app.py"
    assert releases.name(f"{old}/backend/views.py") == f"{new}/backend/views.py"
    assert releases.name(f"{old}/gone.py") == f"{new}/gone.py"
    for name in (f"{new}/app.py", old, f"{top}/releases-old/11/app.py", "app.py"):
        assert releases.name(name) is None
        assert not releases.is_gone(name)
    assert releases.is_gone(f"{old}/gone.py")
    assert not releases.is_gone(f"{old}/app.py")


def test_a_folder_of_something_else_is_no_release(top: Path) -> None:
    (top / "releases" / "12" / "app.py").touch()
    common = f"{top}/releases/common"

    releases = Releases(str(top / "releases"), "12")
    releases.find_others([f"{common}/app.py", f"{common}/a.py", f"{common}/b.py"])

    assert releases.name(f"{common}/a.py") is None
    assert not releases.is_gone(f"{common}/a.py")
