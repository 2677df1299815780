"""What every store of lines promises, whether data files of one host or the store of a fleet.

Concurrency: a store is used by one thread here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from wsgi_coverage.model import Pause, is_going_on


class LinesStore(Protocol):
    """A store, as one that sends the lines of several hosts sees it."""

    def add(self, host: str, epoch: int, *lines: int) -> None:
        """Store lines that a host has run in an epoch."""

    def lines(self) -> set[int]:
        """The lines that count."""
        ...

    def epoch(self) -> int:
        """The current epoch."""
        ...

    def oldest(self) -> int:
        """The oldest epoch that counts."""
        ...

    def begin_epoch(self, *, collecting: bool = False) -> int:
        """Begin an epoch; return it."""
        ...

    def end_collecting(self) -> None:
        """Let only the current epoch count."""

    def pauses(self) -> Sequence[Pause]:
        """The pauses of this epoch."""
        ...

    def begin_pause(self) -> None:
        """Pause."""

    def end_pause(self) -> None:
        """Resume."""


class LinesContract:
    """Tests of a fixture `stored`, which is a `LinesStore`."""

    def test_there_are_no_lines_at_first(self, stored: LinesStore) -> None:
        assert stored.lines() == set()
        assert stored.oldest() == stored.epoch()

    def test_what_hosts_have_run_is_united(self, stored: LinesStore) -> None:
        stored.add("a", stored.epoch(), 1, 2)
        stored.add("b", stored.epoch(), 2, 3)

        assert stored.lines() == {1, 2, 3}

    def test_what_is_sent_again_or_later_changes_nothing_else(self, stored: LinesStore) -> None:
        for lines in ((1, 9), (2,), (1, 9), (2,)):
            stored.add("a", stored.epoch(), *lines)

        assert stored.lines() == {1, 2, 9}

    def test_a_new_epoch_hides_what_ran_before(self, stored: LinesStore) -> None:
        before = stored.epoch()
        stored.add("a", before, 1)

        epoch = stored.begin_epoch()

        assert epoch == stored.epoch() == stored.oldest() != before
        assert stored.lines() == set()
        stored.add("a", epoch, 2)
        assert stored.lines() == {2}

    def test_what_comes_late_for_a_new_epoch_does_not_count(self, stored: LinesStore) -> None:
        before = stored.epoch()
        stored.begin_epoch()

        stored.add("a", before, 1)

        assert stored.lines() == set()

    def test_what_ran_before_a_collection_counts_until_it_has_ended(
        self, stored: LinesStore
    ) -> None:
        before = stored.epoch()
        stored.add("a", before, 1)

        epoch = stored.begin_epoch(collecting=True)
        stored.add("a", before, 2)
        stored.add("b", epoch, 3)

        assert stored.oldest() == before
        assert stored.lines() == {1, 2, 3}
        stored.end_collecting()
        assert stored.oldest() == epoch
        assert stored.lines() == {3}

    def test_a_collection_that_failed_leaves_all_to_the_next_one(self, stored: LinesStore) -> None:
        stored.add("a", stored.epoch(), 1)
        stored.add("a", stored.begin_epoch(collecting=True), 2)

        epoch = stored.begin_epoch(collecting=True)

        assert stored.lines() == {1, 2}
        stored.add("a", epoch, 3)
        stored.end_collecting()
        assert stored.lines() == {3}

    def test_a_reset_hides_what_a_failed_collection_left(self, stored: LinesStore) -> None:
        stored.add("a", stored.epoch(), 1)
        stored.begin_epoch(collecting=True)

        stored.begin_epoch()

        assert stored.lines() == set()

    def test_a_pause_goes_on_until_it_is_ended(self, stored: LinesStore) -> None:
        assert not is_going_on(stored.pauses())
        stored.begin_pause()
        assert is_going_on(stored.pauses())
        stored.end_pause()

        assert not is_going_on(stored.pauses())
        [pause] = stored.pauses()
        assert pause.ended_at is not None
        assert pause.began_at <= pause.ended_at

    def test_pauses_leave_the_epoch_and_lines_as_they_are(self, stored: LinesStore) -> None:
        epoch = stored.epoch()
        stored.add("a", epoch, 1)
        stored.begin_pause()

        assert stored.epoch() == epoch
        assert stored.lines() == {1}

    def test_a_new_epoch_forgets_the_pauses_that_have_ended_and_no_other(
        self, stored: LinesStore
    ) -> None:
        stored.begin_pause()
        stored.end_pause()
        stored.begin_epoch()
        assert list(stored.pauses()) == []

        stored.begin_pause()
        stored.begin_epoch()
        assert is_going_on(stored.pauses())

    def test_a_pause_outlives_a_collection(self, stored: LinesStore) -> None:
        stored.begin_pause()
        stored.begin_epoch(collecting=True)
        stored.end_collecting()

        assert is_going_on(stored.pauses())
