"""The table of the processes that mark lines in one memory: ids, flags, turn numbers, requests.

Fixed slots in a mapped file, so that a process is there from a fork on for the price of some
microseconds, and stays readable whatever happens to it. A killed process's entry is recognised by
its process id and by the time at which it was noted: a process that began later is another.

Concurrency: a slot belongs to one process; it is claimed under a record lock of its own
(``fcntl.lockf``), which no fork inherits and which is never waited for.
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
HEAD = struct.Struct("<IIQQQQQ")  # pid, flags, noted at, turn, requests, token, epoch
NAME = slice(64, 128)  # the server, UTF-8, padded by NUL
PID = slice(0, 4)
FLAGS = slice(4, 8)
TURN = slice(16, 24)
REQUESTS = slice(24, 32)
EPOCH = slice(40, 48)

SERVES = 1  # it has had a request, and looks at the turn at the start of each
LISTENS = 2  # a thread of it answers the channel
PAUSED = 4
LOADING = 8  # it loads an application, and has had no request
LOSES = 16  # it has found no room for some of what it ran
HOLDS = 32  # it holds back what it has run until it flushes

TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
# A process's start is told in ticks of the system's clock.
TOLERANCE = 2 / TICKS
STRIDE = 37  # between two slots that a process tries; odd, so that it comes to all


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessEntry:
    """The entry of one process."""

    pid: int
    flags: int
    noted_at: float  # seconds since boot
    turn: int  # of the memory: the last that it has heard of
    requests: int
    token: int
    epoch: int  # that its lines go to
    server: str | None

    def has(self, flag: int) -> bool:
        """Tell whether a flag is set."""
        return bool(self.flags & flag)


class Slot:
    """This process's own entry, to be changed in place."""

    def __init__(self, view: Mapped, *, token: int) -> None:
        self.token = token
        self._view = view
        self.requests: memoryview[int] = view[REQUESTS].cast("Q")
        self._turn = view[TURN].cast("Q")
        self._epoch = view[EPOCH].cast("Q")

    def note_applied(self, turn: int, epoch: int) -> None:
        """Note the turn that this process has heard of, and the epoch that its lines go to now."""
        self._epoch[0] = epoch
        self._turn[0] = turn

    def set(self, flag: int, value: bool = True) -> None:
        """Raise a flag, or lower it."""
        flags = int.from_bytes(self._view[FLAGS], "little")
        flags = flags | flag if value else flags & ~flag
        self._view[FLAGS] = flags.to_bytes(4, "little")

    @property
    def pid(self) -> int:
        """The process id of the entry; 0 once it was given back."""
        return int.from_bytes(self._view[PID], "little")

    def has(self, flag: int) -> bool:
        """Tell whether a flag is raised."""
        return bool(int.from_bytes(self._view[FLAGS], "little") & flag)

    def name_server(self, server: str) -> None:
        """Note the name of the server."""
        room = NAME.stop - NAME.start
        self._view[NAME] = server.encode("utf-8", "replace")[:room].ljust(room, b"\0")

    def free(self) -> None:
        """Give the slot back: this process ends. A forked child leaves its parent's alone."""
        if self.pid == os.getpid():
            self._view[PID] = bytes(4)
        view = memoryview(bytearray(SIZE))  # later notes go nowhere
        self._view, self._turn, self._epoch = view, view[TURN].cast("Q"), view[EPOCH].cast("Q")


class Table:
    """The table of one memory.

    Args:
        path: of its file, made if it is not there.
        make: False: it has to be there.

    Raises:
        OSError: there is no room.
    """

    def __init__(self, path: Path, *, make: bool = True) -> None:
        self.path = path
        self._map = map_file(path, SLOTS * SIZE, make=make)
        self._mapped_as = os.fsencode(os.path.realpath(path))  # in /proc/<pid>/maps
        self._inode = os.stat(path).st_ino  # noqa: PTH116

    def claim(self, *, flags: int, turn: int, epoch: int, token: int) -> Slot:
        """Enter this process, and return its entry.

        Raises:
            FileNotFoundError: the table's file is gone, or another is in its place.
            BlockingIOError: another process holds the table closed for a moment.
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
                    continue  # another process claims it just now
                now = int.from_bytes(self._map[at : at + 4], "little")
                if now not in (0, pid) and now != occupant:
                    continue
                self._map[at : at + SIZE] = head.ljust(SIZE, b"\0")
                return Slot(self._map[at : at + SIZE], token=token)
        finally:
            os.close(fd)  # which lets go of all locks
        if is_locked:
            raise BlockingIOError(errno.EAGAIN, "the table is being looked through just now")
        raise OSError(errno.ENOSPC, f"{SLOTS} processes mark lines already")

    def entries(self) -> list[ProcessEntry]:
        """Every entry, of living processes or not."""
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
        """The processes that run and still map this memory; other entries are freed."""
        out = []
        for entry in self.entries():
            if self._is_living(entry):
                out.append(entry)
            else:
                self._give_back(entry)
        return out

    def has_living(self) -> bool:
        """Tell whether there is one; closes no descriptor of the table, as `closed` demands."""
        return any(self._is_living(entry) for entry in self.entries())

    def _is_living(self, entry: ProcessEntry) -> bool:
        return is_noted_process(entry.pid, entry.noted_at) and self._maps(entry.pid)

    def _lives(self, number: int) -> bool:
        at = number * SIZE
        pid, _, noted, *_ = HEAD.unpack_from(bytes(self._map[at : at + HEAD.size]))
        return is_noted_process(pid, noted / 1e9)

    def _maps(self, pid: int) -> bool:
        """False for a process that has run another program by exec."""
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
        """Let no process claim an entry in the block; yields False where one is just doing so.

        Nothing inside may open and close the table's file: that lets go of the lock (POSIX).
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
    """Tell whether there is a /proc, by which processes are found that are in no table."""
    return OWN_STAT.exists()


def mapping_processes(folder: Path, noted: Container[int]) -> list[ProcessEntry]:
    """The processes of this user that map a memory's chunks of lines, whether in a table or not.

    A fork inherits what its parent has mapped. A process that only reads lines maps no chunk.

    Args:
        folder: of the memory.
        noted: process ids that are not looked at.
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
    """The time at which a process is noted, in seconds since boot; see `is_noted_process`."""
    return _boot_ns() / 1e9


def _boot_ns() -> int:
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def is_noted_process(pid: int, noted_at: float) -> bool:
    """Tell whether the process still runs that had this id when it was noted.

    A zombie does not.
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
