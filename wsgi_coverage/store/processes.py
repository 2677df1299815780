"""The table of the processes that mark lines in one memory: ids, flags, turn numbers, requests.

It has fixed slots in a mapped file: a process registers in some microseconds, and its entry stays
readable if it is killed. An entry has the process id and the time of registration: if the process
with this id has started later, it is another one, and the entry is of a process that has ended.

Concurrency: a slot belongs to one process, which claims it under a record lock on its bytes
(``fcntl.lockf``). No fork inherits that lock, and nothing waits for it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import struct
import time
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path

from wsgi_coverage.store.mapped import Mapped, map_file
from wsgi_coverage.store.private import is_alive

OWN_STAT = Path("/proc/self/stat")
SLOTS = 1024
SIZE = 128  # bytes of a slot
HEAD = struct.Struct("<IIQQQQQ")  # pid, flags, time of registration, turn, requests, token, epoch
NAME = slice(64, 128)  # the server, UTF-8, padded by NUL
PID = slice(0, 4)
FLAGS = slice(4, 8)
TURN = slice(16, 24)
REQUESTS = slice(24, 32)
EPOCH = slice(40, 48)

SERVES = 1  # has had a request, and compares the turn number at the start of each
LISTENS = 2  # has a thread that answers the channel
PAUSED = 4
LOADING = 8  # loads an application, and has had no request yet
LOSES = 16  # some lines that it ran found no room
HOLDS = 32  # its lines reach the memory only by a flush

TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
# Seconds; the system tells a process's start in ticks.
TOLERANCE = 2 / TICKS
STRIDE = 37  # between two slots that a process tries; odd, so that it tries all of them


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessEntry:
    """The entry of one process."""

    pid: int
    flags: int
    noted_at: float  # time of registration, in seconds since boot
    turn: int  # the last turn number that it has applied
    requests: int
    token: int  # random: tells it from other processes with the same id
    epoch: int  # the epoch of the lines that it runs now
    server: str | None

    def has(self, flag: int) -> bool:
        """Tell whether a flag is set."""
        return bool(self.flags & flag)

    @property
    def is_in_load(self) -> bool:
        """Tell whether it marks lines of the load alone, and follows no epoch meanwhile."""
        return self.has(LOADING) and not self.has(SERVES) and not self.has(LISTENS)


class Slot:
    """This process's own entry, to be changed in place."""

    def __init__(self, view: Mapped, *, token: int) -> None:
        self.token = token
        self._view = view
        self.requests: memoryview[int] = view[REQUESTS].cast("Q")
        self._turn = view[TURN].cast("Q")
        self._epoch = view[EPOCH].cast("Q")

    def note_applied(self, turn: int, epoch: int) -> None:
        """Record the turn that this process has applied, and its current epoch."""
        self._epoch[0] = epoch
        self._turn[0] = turn

    def set(self, flag: int, value: bool = True) -> None:
        """Set a flag, or clear it if `value` is False."""
        flags = int.from_bytes(self._view[FLAGS], "little")
        flags = flags | flag if value else flags & ~flag
        self._view[FLAGS] = flags.to_bytes(4, "little")

    @property
    def pid(self) -> int:
        """The process id of the entry; 0 once it was freed."""
        return int.from_bytes(self._view[PID], "little")

    def has(self, flag: int) -> bool:
        """Tell whether a flag is set, as it is now."""
        return bool(int.from_bytes(self._view[FLAGS], "little") & flag)

    def name_server(self, server: str) -> None:
        """Record the name of the server, cut to 64 bytes."""
        room = NAME.stop - NAME.start
        self._view[NAME] = server.encode("utf-8", "replace")[:room].ljust(room, b"\0")

    def free(self) -> None:
        """Free the slot at the end of this process; in a forked child, only forget the parent's."""
        if self.pid == os.getpid():
            self._view[PID] = bytes(4)
        view = memoryview(bytearray(SIZE))  # later changes have no effect
        self._view, self._turn, self._epoch = view, view[TURN].cast("Q"), view[EPOCH].cast("Q")


class Table:
    """The table of one memory.

    Args:
        path: the table's file.
        make: whether to create the file if there is none.

    Raises:
        OSError: there is no room.
    """

    def __init__(self, path: Path, *, make: bool = True) -> None:
        self.path = path
        self._map = map_file(path, SLOTS * SIZE, make=make)
        self._mapped_as = os.fsencode(os.path.realpath(path))  # in /proc/<pid>/maps
        self._inode = os.stat(path).st_ino  # noqa: PTH116

    def claim(self, *, flags: int, turn: int, epoch: int, token: int) -> Slot:
        """Register this process, and return its slot.

        Raises:
            FileNotFoundError: the table's file was removed or replaced.
            BlockingIOError: other processes lock the slots just now; try again.
            OSError: the table is full (ENOSPC).
        """
        pid = os.getpid()
        is_locked = False
        head = HEAD.pack(pid, flags, _boot_ns(), turn, 0, token, epoch)
        fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            if os.fstat(fd).st_ino != self._inode:
                raise FileNotFoundError(errno.ENOENT, "another table is in its place", self.path)
            for attempt in range(SLOTS):
                number = (pid + attempt * STRIDE) % SLOTS
                at = number * SIZE
                occupant = int.from_bytes(self._map[at : at + 4], "little")
                if occupant not in (0, pid) and self._lives(number):
                    continue
                try:
                    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, SIZE, at)
                except OSError as error:
                    if error.errno not in (errno.EACCES, errno.EAGAIN):
                        raise
                    is_locked = True
                    continue  # another process is claiming it
                now = int.from_bytes(self._map[at : at + 4], "little")
                if now not in (0, pid) and now != occupant:
                    continue
                self._map[at : at + SIZE] = head.ljust(SIZE, b"\0")
                return Slot(self._map[at : at + SIZE], token=token)
        finally:
            os.close(fd)  # which releases all locks
        if is_locked:
            raise BlockingIOError(errno.EAGAIN, "the table is being looked through just now")
        raise OSError(errno.ENOSPC, f"{SLOTS} processes mark lines already")

    def entries(self) -> list[ProcessEntry]:
        """Return all entries, also those of processes that have ended."""
        raw = bytes(self._map)
        out = []
        for at in range(0, len(raw), SIZE):
            if raw[at : at + 4] != b"\0\0\0\0":
                pid, flags, noted, turn, requests, token, epoch = HEAD.unpack_from(raw, at)
                name = (
                    raw[at + NAME.start : at + NAME.stop].rstrip(b"\0").decode("utf-8", "replace")
                )
                out.append(
                    ProcessEntry(
                        pid=pid,
                        flags=flags,
                        noted_at=noted / 1e9,
                        turn=turn,
                        requests=requests,
                        token=token,
                        epoch=epoch,
                        server=name or None,
                    )
                )
        return out

    def living(self) -> list[ProcessEntry]:
        """Return the entries of processes that run and map this memory; free all others."""
        out = []
        for entry in self.entries():
            if self._is_living(entry):
                out.append(entry)
            else:
                self._give_back(entry)
        return out

    def has_living(self) -> bool:
        """Tell whether a process runs and maps this memory; may be called within `closed`."""
        return any(self._is_living(entry) for entry in self.entries())

    def _is_living(self, entry: ProcessEntry) -> bool:
        return is_noted_process(entry.pid, entry.noted_at) and self._maps(entry.pid)

    def _lives(self, number: int) -> bool:
        at = number * SIZE
        pid, _, noted, *_ = HEAD.unpack_from(bytes(self._map[at : at + HEAD.size]))
        return is_noted_process(pid, noted / 1e9)

    def _maps(self, pid: int) -> bool:
        """Tell whether a process still maps the table; not after an exec of another program."""
        if pid == os.getpid():
            return True
        try:
            return self._mapped_as in _maps(pid)
        except OSError:
            return True  # another user's

    def _give_back(self, entry: ProcessEntry) -> None:
        """Free the entry of a process that has ended, unless another has claimed it meanwhile."""
        with contextlib.suppress(OSError):
            fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
            try:
                for at in range(0, SLOTS * SIZE, SIZE):
                    head = HEAD.unpack_from(bytes(self._map[at : at + HEAD.size]))
                    if (head[0], head[5]) == (entry.pid, entry.token):
                        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, SIZE, at)
                        if HEAD.unpack_from(bytes(self._map[at : at + HEAD.size])) == head:
                            self._map[at : at + 4] = bytes(4)
                        return
            finally:
                os.close(fd)

    @contextlib.contextmanager
    def closed(self) -> Iterator[bool]:
        """Keep processes from claiming a slot in the block; yield False if one is just doing so.

        Nothing inside may open and close the table's file, which would release the lock (POSIX).
        """
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            yield False
            return
        try:
            try:
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
            else:
                yield True
        finally:
            os.close(fd)


def can_look() -> bool:
    """Tell whether there is a /proc, which processes without an entry are found by."""
    return OWN_STAT.exists()


def mapping_processes(folder: Path, noted: Container[int]) -> list[ProcessEntry]:
    """Return this user's processes that map a memory's chunks, whether they are registered or not.

    A fork inherits the chunks that its parent has mapped. A process that only reads lines maps
    none.

    Args:
        folder: the folder of the memory.
        noted: ids of processes to leave out.
    """
    user, out = os.geteuid(), []
    lines = re.compile(re.escape(os.fsencode(os.path.realpath(folder))) + rb"/[\w-]+\.lines")
    with contextlib.suppress(OSError), os.scandir("/proc") as entries:
        for entry in entries:
            pid = int(entry.name) if entry.name.isdigit() else 0
            with contextlib.suppress(OSError):
                if pid in (0, os.getpid()) or pid in noted or entry.stat().st_uid != user:
                    continue
                if lines.search(_maps(pid)):
                    out.append(_unnoted(pid))
    return out


def _maps(pid: int) -> bytes:
    with open(f"/proc/{pid}/maps", "rb") as maps:  # noqa: PTH123  called for each process
        return maps.read()


def _unnoted(pid: int) -> ProcessEntry:
    return ProcessEntry(
        pid=pid, flags=0, noted_at=0.0, turn=0, requests=0, token=0, epoch=0, server=None
    )


def noted_now() -> float:
    """Return the time since boot, in seconds, for `is_noted_process` to be called with later."""
    return _boot_ns() / 1e9


def _boot_ns() -> int:
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def is_noted_process(pid: int, noted_at: float) -> bool:
    """Tell whether the process that had this id at a time still runs; not if it is a zombie.

    Args:
        pid: its process id.
        noted_at: the time, as `noted_now` returned it.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123  called for each process
            fields = file.read().rpartition(b")")[2].split()
    except FileNotFoundError:
        return not can_look() and is_alive(pid)
    except OSError:
        return False
    started = int(fields[19]) / TICKS
    return fields[0] not in (b"Z", b"X") and started <= noted_at + TOLERANCE
