"""One host's memory of executed lines: a byte for each line, mapped by all processes that run them.

In the private folder (wsgi_coverage.store.private):

    reserve                 room that is given back where there is no other
    control                 the turn, the epoch, whether workers pause; a page that all map
    processes               who marks lines here (wsgi_coverage.store.processes)
    index                   one appended claim a source version: [room, name, fingerprint]
    load-<chunk>.lines      lines that ran at load
    run-<epoch>-<chunk>.lines   lines that ran at runtime, in one epoch
    none-<epoch>-<chunk>.lines  lines whose phase is unknown
    flushed-…, untold-…     the same two, of processes that hold lines back and flush them
    ….counted               what of an epoch that is over was counted, or forgotten, when it ended
    load.log, …             what does not fit a byte a line (wsgi_coverage.store.log)
    early-<hash>.json       modules that had run when measuring began in some of its processes

The order of the claims is the layout, for ever: the first claim of a source counts, and where its
lines lie follows from those before it. So a place is the same in every epoch and phase, whoever
asks, and nobody takes a lock. Bytes only become 1: whoever reads meanwhile reads a valid subset, if
the index is read first. A plane is all lines of one phase and epoch that were marked, or flushed,
in one way: `run-<epoch>`, for instance, in one file for each chunk of the layout.

A change for all (a reset, a pause) is a new turn: processes compare its number with the last whose
changes they have applied. What a process marks before that goes to the epoch that it is in; what
of that came after the end of the epoch counts in the current one.

Concurrency: a `Memory` belongs to a process, and its threads take no lock. Whoever reads on in the
index comes to the same places, so it does not matter how many do so at once, which of them is noted
last, and whether a fork or a signal handler's exception comes in between. Resets and the like are
made under the lock that builds take turns by.
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
from typing import NamedTuple, TypeVar

from wsgi_coverage.data import regular_files
from wsgi_coverage.data.imported import EarlyModule, as_plain, from_plain
from wsgi_coverage.data.phases import Phase
from wsgi_coverage.data.reading import Claim, Place, Reading, Record
from wsgi_coverage.data.stored import read_json
from wsgi_coverage.errors import is_shortage
from wsgi_coverage.store.log import (
    Known,
    Log,
    LogFullError,
    read_records,
    with_numbers,
    write_whole,
)
from wsgi_coverage.store.mapped import Mapped, map_file
from wsgi_coverage.store.private import ABOUT
from wsgi_coverage.store.processes import ProcessEntry, Table, can_look, mapping_processes
from wsgi_coverage.system import own_files

CHUNK = 1 << 18  # bytes of lines in a chunk file; a larger source has one of its own
HEADER = 64  # bytes before them
EARLY = "early-"
MOST_EARLY = 256  # such files: workers that start alike have one
MAGIC = b"wsgi-coverage lines 1\n".ljust(HEADER, b"\0")
RESERVE = CHUNK + (1 << 16)  # bytes: for one chunk more, and for some hundreds of claims
MOST_CHUNKS = 128  # a memory cgroup kills who takes too much: 32 MB of lines a phase and epoch
MOST_LINES = 1 << 24  # of one source
PAGE = 4096
CONTROL_MAGIC = 0x0001_6F63_6773_7721  # of this layout; another one's memory is left alone
CHUNK_FILE = re.compile(r"(load|run|none|flushed|untold)(?:-(\d+))?-(\d+)\.(lines|counted)")
# The beginning of a plane's name.
MARKED: dict[Phase | None, str] = {Phase.RUNTIME: "run", None: "none"}
FLUSHED: dict[Phase | None, str] = {Phase.RUNTIME: "flushed", None: "untold"}
UNTOLD = (MARKED[None], FLUSHED[None])

# Words of the control page.
LAYOUT, TURN, EPOCH, OLDEST, PAUSED, MOVED, KEPT_UNTIL, SAVED_SUM, MISSED, LATE, LEASED = range(11)
IDENTITY = slice(1024, 1280)


T = TypeVar("T")


class State(NamedTuple):
    """The content of the control page."""

    turn: int
    epoch: int
    oldest: int  # epoch that counts as a whole
    paused: bool


class _Claim(NamedTuple):
    """A source that is claimed in the index."""

    start: int  # of the line that claims it, which is the first to do so
    place: Place


class _IndexRead(NamedTuple):
    """How far the index has been read, and the place of the next source."""

    end: int  # bytes
    chunk: int
    at: int
    chunks: int


class MemoryFullError(OSError):
    """There is no place for another source, within the size that a memory may have."""


class MemoryGoneError(OSError):
    """The folder was removed, or another memory is in its place."""


class Memory:
    """This process's view of a memory.

    Args:
        folder: the private folder; the memory is made there if there is none.
        make: False: it has to be there.

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
        self._early: dict[str, frozenset[EarlyModule]] = {}  # by the name of the file
        self._page = map_file(folder / "control", PAGE, make=make)
        self._control = self._page.cast("Q")
        # To compare at each request.
        self.turn: memoryview[int] = self._page[8 * TURN : 8 * TURN + 8].cast("Q")
        if self._control[LAYOUT] not in (0, CONTROL_MAGIC):
            raise MemoryGoneError(errno.EINVAL, "the memory there has another layout", str(folder))
        self._control[LAYOUT] = CONTROL_MAGIC
        self._inode = os.stat(folder / "control").st_ino  # noqa: PTH116
        if not self._page[IDENTITY.start]:
            made = f"{socket.gethostname()}.{os.getpid()}.{os.urandom(4).hex()}"
            self._page[IDENTITY] = made.encode()[:255].ljust(256, b"\0")
        if make:  # for its mode, which a file object does not take
            own_files.create(folder / "index")
        self.table: Table = Table(folder / "processes", make=make)

    @property
    def id(self) -> str:
        """Part of its data file's name: host, process id of its maker, random."""
        return bytes(self._page[IDENTITY]).rstrip(b"\0").decode("utf-8", "replace")

    # The control page

    def state(self) -> State:
        """What the control page says, all of one turn."""
        control = self._control
        while True:
            turn = control[TURN]
            state = State(turn, control[EPOCH], control[OLDEST], bool(control[PAUSED]))
            if control[TURN] == turn:
                return state

    def announce(self, *, epoch: int, oldest: int, paused: bool) -> None:
        """Have all processes see this epoch and pause at their next look.

        Args:
            epoch: the current one.
            oldest: the oldest epoch that counts.
            paused: whether workers measure nothing.
        """
        control = self._control
        if (control[EPOCH], control[OLDEST], bool(control[PAUSED])) == (epoch, oldest, paused):
            return
        control[EPOCH], control[OLDEST], control[PAUSED] = epoch, oldest, paused
        self.begin_turn()

    def begin_turn(self) -> None:
        """Change the turn number, so that all processes look; a time, so that no two are equal."""
        self._control[TURN] = max(time.monotonic_ns(), self._control[TURN] + 1)

    def miss(self, epoch: int) -> None:
        """Note that this epoch was announced late here: lines from before may be mixed in."""
        self._control[MISSED] = epoch

    @property
    def has_missed(self) -> bool:
        """True where lines of this epoch's beginning may have run before it."""
        missed = self._control[MISSED]
        return bool(missed) and missed == self._control[EPOCH]

    @property
    def has_late_children(self) -> bool:
        """True where processes may map this memory that are not in the table."""
        return bool(self._control[LATE])

    def note_late_children(self) -> None:
        """Note that its processes fork children that register only when they run new lines."""
        self._control[LATE] = 1

    def late(self, noted: Container[int]) -> list[ProcessEntry]:
        """The processes that map this memory and are not in the table.

        Args:
            noted: process ids that need not be looked at.
        """
        return [] if not self.has_late_children else mapping_processes(self.folder, noted)

    @property
    def hides_children(self) -> bool:
        """True where such processes may exist and cannot be found: there is no /proc."""
        return self.has_late_children and not can_look()

    @property
    def is_left(self) -> bool:
        """True where its processes are to change to the memory that is in the folder now."""
        return bool(self._control[MOVED])

    def leave(self) -> None:
        """Have all its processes change to the memory that is in the folder now."""
        self._control[MOVED] = 1
        self.begin_turn()

    @property
    def is_there(self) -> bool:
        """False once its folder, or its files, were removed."""
        try:
            return os.stat(self.folder / "control").st_ino == self._inode  # noqa: PTH116
        except OSError:
            return False

    def is_in_place_of(self, other: Memory) -> bool:
        """Tell whether this memory has replaced `other` in its folder."""
        return self._inode != other._inode

    # Places

    def place(self, name: str, version: str, room: int) -> Place:
        """The place of a source's lines; claimed, if no process has done so.

        Args:
            name: of the source, as in data files.
            version: fingerprint of its content.
            room: line numbers that it may have, from 0.

        Raises:
            MemoryFullError: there is no place for more.
            MemoryGoneError: the folder is gone.
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
                # A torn line is passed over by all.
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
        """Read the claims that others have appended."""
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
        """All sources that are known, those of other processes too.

        Raises:
            OSError: the index cannot be read; without it nothing is known of other processes'.
        """
        # Never made here: its reader may come when its last process has just removed it.
        with self._open_index("rb") as index:
            self._read_appended(index)
        return self.known()

    def known(self) -> list[Claim]:
        """The sources that this process has read from the index."""
        return [Claim(*key, known.place) for key, known in self._known.copy().items()]

    # Chunks

    def chunk(self, phase: Phase | None, epoch: int, number: int) -> Mapped:
        """The lines of one chunk, to be marked; made if it is not there.

        Raises:
            OSError: there is no room.
        """
        return self.chunk_of_plane(plane_of(phase, epoch), number)

    def chunk_of_plane(self, plane: str, number: int) -> Mapped:
        """As `chunk`, for a plane by its name."""
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
        """Run an action that needs room; where there is none, free the reserve and try again."""
        try:
            return action()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
        (self.folder / "reserve").unlink(missing_ok=True)  # given back before, maybe just now
        try:
            return action()
        except OSError as error:
            raise MemoryFullError(error.errno, error.strerror) from error

    def make_room(self, epoch: int) -> None:
        """Allocate the chunks that processes will need in an epoch.

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
        """Bytes of lines in a chunk."""
        rooms = [c.place.room for c in self.known() if c.place.chunk == number]
        return max(CHUNK, *rooms) if rooms else CHUNK

    def forget_epoch(self, epoch: int) -> None:
        """Unmap the chunks of an epoch that this process has left."""
        for kind in (*MARKED.values(), *FLUSHED.values()):
            self.forget_plane(f"{kind}-{epoch}")

    def forget_plane(self, plane: str) -> None:
        """Unmap the chunks of a plane that this process writes to no more."""
        self._chunks.pop(plane, None)
        self._log.forget(plane)

    def held(self) -> dict[str, dict[int, Mapped]]:
        """The chunks that this process has mapped, by plane and number."""
        return {plane: dict(chunks) for plane, chunks in self._chunks.copy().items()}

    # Records

    def append(self, plane: str, found: Known) -> bool:
        """Append records to a plane that it does not have yet; tell whether there were any.

        Raises:
            OSError: there is no room.
        """
        if not self.is_there:
            raise MemoryGoneError(errno.ENOENT, "the memory was removed", str(self.folder))
        try:
            return self._with_reserve(lambda: self._log.append(plane, found))
        except LogFullError as error:
            raise MemoryFullError(errno.ENOSPC, error.strerror) from error

    def read_appended(self, plane: str) -> None:
        """Read the records that others have appended to a plane."""
        self._log.read_appended(plane)

    def held_records(self) -> dict[str, Known]:
        """The records that this process has read, by plane."""
        return self._log.held()

    # Reading

    def read(self, *, before: int | None = None, since: int | None = None) -> Reading:
        """Everything that counts now.

        Args:
            before: only what belongs to older epochs than this, and the load.
            since: only what belongs to this epoch or to newer ones, and the load.

        Raises:
            OSError: no descriptor is left to read it by.
        """
        problems: list[str] = []
        state = self.state()
        try:
            claims = self.claims()
            raw = self._read_files(problems)
            records = self._read_records(problems)
        except OSError as error:
            if is_shortage(error):
                raise  # nothing is the matter with what is there
            if not isinstance(error, MemoryGoneError) and error.errno not in (
                errno.EACCES,
                errno.ENOENT,
            ):
                problems.append(f"{self.folder / 'index'} cannot be read: {error.strerror}")
            claims = self.known()
            raw = {
                (plane, number, "lines"): bytes(view)
                for plane, chunks in self.held().items()
                for number, view in chunks.items()
            }
            records = {plane: with_numbers(known) for plane, known in self.held_records().items()}
        early = self._read_early(problems)
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
        )

    def note_early(self, modules: frozenset[EarlyModule]) -> None:
        """Note modules that had run when measuring began in a process, for all that read this.

        Raises:
            OSError: there is no room.
        """
        text = json.dumps(as_plain(modules))
        name = f"{EARLY}{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}.json"
        there = self._early_files()
        if modules and name not in there and len(there) < MOST_EARLY:
            own_files.write(self.folder / name, text)

    def _early_files(self) -> list[str]:
        try:
            return [each for each in os.listdir(self.folder) if each.startswith(EARLY)]  # noqa: PTH208
        except OSError:  # it was removed
            return []

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

    def _read_files(self, problems: list[str]) -> dict[tuple[str, int, str], bytes]:
        found = {}
        for path, plane, number, kind in self._files():
            try:
                raw = regular_files.read(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                if is_shortage(error):
                    raise
                problems.append(f"{path} cannot be read: {error.strerror}")
                continue
            if not any(raw[:HEADER]) and not any(raw):
                continue  # it is being made
            if raw[:HEADER] != MAGIC or len(raw) < HEADER + CHUNK:
                problems.append(f"{path} is set aside: it holds no lines")
                continue
            lines = raw[HEADER:]
            if lines.translate(None, b"\0\1"):
                problems.append(f"{path} is damaged: it holds what no process has marked")
            found[plane, number, kind] = lines
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
        """Let lines of older epochs no longer count, but for those that are marked later.

        Args:
            before: the epoch that has begun.
            counted: what was read of them; None: what they hold now.
        """
        for path, plane, number, kind in list(self._files()):
            epoch = epoch_of(plane)
            if kind != "lines" or epoch is None or epoch >= before or is_flushed(plane):
                continue
            content = regular_files.read(path)
            if counted is not None:
                # Of this epoch: what was counted of another may be marked in this one later.
                seen = counted.by_phase.get(phase_of_plane(plane), {}).get(number, b"")
                content = MAGIC + _or(self._counted(path), _and(content[HEADER:], seen))
            own_files.replace(path.with_suffix(".counted"), content)

    def _counted(self, path: Path) -> bytes:
        try:
            return regular_files.read(path.with_suffix(".counted"))[HEADER:]
        except OSError:
            return b""

    def sweep(self) -> None:
        """Remove epochs that no process is in any more; what was marked there late still counts.

        Call it under the build lock.
        """
        state = self.state()
        self.claims()  # tells how large the chunk of a large source is
        living = self.table.living()
        least = min([state.oldest, state.epoch, *(entry.epoch for entry in living)])
        for path, plane, number, kind in list(self._files()):
            epoch = epoch_of(plane)
            if kind != "lines" or epoch is None or epoch >= least:
                continue
            late = _late(regular_files.read(path)[HEADER:], self._counted(path))
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

    def count_as_load(self, epoch: int, *, flushed: bool = False) -> None:
        """Move lines of unknown phase, up to now, to the load."""
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
    def kept_until(self) -> float:
        """When the wait for the autosave ends, in seconds of CLOCK_MONOTONIC; 0: there is none."""
        return self._control[KEPT_UNTIL] / 1e9

    def keep_until(self, moment: float) -> None:
        """Note when the wait for the autosave ends, in seconds of CLOCK_MONOTONIC."""
        self._control[KEPT_UNTIL] = int(moment * 1e9)

    @property
    def leased_until(self) -> float:
        """Until when the host has an agent, in seconds of CLOCK_MONOTONIC; 0: there is none."""
        return self._control[LEASED] / 1e9

    def lease(self, moment: float) -> None:
        """Note until when the host has an agent, in seconds of CLOCK_MONOTONIC."""
        self._control[LEASED] = int(moment * 1e9)

    @property
    def saved_sum(self) -> int:
        """The checksum of the reading that was last written to a data file; 0: none was."""
        return self._control[SAVED_SUM]

    def note_saved(self, checksum: int) -> None:
        """Note the checksum of a reading that was written to a data file."""
        self._control[SAVED_SUM] = checksum

    def remove(self, *, only_saved: bool = False) -> bool:
        """Remove the memory if no process marks lines in it; tell whether that was so.

        Args:
            only_saved: not if some of it is in no data file.
        """
        with self.table.closed() as closed:
            if not closed or not self.is_there or self.table.has_living():
                return False
            if only_saved and self.read().checksum() != self.saved_sum:
                return False
            # The table last: who starts meanwhile cannot claim a slot of it, and begins again.
            names = [
                "index",
                "reserve",
                ABOUT,
                *(p.name for p, *_ in self._files()),
                *(path.name for _, path in self._log.planes()),
                *filter(own_files.is_temporary, os.listdir(self.folder)),  # noqa: PTH208
                *self._early_files(),
                "control",
                "processes",
            ]
            for name in names:
                (self.folder / name).unlink(missing_ok=True)
            return True


def open_if_there(folder: Path) -> Memory | None:
    """The memory in a private folder; None where there is none.

    Raises:
        OSError: no descriptor is left to open it by.
    """
    try:
        return Memory(folder, make=False)
    except OSError as error:  # there is none, or another user's, or it goes just now
        if is_shortage(error):
            raise
        return None


def plane_of(phase: Phase | None, epoch: int, *, flushed: bool = False) -> str:
    """The name of a plane, which its files begin with.

    Args:
        phase: of the lines; None: unknown.
        epoch: that they belong to, if they did not run at load.
        flushed: whether they come of a process that holds lines back.
    """
    if phase is Phase.LOAD:
        return "load"
    return f"{(FLUSHED if flushed else MARKED)[phase]}-{epoch}"


def epoch_of(plane: str) -> int | None:
    """The epoch of a plane; None: the load, which belongs to every epoch."""
    return int(plane.rpartition("-")[2]) if "-" in plane else None


def phase_of_plane(plane: str) -> Phase | None:
    """The phase of a plane; None: unknown."""
    if plane == "load":
        return Phase.LOAD
    return None if plane.startswith(UNTOLD) else Phase.RUNTIME


def is_flushed(plane: str) -> bool:
    """Tell whether its lines come of processes that hold lines back."""
    return plane.startswith(tuple(FLUSHED.values()))


def _parsed(line: bytes) -> tuple[str, str, int] | None:
    """A valid claim; all processes agree on which are."""
    if not line.startswith(b"["):
        return None
    with contextlib.suppress(ValueError, RecursionError):
        match json.loads(line):
            case [int(room), str(name), str(version)] if 0 < room <= MOST_LINES:
                return name, version, room
    return None


def _following(read: _IndexRead, room: int) -> tuple[Place, _IndexRead]:
    """The place of the source that is claimed next, and of the one after it."""
    if room > CHUNK:  # a chunk of its own; the one that is being filled goes on
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
    """The lines of all epochs that count, by phase and chunk."""
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
    """False for an epoch that was not asked for, or that began during the reading."""
    if epoch is None:
        return True
    if epoch > state.epoch or (before is not None and epoch >= before):
        return False
    # What was marked late in an epoch that does not count any more belongs to the current one.
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


def _late(lines: bytes, counted: bytes) -> list[int]:
    """Lines that were marked after an epoch had ended; none where its end is not recorded."""
    return list(marked(_without(lines, counted))) if counted else []


def marked(lines: bytes) -> Iterable[int]:
    """The indexes of marked bytes."""
    at = lines.find(1)
    while at >= 0:
        yield at
        at = lines.find(1, at + 1)
