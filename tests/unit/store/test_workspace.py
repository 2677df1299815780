"""Folders to work in: what killed processes leave is swept, and nothing of living ones."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from wsgi_coverage.store.workspace import BUILDING, sweep, working_on, workplace

WORKER = """
import sys
from pathlib import Path
from wsgi_coverage.store.workspace import workplace

with workplace(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("")
    print(folder.name, flush=True)
    sys.stdin.read()
"""
ELSEWHERE = ("unshare", "--pid", "--uts", "--mount", "--mount-proc", "--fork", "--kill-child")
OTHER_HOST = (*ELSEWHERE, "sh", "-c", 'hostname another && exec "$@"', "sh")


def can_unshare() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*OTHER_HOST, "true"], capture_output=True, check=False).returncode == 0


@contextmanager
def at_work(
    parent: Path, within: tuple[str, ...] = ()
) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another process, and the folder that it works in."""
    process = subprocess.Popen(
        [*within, sys.executable, "-c", WORKER, str(parent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            yield process, parent / process.stdout.readline().strip()
        finally:
            process.kill()


def test_a_workplace_is_gone_afterwards(tmp_path: Path) -> None:
    with workplace(tmp_path) as folder:
        (folder / "half").write_text("")
        assert folder.stat().st_mode & 0o777 == 0o700

    assert list(tmp_path.iterdir()) == []


def test_what_was_renamed_stays(tmp_path: Path) -> None:
    with workplace(tmp_path) as folder:
        folder.rename(tmp_path / "done")

    assert [path.name for path in tmp_path.iterdir()] == ["done"]


def test_what_a_killed_process_has_left_is_swept(tmp_path: Path) -> None:
    with at_work(tmp_path) as (process, folder):
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert folder.is_dir()

        sweep(tmp_path, age=0)

        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "within",
    [
        (),
        pytest.param(
            OTHER_HOST,
            marks=pytest.mark.skipif(not can_unshare(), reason="needs root and unshare(1)"),
            id="another host",
        ),
    ],
)
def test_what_a_living_process_works_on_stays_until_it_is_done(
    tmp_path: Path, within: tuple[str, ...]
) -> None:
    with at_work(tmp_path, within) as (process, folder):
        sweep(tmp_path, age=0)

        assert (folder / "half").is_file()
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait() == 0
        assert list(tmp_path.iterdir()) == []


def test_what_another_thread_works_on_stays(tmp_path: Path) -> None:
    with workplace(tmp_path) as folder:
        thread = threading.Thread(target=partial(sweep, tmp_path, age=0))
        thread.start()
        thread.join()
        assert folder.is_dir()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_that_was_forked_meanwhile_keeps_nothing_from_being_swept(tmp_path: Path) -> None:
    told, tell = os.pipe()
    parent = os.fork()
    if parent == 0:
        with workplace(tmp_path):
            child = os.fork()
            if child == 0:
                signal.pause()
            os.write(tell, str(child).encode())
            os._exit(0)  # as if it were killed
    os.waitpid(parent, 0)

    sweep(tmp_path, age=0)

    assert list(tmp_path.iterdir()) == []
    os.kill(int(os.read(told, 20)), signal.SIGKILL)
    os.close(told)
    os.close(tell)


def test_who_sweeps_all_the_time_disturbs_nobody(tmp_path: Path) -> None:
    done = threading.Event()

    def sweep_all_the_time() -> None:
        while not done.is_set():
            sweep(tmp_path, age=0)

    thread = threading.Thread(target=sweep_all_the_time)
    thread.start()
    try:
        for _ in range(300):
            with workplace(tmp_path) as folder:
                (folder / "half").write_text("")
                assert (folder / "half").is_file()
    finally:
        done.set()
        thread.join()


def test_what_was_written_to_just_now_stays_where_locks_may_tell_nothing(tmp_path: Path) -> None:
    folder = tmp_path / f"{BUILDING}a"
    folder.mkdir()
    (folder / "half").touch()
    os.utime(folder, (0, 0))

    sweep(tmp_path, age=60)
    assert folder.is_dir()

    os.utime(folder / "half", (0, 0))
    sweep(tmp_path, age=60)
    assert list(tmp_path.iterdir()) == []


def test_other_files_stay_and_links_are_not_followed(tmp_path: Path) -> None:
    theirs, folder = tmp_path / "theirs", tmp_path / "folder"
    for each in (theirs, folder):
        each.mkdir()
        (each / "file").write_text("")
    (folder / f"{BUILDING}link").symlink_to(theirs)

    sweep(folder, age=0)

    assert [path.name for path in folder.iterdir()] == ["file"]
    assert (theirs / "file").is_file()


def test_two_who_work_on_the_same_take_turns_and_leave_no_lock(tmp_path: Path) -> None:
    with working_on(tmp_path, "name"), pytest.raises(TimeoutError), working_on(tmp_path, "name", 0):
        pass

    assert list(tmp_path.iterdir()) == []


def test_where_there_is_nothing_to_be_swept_nothing_is_made(tmp_path: Path) -> None:
    sweep(tmp_path / "none", age=0)
    sweep(tmp_path, age=0)

    assert list(tmp_path.iterdir()) == []
