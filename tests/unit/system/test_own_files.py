"""What is made is for the own user alone, whatever the umask, which stays as it is."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wsgi_coverage.system import own_files


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o777], ids=oct, autouse=True)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    assert os.umask(before) == request.param


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_folder_and_those_that_it_is_in_are_closed(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b" / "c"

    own_files.make_folder(folder)
    own_files.make_folder(folder)

    assert {mode(each) for each in (folder, folder.parent, folder.parent.parent)} == {0o700}


def test_a_folder_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a").chmod(0o755)

    own_files.make_folder(tmp_path / "a")

    assert mode(tmp_path / "a") == 0o755


def test_a_folder_cannot_be_made_where_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "a").touch()

    with pytest.raises(NotADirectoryError):
        own_files.make_folder(tmp_path / "a")


def test_a_folder_that_is_removed_while_it_is_looked_at_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def there_for_a_moment(folder: Path) -> None:
        monkeypatch.undo()
        raise FileExistsError(folder)

    monkeypatch.setattr(own_files, "new_folder", there_for_a_moment)

    own_files.make_folder(tmp_path / "a")

    assert (tmp_path / "a").is_dir()


@pytest.mark.parametrize(
    "make", [os.mkfifo, Path.touch, Path.mkdir, lambda path: path.symlink_to(path)]
)
def test_whatever_has_the_name_of_a_folder_is_removed_without_waiting(
    tmp_path: Path, make: Callable[[Path], object]
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    make(folder / "inside")
    make(tmp_path / "beside")

    own_files.remove_tree(folder)
    own_files.remove_tree(tmp_path / "beside")

    assert not [*tmp_path.iterdir()]


def test_files_are_closed(tmp_path: Path) -> None:
    written, replaced, created = (tmp_path / name for name in ("written", "replaced", "created"))

    own_files.write(written, "text \u00e9")
    own_files.replace(replaced, b"bytes")
    own_files.create(created)

    assert {mode(each) for each in (written, replaced, created)} == {0o600}
    assert written.read_text(encoding="utf-8") == "text \u00e9"
    assert replaced.read_bytes() == b"bytes"
    assert created.read_bytes() == b""
    assert len(list(tmp_path.iterdir())) == 3


def test_a_file_that_replaces_another_is_closed_until_then(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("former")

    with own_files.replacing(target, mode=0o640) as temporary:
        temporary.write_text("new")
        assert (mode(temporary), target.read_text()) == (0o600, "former")

    assert (mode(target), target.read_text()) == (0o640, "new")
    assert [*tmp_path.iterdir()] == [target]


@pytest.mark.parametrize("error", [OSError, ValueError, KeyboardInterrupt])
def test_of_a_file_that_fails_nothing_is_left(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "target"
    target.write_text("former")

    def write_half() -> None:
        with own_files.replacing(target) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write_half()

    assert target.read_text() == "former"
    assert [*tmp_path.iterdir()] == [target]


def test_no_file_takes_a_folder_s_place(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()

    with pytest.raises(IsADirectoryError):
        own_files.replace(tmp_path / "folder", "text")

    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_what_is_whole_takes_the_place_of_what_had_the_name(tmp_path: Path) -> None:
    made, taken, elsewhere = (tmp_path / name for name in ("made", "taken", "elsewhere"))
    elsewhere.write_text("former")
    taken.symlink_to(elsewhere)
    for given, expected in ((None, 0o600), (0o640, 0o640)):
        own_files.write(made, "content")

        own_files.put_in_place(made, taken, given)

        assert (taken.read_text(), mode(taken), taken.is_symlink()) == ("content", expected, False)
    assert elsewhere.read_text() == "former"
    assert not made.exists()


def test_a_second_name_takes_the_place_of_what_had_it(tmp_path: Path) -> None:
    source, free, taken = (tmp_path / name for name in ("source", "free", "taken"))
    source.write_text("content")
    taken.write_text("former")

    for target in (free, taken, taken):
        own_files.link(source, target)
        assert target.samefile(source)

    assert sorted(tmp_path.iterdir()) == sorted([source, free, taken])


def test_a_name_for_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        own_files.link(tmp_path / "missing", tmp_path / "target")

    assert [*tmp_path.iterdir()] == []


def test_what_is_there_is_created_no_second_time(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("kept")

    own_files.create(tmp_path / "a")

    assert (tmp_path / "a").read_text() == "kept"


def test_what_others_have_written_is_closed(tmp_path: Path) -> None:
    (tmp_path / "site" / "css").mkdir(parents=True)
    (tmp_path / "site" / "css" / "style.css").write_text("")

    own_files.restrict(tmp_path / "site")

    assert mode(tmp_path / "site" / "css") == mode(tmp_path / "site") == 0o700
    assert mode(tmp_path / "site" / "css" / "style.css") == 0o600
