"""Store the lines of labelled requests in the host's memory, each once a process.

Concurrency: belongs to the engine, which holds its lock during each call.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from wsgi_coverage.data.phases import labelled_context
from wsgi_coverage.data.reading import LabelUse, Record
from wsgi_coverage.store.log import Known
from wsgi_coverage.store.memory import Memory

MOST_LABELS = 10_000  # in one process and epoch
MOST_NUMBERS = 2_000_000  # lines that are remembered as stored; then they are stored again
USE_INTERVAL = 1.0  # seconds between two counts of requests that are stored of one label

Lines = Mapping[tuple[str, str], set[int]]  # by name in data files, and version


class LabelLog:
    """What one process has stored of labelled requests.

    Args:
        static: coverage.py's static context.
    """

    def __init__(self, static: str | None) -> None:
        self._static = static
        self._epoch = 0
        self._stored: Known = {}
        self._numbers = 0  # number of lines in `_stored`
        self._uses: dict[str, LabelUse] = {}  # by context: requests that are not stored yet
        self._stored_at: dict[str, float] = {}  # by context, when its requests were stored last
        self.dropped: int = 0  # number of requests whose label was one too many

    def takes(self, label: str) -> bool:
        """Tell whether there is room for a label; count a request for which there is none."""
        context = labelled_context(label, self._static)
        if context in self._stored_at or len(self._stored_at) < MOST_LABELS:
            return True
        self.dropped += 1
        return False

    def add(self, memory: Memory, epoch: int, label: str, ran: Lines) -> None:
        """Store what one request has run that is not stored for its label, or a part of it.

        Args:
            memory: the memory.
            epoch: in which it ran.
            label: its label.
            ran: its lines.

        Raises:
            OSError: there is no room; the next request of the label tries again.
        """
        self._begin(epoch)
        context, now = labelled_context(label, self._static), time.time()
        new: Known = {}
        for (name, version), lines in ran.items():
            record = Record(name, version, "", context, has_arcs=False)
            if numbers := lines - self._stored.get(record, set()):
                new[record] = numbers
        use = LabelUse(1, now, now)
        use = self._uses[context].joined(use) if context in self._uses else use
        self._uses[context] = use
        if new or now - self._stored_at.get(context, 0.0) >= USE_INTERVAL:
            memory.append_labelled(epoch, new, {context: use})
            del self._uses[context]
            self._stored_at[context] = now
            self._note(new)

    def flush(self, memory: Memory, epoch: int) -> None:
        """Store the counts of requests that are not stored yet.

        Raises:
            OSError: there is no room.
        """
        if self._uses and epoch == self._epoch:
            memory.append_labelled(epoch, {}, self._uses)
            self._uses = {}

    def store_again(self, memory: Memory, epoch: int) -> None:
        """Store all that is remembered in another memory.

        Raises:
            OSError: there is no room.
        """
        if self._stored and epoch == self._epoch:
            memory.append_labelled(epoch, self._stored, {})

    def _begin(self, epoch: int) -> None:
        if epoch != self._epoch or self._numbers > MOST_NUMBERS:
            self._stored, self._numbers = {}, 0
        if epoch != self._epoch:
            self._epoch, self._uses, self._stored_at = epoch, {}, {}

    def _note(self, new: Known) -> None:
        for record, numbers in new.items():
            self._stored.setdefault(record, set()).update(numbers)
            self._numbers += len(numbers)
