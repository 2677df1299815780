"""All memories of a host: what a reset does to those of other users."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import NoReturn

import pytest

from wsgi_coverage.collect.memories import Memories
from wsgi_coverage.errors import AccessDeniedError
from wsgi_coverage.store.files import FilesStore
from wsgi_coverage.store.memory import Memory


class Two(Memories):
    """The memory that a process marks lines in, and the one that it used before."""

    def __init__(self, folder: Path) -> None:
        store = FilesStore(folder / ".coverage", fallback=folder)
        super().__init__(lambda: store)
        self.now, self.before = Memory(folder / "now"), Memory(folder / "before")

    def own(self) -> list[Memory]:
        return [self.now, self.before]

    def distant(self) -> list[Memory]:
        return []


@pytest.fixture
def memories(tmp_path: Path) -> Two:
    """The older memory takes no more files."""
    for name in ("now", "before"):
        (tmp_path / name).mkdir()
    two = Two(tmp_path)

    def refuse(epoch: int) -> NoReturn:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    two.before.make_room = refuse  # type: ignore[method-assign]
    return two


def test_a_reset_needs_no_room_where_the_user_before_marked_lines(memories: Two) -> None:
    memories.before.user = os.geteuid() + 1

    memories.reset()

    assert memories.now.state().epoch == memories.before.state().epoch == 1
    assert (memories.now.folder / "run-1-0.lines").exists()


def test_a_reset_is_refused_where_the_own_user_has_no_room(memories: Two) -> None:
    with pytest.raises(AccessDeniedError, match="cannot store the lines of a new epoch"):
        memories.reset()

    assert memories.now.state().epoch == 0
