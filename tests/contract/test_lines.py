"""What every store of lines promises, of the data files of one host."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import coverage
import pytest
from lines_contract import LinesContract

from wsgi_coverage.model import Pause
from wsgi_coverage.store.files import FilesStore

SOURCE = "/src/app.py"


class DataFiles:
    """Lines in data files: each host has one for each epoch, which it replaces."""

    def __init__(self, folder: Path) -> None:
        private = folder / "private"
        private.mkdir()
        self._folder = folder
        self._files = FilesStore(folder / ".coverage", fallback=private)
        self._run: dict[tuple[str, int], set[int]] = {}
        self.epoch = self._files.epoch
        self.oldest = self._files.oldest
        self.begin_epoch = self._files.begin_epoch
        self.end_collecting = self._files.end_collecting
        self.begin_pause = self._files.begin_pause
        self.end_pause = self._files.end_pause

    def pauses(self) -> Sequence[Pause]:
        return self._files.pauses()

    def add(self, host: str, epoch: int, *lines: int) -> None:
        run = self._run.setdefault((host, epoch), set())
        run.update(lines)
        made = self._folder / "made"
        data = coverage.CoverageData(str(made))
        data.add_lines({SOURCE: run})
        data.close()
        with self._files.publishing(f"{host}.1.{epoch:02}", epoch=epoch) as path:
            made.replace(path)

    def lines(self) -> set[int]:
        found: set[int] = set()
        for path in self._files.published():
            data = coverage.CoverageData(str(path))
            data.read()
            found |= {*(data.lines(SOURCE) or ())}
            data.close()
        return found


@pytest.fixture
def stored(tmp_path: Path) -> DataFiles:
    return DataFiles(tmp_path)


class TestDataFiles(LinesContract):
    pass
