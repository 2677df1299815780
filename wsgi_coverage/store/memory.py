"""One host's memory of executed lines: a byte for each line, mapped by all processes that run them.

In the private folder (wsgi_coverage.store.private):

    reserve                 allocated room, freed when there is no other
    control                 a page that all processes map: turn, epoch, whether workers pause
    processes               the processes that mark lines here (wsgi_coverage.store.processes)
    index                   one appended line, a claim, for each version of a source:
                            [room in bytes, name, fingerprint]
    load-<chunk>.lines      lines that ran at load
    run-<epoch>-<chunk>.lines   lines that ran at runtime, in one epoch
    none-<epoch>-<chunk>.lines  lines whose phase is unknown
    flushed-…, untold-…     the same two, of processes that hold lines back and flush them
    ….counted               the lines of an ended epoch that were counted, or reset, when it ended
    load.log, …             what is no plain line: arcs, contexts (wsgi_coverage.store.log)
    labels-<epoch>.log      lines of labelled requests
    uses-<epoch>-….counts   how many requests each label had (wsgi_coverage.store.label_uses)
    day-<ordinal>-<chunk>.lines, day-<ordinal>-<hash>-<chunk>.lines
                            lines that ran on one day, in whatever phase, without and in a release
    release-<hash>          the name of a release
    early-<hash>.json       modules that had run when measuring began in some of its processes

The order of the claims defines the layout: the first claim of a source counts, and the place of its
lines follows from the claims before it. So a source has the same place in every epoch and phase and
for every process, without a lock. Bytes only change from 0 to 1, so a reader gets a valid subset if
it reads the index first. A plane is all lines of one phase and epoch that were marked, or flushed,
in one way, such as `run-<epoch>`: one file for each chunk of the layout.

A change for all processes (a reset, a pause) begins a new turn: processes compare its number with
the last one that they have applied. Until then a process marks lines in its old epoch; what it
marks there after the end of that epoch counts in the current one.

Concurrency: a `Memory` is used by all threads of a process without a lock. Every thread that reads
the index computes the same places, so several may do so at once, in any order, and a fork or a
signal handler's exception may come in between. Resets and collections are made under the build
lock.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import socket
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from wsgi_coverage.data import regular_files
from wsgi_coverage.data.imported import EarlyModule, as_plain, from_plain
from wsgi_coverage.data.phases import Phase
from wsgi_coverage.data.reading import Claim, Day, LabelUse, Place, Reading, Record, join_uses
from wsgi_coverage.data.stored import read_json
from wsgi_coverage.errors import is_shortage
from wsgi_coverage.store import label_uses
from wsgi_coverage.store.log import (
    Known,
    Log,
    LogFullError,
    read_objects,
    read_records,
    with_numbers,
    write_whole,
)
from wsgi_coverage.store.mapped import Mapped, map_file
from wsgi_coverage.store.private import ABOUT
from wsgi_coverage.store.processes import ProcessEntry, Table, can_look, mapping_processes
from wsgi_coverage.system import own_files

CHUNK = 1 << 18  # bytes of lines in a chunk file; a larger source has a chunk of its own
HEADER = 64  # bytes before the lines
EARLY = "early-"
MOST_EARLY = 256  # files of early modules; workers that start alike share one
MAGIC = b"wsgi-coverage lines 1\n".ljust(HEADER, b"\0")
RESERVE = CHUNK + (1 << 16)  # bytes: for one more chunk, and for some hundreds of claims
MOST_CHUNKS = 128  # of a plane, 32 MB; a memory cgroup kills processes that use too much
MOST_LINES = 1 << 24  # of one source
MOST_DAYS = 30  # that stay in memory for a process that marks lines there and does not check
PAGE = 4096
CONTROL_MAGIC = 0x0001_6F63_6773_7721  # identifies this layout; a memory of another is not used
DAY_FILE = re.compile(r"day-(\d+)-(?:([0-9a-f]{16})-)?(\d+)\.lines")
CHUNK_FILE = re.compile(r"(load|run|none|flushed|untold)(?:-(\d+))?-(\d+)\.(lines|counted)")
# First part of a plane's name, by phase.
MARKED: dict[Phase | None, str] = {Phase.RUNTIME: "run", None: "none"}
FLUSHED: dict[Phase | None, str] = {Phase.RUNTIME: "flushed", None: "untold"}
UNTOLD = (MARKED[None], FLUSHED[None])
DAYS = "day-"
LABELS = "labels-"
RELEASE = "release-"

# Words of the control page.
LAYOUT, TURN, EPOCH, OLDEST, PAUSED, MOVED, KEPT_UNTIL, SAVED_SUM, MISSED, LATE, LEASED, DAY = (
    range(12)
)
LOST_DAY, DAY_TURN, FORGOTTEN = range(12, 15)
IDENTITY = slice(1024, 1280)


T = TypeVar("T")


class State(NamedTuple):
    """The content of the control page."""

    turn: int
    epoch: int
    oldest: int  # the oldest epoch of which all lines count
    paused: bool
    day: int = 0  # the day whose lines are marked, too, as `date.toordinal` counts; 0: none is


class _Claim(NamedTuple):
    """A source that is claimed in the index."""

    start: int  # offset in the index of the first line that claims it
    place: Place


class _IndexRead(NamedTuple):
    """How far the index has been read, and the place of the next source."""

    end: int  # number of bytes that have been read
    chunk: int  # the chunk that is being filled
    at: int  # offset of the next source in it
    chunks: int  # number of chunks


class MemoryFullError(OSError):
    """There is no room for more lines, sources or records in the memory."""


class MemoryGoneError(OSError):
    """The folder was removed, or another memory is in its place."""


class Memory:
    """This process's view of a memory.

    Args:
        folder: the private folder.
        make: whether to create the memory if there is none.

    Raises:
        OSError: there is no room, or the folder cannot be used.
    """

    def __init__(self, folder: Path, *, make: bool = True) -> None:
        self.folder = folder
        self.user: int = os.geteuid()
        self._read = _IndexRead(0, 0, 0, 1)
        self._known: dict[tuple[str, str], _Claim] = {}
        self._chunks: dict[str, dict[int, Mapped]] = {}  # by plane
        self._log = Log(folder)
        self._early: dict[str, frozenset[EarlyModule]] = {}  # by file name
        self.release: str = ""  # in which this process marks days; "": in none that has a name
        self._releases: dict[str, str] = {"": ""}  # by hash
        self._page = map_file(folder / "control", PAGE, make=make)
        self._control = self._page.cast("Q")
        # The turn number, which each request compares.
        self.turn: memoryview[int] = self._page[8 * TURN : 8 * TURN + 8].cast("Q")
        if self._control[LAYOUT] not in (0, CONTROL_MAGIC):
            raise MemoryGoneError(errno.EINVAL, "the memory there has another layout", str(folder))
        self._control[LAYOUT] = CONTROL_MAGIC
        self._control_file = str(folder / "control")
        self._inode = os.stat(self._control_file).st_ino  # noqa: PTH116
        if not self._page[IDENTITY.start]:
            self._name_anew()
        if make:  # created here with its mode, which FileIO cannot set
            own_files.create(folder / "index")
        self.table: Table = Table(folder / "processes", make=make)

    def _name_anew(self) -> None:
        made = f"{socket.gethostname()}.{os.getpid()}.{os.urandom(4).hex()}"
        self._page[IDENTITY] = made.encode()[:255].ljust(256, b"\0")

    @property
    def id(self) -> str:
        """Its id, the suffix of its data file: host, process id of its creator, random."""
        return bytes(self._page[IDENTITY]).rstrip(b"\0").decode("utf-8", "replace")

    # The control page

    def state(self) -> State:
        """Read the control page; all values are of the same turn."""
        control = self._control
        while True:
            turn = control[TURN]
            state = State(
                turn, control[EPOCH], control[OLDEST], bool(control[PAUSED]), control[DAY]
            )
            if control[TURN] == turn:
                return state

    def announce(self, *, epoch: int, oldest: int, paused: bool) -> None:
        """Announce an epoch, or a pause, to all processes: begin a turn if anything changes.

        Args:
            epoch: the current epoch.
            oldest: the oldest epoch that counts.
            paused: whether measuring is paused.
        """
        control = self._control
        if (control[EPOCH], control[OLDEST], bool(control[PAUSED])) == (epoch, oldest, paused):
            return
        control[EPOCH], control[OLDEST], control[PAUSED] = epoch, oldest, paused
        self.begin_turn()

    def announce_day(self, look: Callable[[], int]) -> None:
        """Announce a new day to all processes, by a new turn; nothing happens if it goes on.

        Args:
            look: returns the day, as `date.toordinal` counts.
        """
        known = self._control[DAY]
        # Looked at after that: who looks just before midnight does not undo what others announce.
        day = look()
        if day != known:
            self._control[DAY] = day
            self.begin_turn()
            self._control[DAY_TURN] = self._control[TURN]

    @property
    def lost_day(self) -> int:
        """The last day of which some lines could not be marked, for want of room; 0: none."""
        return self._control[LOST_DAY]

    def begin_turn(self) -> None:
        """Set a new turn number, so that all processes check; a time, so that each is unique."""
        self._control[TURN] = max(time.monotonic_ns(), self._control[TURN] + 1)

    def miss(self, epoch: int) -> None:
        """Record that an epoch was announced late, so its lines cannot be told from older ones."""
        self._control[MISSED] = epoch

    @property
    def has_missed(self) -> bool:
        """Tell whether the current epoch was announced late in this memory."""
        missed = self._control[MISSED]
        return bool(missed) and missed == self._control[EPOCH]

    @property
    def has_late_children(self) -> bool:
        """Tell whether forked children may map this memory without an entry in the table."""
        return bool(self._control[LATE])

    def note_late_children(self) -> None:
        """Record that forked children register only when they run new lines."""
        self._control[LATE] = 1

    def unregistered(self, noted: Container[int]) -> list[ProcessEntry]:
        """Return entries for the processes that map this memory and are not in the table.

        Args:
            noted: ids of processes to leave out.
        """
        return [] if not self.has_late_children else mapping_processes(self.folder, noted)

    @property
    def hides_children(self) -> bool:
        """Tell whether late children may exist that cannot be found, because there is no /proc."""
        return self.has_late_children and not can_look()

    @property
    def is_left(self) -> bool:
        """Tell whether its processes have to change to the memory that is in the folder now."""
        return bool(self._control[MOVED])

    def leave(self) -> None:
        """Have all its processes change to the memory that is in the folder now."""
        self._control[MOVED] = 1
        self.begin_turn()

    @property
    def is_there(self) -> bool:
        """False once the memory was removed or replaced."""
        try:
            return os.stat(self._control_file).st_ino == self._inode  # noqa: PTH116
        except OSError:
            return False

    def is_in_place_of(self, other: Memory) -> bool:
        """Tell whether this memory has replaced `other` in its folder."""
        return self._inode != other._inode

    # Places

    def place(self, name: str, version: str, room: int) -> Place:
        """Return the place of a source's lines; claim one if no process has done so.

        Args:
            name: the source's name in data files.
            version: fingerprint of its content.
            room: number of bytes: the highest line number, plus 1.

        Raises:
            MemoryFullError: there is no room for another source.
            MemoryGoneError: the memory was removed.
            OSError: the index cannot be read or written.
        """
        key = (name, version)
        if room > MOST_LINES:
            raise MemoryFullError(errno.EFBIG, f"a source of {room:,} lines is too long")
        found = self._known.get(key) or self._claim(key, room)
        if found.place.chunk >= MOST_CHUNKS:
            raise MemoryFullError(errno.ENOSPC, f"{MOST_CHUNKS} chunks of lines are taken already")
        return found.place

    def _claim(self, key: tuple[str, str], room: int) -> _Claim:
        with self._open_index("ab+") as index:
            self._read_appended(index)
            if key not in self._known:
                claim = b"\n" + json.dumps([room, *key]).encode() + b"\n"
                # All readers skip an incomplete line.
                self._with_reserve(lambda: write_whole(index.fileno(), claim))
                self._read_appended(index)
        found = self._known.get(key)
        if found is None:
            raise OSError(errno.EIO, "the index was changed by another program", str(self.folder))
        return found

    def _open_index(self, mode: str) -> FileIO:
        # A file closes itself if a signal handler raises just then; a bare descriptor stays open.
        if not self.is_there:
            raise MemoryGoneError(errno.ENOENT, "the memory was removed", str(self.folder))
        return FileIO(self.folder / "index", mode)

    def _read_appended(self, index: FileIO) -> None:
        """Read the claims that were appended since the last call."""
        read = self._read
        fd = index.fileno()
        raw = os.pread(fd, max(os.fstat(fd).st_size - read.end, 0), read.end)
        whole = raw[: raw.rfind(b"\n") + 1]
        for line in whole.splitlines(keepends=True):
            start, read = read.end, read._replace(end=read.end + len(line))
            claim = _parsed(line)
            if claim is None:
                continue
            name, version, room = claim
            known = self._known.get((name, version))
            if known is None or known.start == start:  # else an earlier line claims it
                place, read = _following(read, room)
                self._known[name, version] = _Claim(start, place)
        self._read = read

    def claims(self) -> list[Claim]:
        """Return the claims of all sources, also those of other processes.

        Raises:
            OSError: the index cannot be read.
        """
        # Never created here: the last process may just have removed it.
        with self._open_index("rb") as index:
            self._read_appended(index)
        return self.known()

    def known(self) -> list[Claim]:
        """Return the claims that this process has read from the index up to now."""
        return [Claim(*key, known.place) for key, known in self._known.copy().items()]

    # Chunks

    def chunk(self, phase: Phase | None, epoch: int, number: int) -> Mapped:
        """Return the mapped bytes of one chunk, to mark lines in; create it if needed.

        Raises:
            OSError: there is no room.
        """
        return self.chunk_of_plane(plane_of(phase, epoch), number)

    def chunk_of_plane(self, plane: str, number: int) -> Mapped:
        """Return what `chunk` does, for a plane given by its name."""
        chunks = self._chunks.setdefault(plane, {})
        found = chunks.get(number)
        if found is None:
            path = self.folder / f"{plane}-{number}.lines"
            if not self.is_there:
                raise MemoryGoneError(errno.ENOENT, "the memory was removed", str(self.folder))
            size = HEADER + self.size_of(number)
            whole = self._with_reserve(lambda: map_file(path, size))
            if bytes(whole[:HEADER]) not in (MAGIC, bytes(HEADER)):
                raise OSError(errno.EINVAL, "the file there holds no lines", f"{plane}-{number}")
            whole[:HEADER] = MAGIC
            found = chunks[number] = whole[HEADER:]
        return found

    def _with_reserve(self, action: Callable[[], T]) -> T:
        """Call an action that needs room; if there is none, free the reserve and try again."""
        try:
            return action()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
        (self.folder / "reserve").unlink(missing_ok=True)  # another process may have freed it
        try:
            return action()
        except OSError as error:
            raise MemoryFullError(error.errno, error.strerror) from error

    def make_room(self, epoch: int) -> None:
        """Allocate the reserve, and the chunks that processes will need in an epoch.

        Raises:
            OSError: there is no room.
        """
        map_file(self.folder / "reserve", RESERVE)
        numbers = {claim.place.chunk for claim in self.known()}
        kinds = {plane.partition("-")[0] for _, plane, _, kind in self._files() if kind == "lines"}
        for number in sorted({0, *numbers}):
            for kind in {MARKED[Phase.RUNTIME], *kinds} - {"load"}:
                self.chunk_of_plane(f"{kind}-{epoch}", number)

    def size_of(self, number: int) -> int:
        """Return the number of bytes of lines in a chunk."""
        rooms = [c.place.room for c in self.known() if c.place.chunk == number]
        return max(CHUNK, *rooms) if rooms else CHUNK

    def day_chunk(self, day: int, number: int) -> Mapped:
        """Return the mapped bytes of one chunk, to mark the lines of a day and `release` in.

        Raises:
            OSError: there is no room.
        """
        try:
            return self.chunk_of_plane(_day_plane(day, self.note_release()), number)
        except OSError:
            self._control[LOST_DAY] = max(self._control[LOST_DAY], day)
            raise

    def note_release(self) -> str:
        """Write the name of `release` to a file, for all readers; return its hash.

        Raises:
            OSError: there is no room.
        """
        key = _key_of(self.release)
        if key not in self._releases:
            own_files.replace(self.folder / f"{RELEASE}{key}", self.release)
            self._releases[key] = self.release
        return key

    def forget_days(self, *, but: int) -> None:
        """Unmap the chunks of days that are over in this process; all but one."""
        for plane in list(self._chunks):
            if plane.startswith(DAYS) and _parts_of(plane)[0] != but:
                self._chunks.pop(plane, None)

    def drop_days(self, before: int) -> None:
        """Remove the lines of days that are over and stored elsewhere.

        Not while a process may still mark some there, which has not checked since today began; but
        for days that are long over, whose loss is recorded.

        Args:
            before: the first day that is left.
        """
        turns = [entry.turn for entry in self.table.entries()]
        if min(turns, default=self._control[TURN]) < self._control[DAY_TURN]:
            before = min(before, self._control[DAY] - MOST_DAYS)
            if any(day < before for _, day, *_ in self._day_files()):
                self._control[LOST_DAY] = self._control[DAY]
        for path, day, *_ in list(self._day_files()):
            if day < before:
                path.unlink(missing_ok=True)

    def forget_epoch(self, epoch: int) -> None:
        """Unmap the chunks, and drop the records, of an epoch that this process has left."""
        for kind in (*MARKED.values(), *FLUSHED.values()):
            self.forget_plane(f"{kind}-{epoch}")

    def forget_plane(self, plane: str) -> None:
        """Unmap the chunks, and drop the records, of a plane that this process has left."""
        self._chunks.pop(plane, None)
        self._log.forget(plane)

    def mapped_chunks(self) -> dict[str, dict[int, Mapped]]:
        """Return the chunks that this process has mapped, by plane and number."""
        return {plane: dict(chunks) for plane, chunks in self._chunks.copy().items()}

    # Records

    def append(self, plane: str, found: Known) -> bool:
        """Append records that a plane does not have yet; tell whether there were any.

        Raises:
            OSError: there is no room.
        """
        if not self.is_there:
            raise MemoryGoneError(errno.ENOENT, "the memory was removed", str(self.folder))
        try:
            return self._with_reserve(lambda: self._log.append(plane, found))
        except LogFullError as error:
            raise MemoryFullError(errno.ENOSPC, error.strerror) from error

    def append_labelled(self, epoch: int, found: Known, uses: Mapping[str, LabelUse]) -> None:
        """Append lines of labelled requests, and how many had each label.

        Args:
            epoch: in which they ran.
            found: lines by record, whose contexts have the labels.
            uses: by context.

        Raises:
            OSError: there is no room.
        """
        if not self.is_there:
            raise MemoryGoneError(errno.ENOENT, "the memory was removed", str(self.folder))
        more = [{"context": context, **use._asdict()} for context, use in uses.items()]
        plane = f"{LABELS}{epoch}"
        try:
            self._with_reserve(lambda: self._log.append_unread(plane, found, more))
        except LogFullError as error:
            raise MemoryFullError(errno.ENOSPC, error.strerror) from error

    @property
    def forgotten(self) -> int:
        """A number that changes whenever labelled lines are forgotten, before and after that."""
        return self._control[FORGOTTEN]

    def forget_label(self, context: str) -> None:
        """Have what ran up to now for requests with a label no longer count.

        Args:
            context: the label's context in data files.

        Raises:
            OSError: there is no room.
        """
        self._control[FORGOTTEN] += 1
        try:
            for plane, _ in list(self._log.planes()):
                if plane.startswith(LABELS):
                    self._log.forget_context(plane, context)
            for _, path in list(label_uses.files(self.folder)):
                label_uses.forget(path, context)
        finally:
            self._control[FORGOTTEN] += 1

    def forgotten_labels(self, epoch: int, start: int) -> tuple[set[str], int]:
        """Return the contexts of which something was forgotten in an epoch.

        Args:
            epoch: the epoch.
            start: bytes of the log that were searched before.

        Returns:
            The contexts; and how many bytes have been searched now.
        """
        return self._log.forgotten(f"{LABELS}{epoch}", start)

    def read_appended(self, plane: str) -> None:
        """Read the records that other processes have appended to a plane."""
        self._log.read_appended(plane)

    def known_records(self) -> dict[str, Known]:
        """Return the records that this process has read, by plane."""
        return self._log.known_records()

    # Reading

    def read(self, *, before: int | None = None, since: int | None = None) -> Reading:
        """Read everything that counts now; of a removed memory, what this process has mapped.

        Args:
            before: only what belongs to older epochs than this, and the load.
            since: only what belongs to this epoch or to newer ones, and the load.

        Raises:
            OSError: there is no descriptor, or no room; other errors are in `Reading.problems`.
        """
        problems: list[str] = []
        state = self.state()
        try:
            claims = self.claims()
            raw = self._read_files(problems)
            records = self._read_records(problems)
            labels = self._read_labels(state, before, since)
        except OSError as error:
            if is_shortage(error):
                raise  # the memory itself is intact
            if not isinstance(error, MemoryGoneError) and error.errno not in (
                errno.EACCES,
                errno.ENOENT,
            ):
                problems.append(f"{self.folder / 'index'} cannot be read: {error.strerror}")
            claims = self.known()
            raw = {
                (plane, number, "lines"): bytes(view)
                for plane, chunks in self.mapped_chunks().items()
                if not plane.startswith(DAYS)
                for number, view in chunks.items()
            }
            records = {plane: with_numbers(known) for plane, known in self.known_records().items()}
            labels = {}
        early, days = self._read_early(problems), self._read_days(problems)
        return Reading(
            id=self.id,
            host=socket.gethostname(),
            epoch=state.epoch,
            sources=tuple(claims),
            by_phase=_counting(raw, state, before, since),
            records=_records_that_count(records, state, before, since),
            processes=tuple(sorted(entry.pid for entry in self.table.entries())),
            problems=tuple(problems),
            early=early,
            days=days,
            lost_day=self.lost_day,
            labels=labels,
        )

    def note_early(self, modules: frozenset[EarlyModule]) -> None:
        """Record modules that had run when measuring began in a process, for all readers.

        Raises:
            OSError: there is no room.
        """
        text = json.dumps(as_plain(modules))
        name = f"{EARLY}{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}.json"
        there = self._early_files()
        if modules and name not in there and len(there) < MOST_EARLY:
            own_files.replace(self.folder / name, text)

    def _early_files(self) -> list[str]:
        try:
            return [each for each in os.listdir(self.folder) if each.startswith(EARLY)]  # noqa: PTH208
        except OSError as error:
            if is_shortage(error):
                raise  # they are there
            return []  # it was removed

    def _read_early(self, problems: list[str]) -> frozenset[EarlyModule]:
        for name in self._early_files():
            if name not in self._early:
                try:
                    self._early[name] = from_plain(read_json(self.folder / name))
                except FileNotFoundError:
                    continue
                except (OSError, ValueError) as error:
                    if is_shortage(error):
                        raise
                    problems.append(f"{self.folder / name} cannot be read: {error}")
        return frozenset[EarlyModule]().union(*self._early.values())

    def _read_days(self, problems: list[str]) -> dict[Day, dict[int, bytes]]:
        """Read the lines of each day, by chunk; of a removed memory, what this process has."""
        found: dict[Day, dict[int, bytes]] = {}
        if not self.is_there:
            for plane, chunks in self.mapped_chunks().items():
                if plane.startswith(DAYS):
                    day, key = _parts_of(plane)
                    of = found.setdefault(Day(day, self._release(key, problems)), {})
                    for number, view in chunks.items():
                        of[number] = _or(of.get(number, b""), bytes(view))
            return found
        for path, day, key, number in self._day_files():
            lines = _lines_in(path, problems)
            if lines is not None:
                of = found.setdefault(Day(day, self._release(key, problems)), {})
                of[number] = _or(of.get(number, b""), lines)
        return found

    def _release(self, key: str, problems: list[str]) -> str:
        if key not in self._releases:
            path = self.folder / f"{RELEASE}{key}"
            try:
                name = regular_files.read(path).decode()
            except (OSError, ValueError) as error:
                if is_shortage(error):
                    raise
                problems.append(f"{path} cannot be read: {error}")
                return ""
            if _key_of(name) != key:
                problems.append(f"{path} is damaged")
                return ""
            self._releases[key] = name
        return self._releases[key]

    def _day_files(self) -> Iterator[tuple[Path, int, str, int]]:
        try:
            names = sorted(os.listdir(self.folder))  # noqa: PTH208
        except OSError as error:
            if is_shortage(error):
                raise
            return  # the memory was removed, or is another user's
        for name in names:
            if match := DAY_FILE.fullmatch(name):
                yield self.folder / name, int(match[1]), match[2] or "", int(match[3])

    def _read_files(self, problems: list[str]) -> dict[tuple[str, int, str], bytes]:
        found = {}
        for path, plane, number, kind in self._files():
            lines = _lines_in(path, problems)
            if lines is not None:
                found[plane, number, kind] = lines
        return found

    def _read_labels(
        self, state: State, before: int | None, since: int | None
    ) -> dict[str, LabelUse]:
        """Read how many requests each label had."""
        found: dict[str, LabelUse] = {}
        for plane, path in self._log.planes():
            epoch = epoch_of(plane)
            if not plane.startswith(LABELS) or epoch is None or epoch < state.oldest:
                continue
            if not _belongs(epoch, state, before, since):
                continue
            with contextlib.suppress(OSError):  # its records are read, too, and tell
                for each in read_objects(path):
                    _note_use(found, each)
        for epoch, path in label_uses.files(self.folder):
            if epoch >= state.oldest and _belongs(epoch, state, before, since):
                with contextlib.suppress(FileNotFoundError):  # swept meanwhile
                    join_uses(found, label_uses.read(path))
        return found

    def _read_records(self, problems: list[str]) -> dict[str, list[Record]]:
        found: dict[str, list[Record]] = {}
        for plane, path in self._log.planes():
            try:
                found.setdefault(plane, []).extend(read_records(path))
            except FileNotFoundError:
                continue
            except OSError as error:
                if is_shortage(error):
                    raise
                problems.append(f"{path} cannot be read: {error.strerror}")
        return found

    def _files(self) -> Iterator[tuple[Path, str, int, str]]:
        with os.scandir(self.folder) as entries:
            for entry in sorted(entries, key=lambda each: each.name):
                if match := CHUNK_FILE.fullmatch(entry.name):
                    plane, epoch, number, kind = match.groups()
                    name = plane if epoch is None else f"{plane}-{epoch}"
                    yield Path(entry.path), name, int(number), kind

    # Epochs

    def end_epochs(self, before: int, counted: Reading | None = None) -> None:
        """Let lines of older epochs no longer count; lines marked there later still do.

        Args:
            before: the epoch that has begun.
            counted: a reading of the lines to leave out; None: what they hold now.
        """
        for path, plane, number, kind in list(self._files()):
            epoch = epoch_of(plane)
            if kind != "lines" or epoch is None or epoch >= before or is_flushed(plane):
                continue
            content = regular_files.read(path)
            if counted is not None:
                # Only lines that this epoch holds: one that was counted for another epoch may be
                # marked in this one later.
                seen = counted.by_phase.get(phase_of_plane(plane), {}).get(number, b"")
                content = MAGIC + _or(self._counted(path), _and(content[HEADER:], seen))
            own_files.replace(path.with_suffix(".counted"), content)

    def _counted(self, path: Path) -> bytes:
        try:
            return regular_files.read(path.with_suffix(".counted"))[HEADER:]
        except OSError:
            return b""

    def sweep(self) -> None:
        """Remove ended epochs that no process is in; copy late lines of theirs to the current one.

        To be called under the build lock.
        """
        state = self.state()  # before the table: who leaves its load later enters this epoch
        self.claims()  # for the size of the chunk of a large source
        # A master that forks in C is in its load for ever, in the epoch in which that began.
        entries = (entry for entry in self.table.living() if not entry.is_in_load)
        least = min([state.oldest, state.epoch, *(entry.epoch for entry in entries)])
        for path, plane, number, kind in list(self._files()):
            epoch = epoch_of(plane)
            if kind != "lines" or epoch is None or epoch >= least:
                continue
            late = _marked_after_end(regular_files.read(path)[HEADER:], self._counted(path))
            if late:
                target = self.chunk(phase_of_plane(plane), state.epoch, number)
                for at in late:
                    target[at] = 1
            path.unlink(missing_ok=True)
            path.with_suffix(".counted").unlink(missing_ok=True)
        for plane, path in self._log.planes():
            epoch = epoch_of(plane)
            if epoch is not None and epoch < least:
                path.unlink(missing_ok=True)
        for epoch, path in list(label_uses.files(self.folder)):
            if epoch < least:
                path.unlink(missing_ok=True)

    def count_as_load(self, epoch: int, *, flushed: bool = False) -> None:
        """Move the lines and records of unknown phase that an epoch holds now to the load."""
        untold, load = plane_of(None, epoch, flushed=flushed), plane_of(Phase.LOAD, epoch)
        numbers = [n for _, plane, n, kind in self._files() if (plane, kind) == (untold, "lines")]
        for number in numbers:
            chunk = self.chunk_of_plane(untold, number)
            target = self.chunk_of_plane(load, number)
            for at in marked(bytes(chunk)):
                target[at] = 1
                chunk[at] = 0
        self._log.move_plane(load, untold)

    # Data files

    @property
    def autosave_until(self) -> float:
        """When the autosave process is done, in seconds of CLOCK_MONOTONIC; 0: there is none."""
        return self._control[KEPT_UNTIL] / 1e9

    def set_autosave_until(self, moment: float) -> None:
        """Record when the autosave process will be done, in seconds of CLOCK_MONOTONIC; 0: none."""
        self._control[KEPT_UNTIL] = int(moment * 1e9)

    @property
    def leased_until(self) -> float:
        """Until when the host has a fleet's agent, in seconds of CLOCK_MONOTONIC; 0: none."""
        return self._control[LEASED] / 1e9

    def lease(self, moment: float) -> None:
        """Record until when the host has an agent, in seconds of CLOCK_MONOTONIC."""
        self._control[LEASED] = int(moment * 1e9)

    @property
    def saved_sum(self) -> int:
        """The checksum of the reading that was last written to a data file; 0: none."""
        return self._control[SAVED_SUM]

    def note_saved(self, checksum: int) -> None:
        """Record the checksum of a reading that was written to a data file."""
        self._control[SAVED_SUM] = checksum

    def remove(self, *, only_saved: bool = False) -> bool:
        """Remove the memory if no process marks lines in it; tell whether it was removed.

        Args:
            only_saved: whether to remove it only if all of it is in a data file.
        """
        with self.table.closed() as closed:
            if not closed or not self.is_there or self.table.has_living():
                return False
            if only_saved and self.read().checksum() != self.saved_sum:
                return False
            # This may be killed half way, and another process go on here: what is left then must
            # not replace the data file, and no mark may be left whose claim is gone.
            self._name_anew()
            # The table last: a process that starts meanwhile cannot claim a slot, and tries again.
            names = [
                *(p.name for p, *_ in self._files()),
                *(path.name for _, path in self._log.planes()),
                *(path.name for _, path in label_uses.files(self.folder)),
                *(path.name for path, *_ in self._day_files()),
                *self._early_files(),
                *filter(own_files.is_temporary, os.listdir(self.folder)),  # noqa: PTH208
                *(each for each in os.listdir(self.folder) if each.startswith(RELEASE)),  # noqa: PTH208
                "index",
                "reserve",
                ABOUT,
                "control",
                "processes",
            ]
            for name in names:
                (self.folder / name).unlink(missing_ok=True)
            return True


def open_if_there(folder: Path) -> Memory | None:
    """Open the memory in a private folder; None: there is none that this user can open.

    Raises:
        OSError: there is no descriptor, or no room, to open it.
    """
    try:
        return Memory(folder, make=False)
    except OSError as error:  # there is none, or another user's, or it is just being removed
        if is_shortage(error):
            raise
        return None


def _lines_in(path: Path, problems: list[str]) -> bytes | None:
    """Read the lines of a chunk's file; None: it is missing, being created, or set aside."""
    try:
        raw = regular_files.read(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        if is_shortage(error):
            raise
        problems.append(f"{path} cannot be read: {error.strerror}")
        return None
    if not any(raw[:HEADER]) and not any(raw):
        return None  # it is being created
    if raw[:HEADER] != MAGIC or len(raw) < HEADER + CHUNK:
        problems.append(f"{path} is set aside: it holds no lines")
        return None
    lines = raw[HEADER:]
    if lines.translate(None, b"\0\1"):
        problems.append(f"{path} is damaged: it holds what no process has marked")
    return lines


def _key_of(release: str) -> str:
    """Return a hash of a release's name, for file names; of none, none."""
    raw = release.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(raw, digest_size=8).hexdigest() if raw else ""


def _day_plane(day: int, key: str) -> str:
    return f"{DAYS}{day}-{key}" if key else f"{DAYS}{day}"


def _parts_of(plane: str) -> tuple[int, str]:
    """Return the day of a plane, and the hash of its release."""
    day, _, key = plane.removeprefix(DAYS).partition("-")
    return int(day), key


def _note_use(found: dict[str, LabelUse], each: Mapping[str, Any]) -> None:
    if "forget" in each:
        found.pop(str(each["forget"]), None)
    with contextlib.suppress(KeyError, TypeError, ValueError):
        context = str(each["context"])
        use = LabelUse(int(each["requests"]), float(each["first"]), float(each["last"]))
        join_uses(found, [(context, use)])


def plane_of(phase: Phase | None, epoch: int, *, flushed: bool = False) -> str:
    """Return the name of a plane, with which its files' names begin.

    Args:
        phase: the phase of the lines; None: unknown.
        epoch: their epoch; lines of the load have none.
        flushed: whether they are from a process that holds lines back.
    """
    if phase is Phase.LOAD:
        return "load"
    return f"{(FLUSHED if flushed else MARKED)[phase]}-{epoch}"


def epoch_of(plane: str) -> int | None:
    """Return the epoch of a plane; None: the load, which belongs to every epoch."""
    return int(plane.rpartition("-")[2]) if "-" in plane else None


def phase_of_plane(plane: str) -> Phase | None:
    """Return the phase of a plane; None: unknown."""
    if plane == "load":
        return Phase.LOAD
    return None if plane.startswith(UNTOLD) else Phase.RUNTIME


def is_flushed(plane: str) -> bool:
    """Tell whether the lines of a plane are from processes that hold lines back."""
    return plane.startswith(tuple(FLUSHED.values()))


def _parsed(line: bytes) -> tuple[str, str, int] | None:
    """Parse a line of the index to name, version and room; None: it is no valid claim."""
    if not line.startswith(b"["):
        return None
    with contextlib.suppress(ValueError, RecursionError):
        match json.loads(line):
            case [int(room), str(name), str(version)] if 0 < room <= MOST_LINES:
                return name, version, room
    return None


def _following(read: _IndexRead, room: int) -> tuple[Place, _IndexRead]:
    """Return the place of the next claimed source, and the state of the index after it."""
    if room > CHUNK:  # a chunk of its own; the current one is filled on
        return Place(read.chunks, 0, room), read._replace(chunks=read.chunks + 1)
    chunk, at = read.chunk, read.at
    if at + room > CHUNK:
        chunk, at = read.chunks, 0
    place = Place(chunk, at, room)
    return place, read._replace(chunk=chunk, at=at + room, chunks=max(read.chunks, chunk + 1))


def _counting(
    raw: Mapping[tuple[str, int, str], bytes],
    state: State,
    before: int | None,
    since: int | None,
) -> dict[Phase | None, dict[int, bytes]]:
    """Unite the lines of all epochs that count, by phase and chunk."""
    out: dict[Phase | None, dict[int, bytes]] = {}
    for (plane, number, kind), lines in raw.items():
        epoch = epoch_of(plane)
        if kind != "lines" or not _belongs(epoch, state, before, since):
            continue
        if epoch is not None and epoch < state.oldest:
            if is_flushed(plane):
                continue
            counted = raw.get((plane, number, "counted"))
            if counted is None:
                continue
            lines = _without(lines, counted)
        chunks = out.setdefault(phase_of_plane(plane), {})
        chunks[number] = _or(chunks[number], lines) if number in chunks else lines
    return out


def _belongs(epoch: int | None, state: State, before: int | None, since: int | None) -> bool:
    """Tell whether an epoch is wanted; not if it began during the reading."""
    if epoch is None:
        return True
    if epoch > state.epoch or (before is not None and epoch >= before):
        return False
    # Lines that were marked late in an ended epoch belong to the current one.
    return since is None or epoch >= since or epoch < state.oldest


def _records_that_count(
    found: Mapping[str, list[Record]],
    state: State,
    before: int | None,
    since: int | None,
) -> dict[Phase | None, list[Record]]:
    out: dict[Phase | None, list[Record]] = {}
    for plane, records in found.items():
        epoch = epoch_of(plane)
        if _belongs(epoch, state, before, since) and (epoch is None or epoch >= state.oldest):
            out.setdefault(phase_of_plane(plane), []).extend(records)
    return out


def _or(first: bytes, second: bytes) -> bytes:
    both = int.from_bytes(first, "little") | int.from_bytes(second, "little")
    return both.to_bytes(max(len(first), len(second)), "little")


def _and(first: bytes, second: bytes) -> bytes:
    both = int.from_bytes(first, "little") & int.from_bytes(second, "little")
    return both.to_bytes(len(first), "little")


def _without(lines: bytes, counted: bytes) -> bytes:
    left = int.from_bytes(lines, "little") & ~int.from_bytes(counted, "little")
    return left.to_bytes(len(lines), "little")


def _marked_after_end(lines: bytes, counted: bytes) -> list[int]:
    """Return the offsets marked after an epoch had ended; none if there is no record of its end."""
    return list(marked(_without(lines, counted))) if counted else []


def marked(lines: bytes) -> Iterable[int]:
    """Yield the indexes of marked bytes."""
    at = lines.find(1)
    while at >= 0:
        yield at
        at = lines.find(1, at + 1)
