"""Store the lines of labelled requests in the host's memory, each once a process.

Concurrency: belongs to the engine, which holds its lock during each call.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from wsgi_coverage.data.bits import bits_of, numbers_of
from wsgi_coverage.data.phases import labelled_context
from wsgi_coverage.data.reading import LabelUse, Record
from wsgi_coverage.store.label_uses import UseCounter
from wsgi_coverage.store.log import Known
from wsgi_coverage.store.memory import Memory

MOST_LABELS = 10_000  # in one process and epoch
MOST_BYTES = 32 << 20  # of what is remembered as stored; above that, no further label is taken
RECORD = 300  # bytes that a record takes, without its lines

Lines = Mapping[tuple[str, str], set[int]]  # by name in data files, and version


class LabelLog:
    """What one process has stored of labelled requests.

    Args:
        static: coverage.py's static context.
    """

    def __init__(self, static: str | None) -> None:
        self._static = static
        self._epoch = 0
        self._labels: set[str] = set()  # that were taken
        self._stored: dict[Record, int] = {}  # bit n is line n
        self._bytes = 0  # of `_stored`
        self._uses: UseCounter | None = None
        self._forgotten = 0  # `Memory.forgotten` when all that is remembered as stored counted
        self._forgotten_up_to = 0  # bytes of the log that were searched for forgotten labels
        self.refused: int = 0  # number of requests whose label was one too many
        self.problem: str | None = None  # why something was not stored; None: all was

    def takes(self, epoch: int, label: str) -> bool:
        """Tell whether there is room for a label; count a request for which there is none.

        Args:
            epoch: the memory's current one.
            label: the label.
        """
        self._begin(epoch)
        if label in self._labels:
            return True
        if len(self._labels) >= MOST_LABELS or self._bytes > MOST_BYTES:
            self.refused += 1
            return False
        self._labels.add(label)
        return True

    def add(self, memory: Memory, epoch: int, label: str, ran: Lines, *, requests: int = 1) -> None:
        """Store what one request has run that is not stored for its label, or a part of it.

        Args:
            memory: the memory.
            epoch: in which it ran: the memory's current one, or one that a collection ends.
            label: its label, which was taken.
            ran: its lines.
            requests: 1, or 0 for a part of a request that goes on.

        Raises:
            OSError: there is no room; the next request of the label tries again.
        """
        context, now = labelled_context(label, self._static), time.time()
        if epoch != self._epoch:
            late = {context: LabelUse(requests, now, now)} if requests else {}
            memory.append_labelled(epoch, self._new(context, ran, {}), late)
            return
        self._forget(memory, now)
        is_to_store = True
        while is_to_store:
            if new := self._new(context, ran, self._stored):
                memory.append_labelled(epoch, new, {})
                self._note(new)
            if requests:
                self._count(memory, context, now)
                requests = 0
            # What was not stored, because it had been, may not count any more.
            is_to_store = context in self._forget(memory, now, context)

    def _count(self, memory: Memory, context: str, now: float) -> None:
        if self._uses is None:
            self._uses = UseCounter(memory.folder, self._epoch)
        self._uses.add(context, now)

    @staticmethod
    def _new(context: str, ran: Lines, stored: Mapping[Record, int]) -> Known:
        """Return the lines that are not stored yet."""
        new: Known = {}
        for (name, version), lines in ran.items():
            record = Record(name, version, "", context, has_arcs=False)
            known = stored.get(record, 0)
            if numbers := {line for line in lines if not known >> line & 1}:
                new[record] = numbers
        return new

    def _forget(self, memory: Memory, now: float, current: str | None = None) -> set[str]:
        """Drop what does not count any more, so that it is stored when it runs again.

        Args:
            memory: the memory.
            now: seconds of Unix time.
            current: the context of a request that has just been counted, and counts on.

        Returns:
            The contexts that were forgotten since the last call.
        """
        forgotten = memory.forgotten
        if forgotten == self._forgotten:
            return set()
        self._forgotten = forgotten
        contexts, self._forgotten_up_to = memory.forgotten_labels(
            self._epoch, self._forgotten_up_to
        )
        for record in [each for each in self._stored if each.context in contexts]:
            del self._stored[record]
        if self._uses is not None:
            for each in contexts:
                self._uses.set(each, int(each == current), now)
        return contexts

    def store_again(self, memory: Memory, epoch: int) -> None:
        """Store all that is remembered in another memory.

        Raises:
            OSError: there is no room.
        """
        if self._stored and epoch == self._epoch:
            known = {record: set(numbers_of(bits)) for record, bits in self._stored.items()}
            memory.append_labelled(epoch, known, {})

    def after_fork(self) -> None:
        """Leave, in a forked child, the files of counts to its parent."""
        self._uses = None

    def _begin(self, epoch: int) -> None:
        if epoch != self._epoch:
            self._epoch, self._labels, self._stored, self._bytes = epoch, set(), {}, 0
            self._uses, self._forgotten_up_to, self.refused, self.problem = None, 0, 0, None

    def _note(self, new: Known) -> None:
        for record, numbers in new.items():
            before = self._stored.get(record)
            bits = self._stored[record] = (before or 0) | bits_of(numbers)
            self._bytes += bits.bit_length() // 8 - (before or 0).bit_length() // 8
            if before is None:
                self._bytes += RECORD
