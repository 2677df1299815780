"""A lock between processes and threads that no fork keeps."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from wsgi_coverage.store.file_lock import locked

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def is_free(path: Path) -> bool:
    """Tell whether another process can take the lock now."""
    pid = os.fork()
    if pid == 0:
        try:
            with locked(path, 0.0):
                os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_while_it_is_held_no_other_process_takes_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"

    with locked(path, 0.0):
        held = is_free(path)
    after = is_free(path)

    assert (held, after) == (False, True)
    assert path.stat().st_mode & 0o777 == 0o600


def test_nor_does_another_thread_which_waits_for_it(tmp_path: Path) -> None:
    path, order = tmp_path / "lock", []

    def other() -> None:
        with locked(path, 10.0):
            order.append("other")

    thread = threading.Thread(target=other)
    with locked(path, 0.0):
        thread.start()
        with pytest.raises(TimeoutError), locked(path, 0.05):
            pass
        order.append("first")
    thread.join()

    assert order == ["first", "other"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_that_was_forked_meanwhile_does_not_keep_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    reading, writing = os.pipe()

    with locked(path, 0.0):
        pid = os.fork()
        if pid == 0:
            os.read(reading, 1)
            os._exit(0)
    free = is_free(path)
    os.write(writing, b".")
    os.waitpid(pid, 0)
    for fd in (reading, writing):
        os.close(fd)

    assert free


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_whoever_is_killed_lets_go_of_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        with locked(path, 0.0):
            os.write(writing, b".")
            signal.pause()
    os.read(reading, 1)
    held = is_free(path)

    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)

    assert (held, is_free(path)) == (False, True)
    for fd in (reading, writing):
        os.close(fd)


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), locked(tmp_path / "none" / "lock", 0.0):
        pass
    (tmp_path / "none").mkdir()
    with locked(tmp_path / "none" / "lock", 0.0):
        pass


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_whoever_holds_it_may_remove_its_file(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    opened = os.open

    def removed_after_it_was_opened(name: str, *arguments: int) -> int:
        fd = opened(name, *arguments)
        path.unlink()
        return fd

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", removed_after_it_was_opened)
        with pytest.raises(TimeoutError), locked(path, 0.0):
            pass

    with locked(path, 0.0):
        assert not is_free(path)
