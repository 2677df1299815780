"""Files that are mapped by several processes."""

from __future__ import annotations

import errno
import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wsgi_coverage.store import mapped
from wsgi_coverage.store.mapped import map_file

Child = Callable[..., dict[str, Any]]
SIZE = 200_000
needs_proc = pytest.mark.skipif(
    not os.path.exists("/proc/self/fd"), reason="descriptors and maps are told by /proc"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mapped"


@pytest.fixture
def no_fallocate(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system, or a file system, that cannot allocate room at once."""
    monkeypatch.delattr(os, "posix_fallocate", raising=False)


def test_files_can_be_mapped_here() -> None:
    assert mapped.is_possible()


def test_a_new_file_holds_zeros_and_is_for_its_owner_alone(path: Path) -> None:
    view = map_file(path, SIZE)

    assert bytes(view) == bytes(SIZE)
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_is_written_to_a_map_is_in_every_other_and_in_the_file(path: Path) -> None:
    first, second = map_file(path, SIZE), map_file(path, SIZE)

    first[SIZE - 1] = 1

    assert second[SIZE - 1] == 1
    assert path.read_bytes()[-1] == 1


def test_its_room_is_allocated_in_full_before_it_is_mapped(path: Path) -> None:
    map_file(path, SIZE)

    assert path.stat().st_size == SIZE
    assert path.stat().st_blocks * 512 >= SIZE


def test_what_a_file_holds_stays_when_it_is_mapped_again_or_made_longer(path: Path) -> None:
    path.write_bytes(b"held")

    assert bytes(map_file(path, SIZE)[:5]) == b"held\0"
    assert bytes(map_file(path, 2)) == b"he"
    assert path.stat().st_size == SIZE


@needs_proc
def test_no_descriptor_is_kept(path: Path) -> None:
    before = os.listdir("/proc/self/fd")

    view = map_file(path, SIZE)

    assert os.listdir("/proc/self/fd") == before
    view[0] = 1


def test_no_descriptor_is_kept_when_a_file_cannot_be_mapped(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")

    with pytest.raises(OSError, match="Is a directory"):
        map_file(tmp_path, SIZE)

    assert os.listdir("/proc/self/fd") == before


def test_a_map_outlives_its_file(path: Path) -> None:
    view = map_file(path, SIZE)

    path.unlink()
    view[SIZE - 1] = 1

    assert view[SIZE - 1] == 1


@needs_proc
def test_a_file_is_unmapped_when_nothing_refers_to_any_part_of_it(path: Path) -> None:
    part = map_file(path, SIZE)[SIZE // 2 :].cast("Q")
    gc.collect()
    mapped_before = str(path) in Path("/proc/self/maps").read_text()
    part[0] = 1

    del part
    gc.collect()

    assert mapped_before
    assert str(path) not in Path("/proc/self/maps").read_text()


def test_a_link_is_not_followed(tmp_path: Path, path: Path) -> None:
    path.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        map_file(path, SIZE)

    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.usefixtures("no_fallocate")
def test_where_room_cannot_be_allocated_at_once_zeros_are_written(path: Path) -> None:
    path.write_bytes(b"held")

    view = map_file(path, SIZE)

    assert bytes(view) == b"held".ljust(SIZE, b"\0")
    assert path.stat().st_blocks * 512 >= SIZE


def test_zeros_that_are_written_late_take_nothing_away_that_another_process_has_marked(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes make the same file at once, and one has finished before the other writes."""

    def mark_before(write: Callable[..., int]) -> Callable[..., int]:
        def late(*args: Any) -> int:
            marking.undo()
            map_file(path, SIZE)[1000] = 1
            return write(*args)

        return late

    with monkeypatch.context() as marking:
        for name in ("write", "pwrite"):
            marking.setattr(os, name, mark_before(getattr(os, name)))
        marking.delattr(os, "posix_fallocate", raising=False)

        view = map_file(path, SIZE)

    assert view[1000] == 1


def test_a_file_that_finds_no_room_is_not_cut_under_those_who_have_mapped_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes make the same file at once, and room is there for the second only."""
    bare = os.posix_fallocate

    def full(*args: int) -> None:
        monkeypatch.setattr(os, "posix_fallocate", bare)
        map_file(path, SIZE)
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "posix_fallocate", full)

    with pytest.raises(OSError, match="full"):
        map_file(path, SIZE)

    assert path.stat().st_size == SIZE


def test_a_full_disk_is_an_error_and_never_a_signal(on_small_disk: Child) -> None:
    told = on_small_disk(
        """
        held = map_file(Path("disk/held"), 512 << 10)
        held[100] = 1
        try:
            map_file(Path("disk/more"), 768 << 10)
        except OSError as error:
            tell(error=error.errno)
        for at in range(0, len(held), 512):  # each of its pages has room
            held[at] = 1
        maps = Path("/proc/self/maps").read_text()
        tell(held=held[100], ones=sum(held), maps="disk/more" in maps)
        held.release()
        os.unlink("disk/held")
        tell(later=len(map_file(Path("disk/more"), 768 << 10)))
        """,
        kilobytes=1024,
    )

    assert told["error"] == errno.ENOSPC
    assert told["held"] == 1
    assert told["ones"] == 1024 + 1
    assert not told["maps"]
    assert told["later"] == 768 << 10


def test_a_daemon_that_closes_every_descriptor_keeps_its_maps_and_its_own_files(
    child: Child,
) -> None:
    told = child(
        """
        view = map_file(Path("mapped"), 200_000)
        os.closerange(3, 1024)
        own = [os.open(f"own-{number}", os.O_RDWR | os.O_CREAT) for number in range(8)]
        view[:4] = b"ours"
        del view
        again = map_file(Path("mapped"), 200_000)
        tell(seen=bytes(again[:4]).decode(), own=[os.fstat(fd).st_size for fd in own])
        """
    )

    assert told == {"seen": "ours", "own": [0] * 8}
