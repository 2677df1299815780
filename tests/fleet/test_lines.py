"""What every store of lines promises, of a real Redis and a real Valkey."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import pytest
from lines_contract import LinesContract

from wsgi_coverage import clock, settings
from wsgi_coverage.model import Pause
from wsgi_coverage.store.redis import Content, EpochGoneError, FleetStore, StoredSource

APP = StoredSource("app.py", "v1", "", "runtime", False)


class FleetLines:
    """Lines in the store of a fleet, which all hosts share."""

    def __init__(self, fleet: FleetStore) -> None:
        self._fleet = fleet
        self.end_collecting = lambda: fleet.end_collecting(fleet.join())

    def add(self, host: str, epoch: int, *lines: int) -> None:
        self._fleet.beat(host, {"host": host}, epoch)
        bits = sum(1 << line for line in lines)
        with contextlib.suppress(EpochGoneError):  # the host applies the new one
            self._fleet.add(self._fleet.join(), epoch, Content(lines={APP: bits}, arcs={}))

    def lines(self) -> set[int]:
        bits = self._fleet.content(range(self.oldest(), self.epoch() + 1)).lines.get(APP, 0)
        return {line for line in range(bits.bit_length()) if bits >> line & 1}

    def epoch(self) -> int:
        return self._fleet.join().epoch

    def oldest(self) -> int:
        return self._fleet.join().oldest

    def begin_epoch(self, *, collecting: bool = False) -> int:
        now = clock.now_iso()
        return self._fleet.begin_epoch(self._fleet.join(), collecting=collecting, began_at=now)

    def pauses(self) -> Sequence[Pause]:
        return self._fleet.join().pauses

    def begin_pause(self) -> None:
        self._fleet.set_pauses([*self.pauses(), Pause(began_at=clock.now_iso(), ended_at=None)])

    def end_pause(self) -> None:
        *others, last = self.pauses()
        ended = Pause(began_at=last.began_at, ended_at=clock.now_iso())
        self._fleet.set_pauses([*others, ended])


@pytest.fixture
def stored(store, closing) -> FleetLines:
    url = settings.load({"store": store.url()}, env={}).store
    return FleetLines(closing(FleetStore(url, "contract")))


class TestStore(LinesContract):
    pass
