"""The private folder: this user's alone, and the same for all processes of the user."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from wsgi_coverage.offload import child_main
from wsgi_coverage.store import private
from wsgi_coverage.store.channel import sweep_dead
from wsgi_coverage.store.private import (
    NAMES,
    elsewhere,
    in_first_place,
    note_owner,
    private_folder,
    private_folders,
    refused,
)

NOBODY = 65534
ROOT = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give folders away"
)

Plant = Callable[[Path], None]


@pytest.fixture
def data_file(tmp_path: Path) -> Path:
    return tmp_path / "project" / ".coverage"


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In the place of shared memory."""
    (tmp_path / "memory").mkdir()
    monkeypatch.setattr(private, "SHARED_MEMORY", tmp_path / "memory")
    return tmp_path / "memory"


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In the place of the temporary folder."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path / "temporary"


def top_of(base: Path, number: int = 0) -> Path:
    name = f"wsgi-coverage-{os.geteuid()}"
    return base / (f"{name}-{number}" if number else name)


def give_away(folder: Path) -> None:
    folder.mkdir(parents=True)
    os.chown(folder, NOBODY, NOBODY)


def open_to_all(folder: Path) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o777)


def link(folder: Path) -> None:
    theirs = folder.parent / f"theirs-{folder.name}"
    theirs.mkdir(parents=True, mode=0o700)
    folder.symlink_to(theirs)


def lead_nowhere(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.symlink_to("nowhere")


def put_a_file(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.touch()


PLANTED = pytest.mark.parametrize(
    ("plant", "why"),
    [
        pytest.param(give_away, f"belongs to user {NOBODY}", marks=ROOT),
        (open_to_all, "has mode 777: others may write to it"),
        (link, "is a symbolic link"),
        (lead_nowhere, "is a symbolic link"),
        (put_a_file, "is no folder"),
    ],
)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_it_is_in_shared_memory_and_closed(memory: Path, data_file: Path, umask: int) -> None:
    before = os.umask(umask)
    folder = private_folder(data_file)
    os.umask(before)

    assert folder.parent == top_of(memory)
    assert mode(folder) == mode(folder.parent) == 0o700
    assert private_folders(data_file) == [folder]
    assert refused(data_file, folder) == []


@PLANTED
def test_what_others_made_first_is_not_used_and_all_go_to_the_same_other_place(
    memory: Path, data_file: Path, plant: Plant, why: str
) -> None:
    plant(top_of(memory))

    folder = private_folder(data_file)

    assert folder.parent == top_of(memory, 1)
    assert not top_of(memory).is_dir() or list(top_of(memory).iterdir()) == []
    assert private_folder(data_file) == in_first_place(data_file, lambda found: found) == folder
    assert private_folders(data_file) == [folder]
    assert refused(data_file, folder) == [f"{top_of(memory)} {why}"]


@PLANTED
def test_neither_is_the_folder_inside(
    memory: Path, data_file: Path, plant: Plant, why: str
) -> None:
    folder = private_folder(data_file)
    folder.rmdir()
    plant(folder)

    other = private_folder(data_file)

    assert other == top_of(memory, 1) / folder.name
    assert private_folders(data_file) == [other]
    assert refused(data_file, other) == [f"{folder} {why}"]


@PLANTED
def test_nothing_of_theirs_is_read(memory: Path, data_file: Path, plant: Plant, why: str) -> None:
    folder = private_folder(data_file)
    private.note_owner(folder, data_file)
    folder.parent.rename(top_of(memory, 5))
    theirs = memory / f"theirs-{top_of(memory).name}"
    plant(top_of(memory))
    if theirs.is_dir() or top_of(memory).is_dir():
        (top_of(memory) / folder.name).mkdir(mode=0o700)
        (top_of(memory) / "another").mkdir(mode=0o700)

    assert why
    assert private_folders(data_file) == [top_of(memory, 5) / folder.name]
    assert elsewhere(data_file) == []


def test_one_that_is_there_stays_the_one_when_what_was_in_its_way_has_gone(
    memory: Path, data_file: Path
) -> None:
    open_to_all(top_of(memory))
    folder = private_folder(data_file)

    top_of(memory).rmdir()

    assert private_folder(data_file) == folder
    assert refused(data_file, folder) == []


def test_one_of_this_user_s_that_others_may_only_read_is_closed_and_used(
    memory: Path, data_file: Path
) -> None:
    folder = private_folder(data_file)
    for each in (folder, folder.parent):
        each.chmod(0o755)

    assert private_folder(data_file) == folder
    assert mode(folder) == mode(folder.parent) == 0o700
    assert top_of(memory, 1).exists() is False


def take_all(base: Path) -> None:
    for number in range(NAMES):
        lead_nowhere(top_of(base, number))


def test_where_all_names_are_taken_it_has_one_that_nobody_can_make_first(
    memory: Path, temporary: Path, data_file: Path
) -> None:
    take_all(memory)
    take_all(temporary)

    folder = private_folder(data_file)

    assert folder.parent.parent == memory
    assert private.RANDOM.fullmatch(folder.parent.name.removeprefix(f"{top_of(memory).name}-"))
    assert mode(folder) == mode(folder.parent) == 0o700
    assert refused(data_file, folder) == [
        f"{top_of(memory, number)} is a symbolic link" for number in range(NAMES)
    ]
    assert private_folder(data_file) == folder
    assert private_folders(data_file) == [folder]


def test_it_is_found_when_what_was_in_its_way_has_gone(memory: Path, data_file: Path) -> None:
    take_all(memory)
    folder = private_folder(data_file)

    for number in range(NAMES):
        top_of(memory, number).unlink()

    assert private_folder(data_file) == folder
    assert private_folders(data_file) == [folder]


def test_workers_that_start_together_take_the_same_one(memory: Path, data_file: Path) -> None:
    take_all(memory)
    together = threading.Barrier(8)

    def start(_: int) -> Path:
        together.wait()
        return private_folder(data_file)

    with ThreadPoolExecutor(8) as workers:
        taken = {*workers.map(start, range(8))}

    assert private_folders(data_file) == [*taken]
    assert len([each for each in memory.iterdir() if each.is_dir()]) == 1


@pytest.mark.parametrize(
    "plant", [pytest.param(give_away, marks=ROOT), open_to_all, link, put_a_file]
)
def test_what_others_make_with_such_a_name_is_not_used(
    memory: Path, data_file: Path, plant: Plant
) -> None:
    take_all(memory)
    theirs = memory / f"{top_of(memory).name}-{0:021x}"
    plant(theirs)

    folder = private_folder(data_file)

    assert folder.parent != theirs
    assert private_folders(data_file) == [folder]


def test_the_temporary_folder_is_not_listed_where_nobody_is_in_the_way(
    memory: Path, temporary: Path, data_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = private_folder(data_file)
    monkeypatch.setattr(os, "scandir", lambda path: pytest.fail(f"{path} is listed"))

    assert private_folder(data_file) == folder
    assert private_folders(data_file) == [folder]
    assert elsewhere(data_file) == []


def test_where_nothing_can_be_made_the_error_says_so(
    memory: Path, temporary: Path, data_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)

    with pytest.raises(PermissionError, match=f"{memory}/"):
        private_folder(data_file)
    assert private_folders(data_file) == []


def test_a_place_without_room_is_left_for_the_next_and_no_other_name_is_tried(
    memory: Path, temporary: Path, data_file: Path
) -> None:
    def use(folder: Path) -> Path:
        if folder.is_relative_to(memory):
            raise OSError(28, "No space left on device")
        return folder

    assert in_first_place(data_file, use).parent == top_of(temporary)
    assert [path.name for path in memory.iterdir()] == [top_of(memory).name]


def test_folders_of_other_pid_namespaces_are_found_without_a_look_into_other_applications(
    memory: Path, data_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_into: list[Path] = []
    is_own = private._is_own

    def looking(folder: Path) -> bool:
        looked_into.append(folder)
        return is_own(folder)

    others = [private_folder(data_file.with_name(f"other{number}")) for number in range(3)]
    here = private._system
    with monkeypatch.context() as elsewhere_in:
        elsewhere_in.setattr(private, "_system", lambda: iter([next(here()), "pid:[1]", "1"]))
        folder = private_folder(data_file)
        note_owner(folder, data_file)
    private_folder(data_file)
    monkeypatch.setattr(private, "_is_own", looking)

    found = elsewhere(data_file)

    assert found == [folder]
    assert not {*others} & {*looked_into}


def test_sockets_of_killed_processes_are_swept_and_those_of_waiting_ones_are_not(
    memory: Path, data_file: Path
) -> None:
    folder = private.private_folder(data_file)
    dead, waits = (folder.parent / f"{private.SOCKET}{name}" for name in ("dead", "waits"))
    for path in (dead, waits):
        path.touch()
    os.utime(dead, (1.0, 1.0))

    sweep_dead(folder)

    assert sorted(folder.parent.iterdir()) == sorted([folder, waits])
    assert child_main.JOB_TIMEOUT < private.SOCKET_AGE
