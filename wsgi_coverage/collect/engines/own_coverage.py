"""Make the Coverage that measures this process, unless one runs already.

No state; called once a process, under the lock that makes the worker.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from coverage import Coverage, CoverageData
from coverage.exceptions import CoverageException

from wsgi_coverage.collect.engines import core
from wsgi_coverage.collect.saves.saving import add_to
from wsgi_coverage.collect.sources import ourselves
from wsgi_coverage.compat import configuration, measurement
from wsgi_coverage.compat.measurement import WarningCoverage
from wsgi_coverage.data import forksafe
from wsgi_coverage.data.reading import Reading
from wsgi_coverage.errors import SettingsError
from wsgi_coverage.system import workdir

log: logging.Logger = logging.getLogger("wsgi_coverage")

GIVEN = 8  # the last data sets that `get_data` has returned, which stay open

# Warnings of coverage.py that would be repeated on every flush.
QUIET = ["no-data-collected", "module-not-imported"]

# The configuration of the process that started this one, from `for_children`; used here, too.
inherited: str | None = None

# The folder in which that process resolves relative names, as this one does; None: the working
# directory.
inherited_folder: str | None = None

# Whether the processes that this one starts are measured by wsgi_coverage.collect.children.
with_children = False

# The folder of data files, where `wsgi-coverage run` was told one; None: as the configuration says.
data_folder: str | None = None


class LoggedCoverage(WarningCoverage):
    """A Coverage whose warnings go to our log, not to the application's warning filters."""

    was_our_choice = False  # whether we chose the core, because the user configured none

    def warned(self, message: str, slug: str | None) -> None:
        """Log a warning of coverage.py, unless its slug is in `QUIET`."""
        if slug not in QUIET:
            log.warning("coverage.py: %s", message)


T = TypeVar("T", bound=LoggedCoverage)


class MarkedCoverage(LoggedCoverage):
    """A Coverage that traces nothing, because the first engine measures."""

    def start(self) -> None:
        """Do nothing: the first engine measures."""

    def stop(self) -> None:
        """Do nothing: the first engine still measures."""


class _Lent:
    """Implements `get_data` for a Coverage whose data are in the memory."""

    def __init__(self, cov: Any, readings: Callable[[], list[Reading]]) -> None:
        self._cov = cov
        self._readings = readings
        self._lock = threading.RLock()
        self._sums: list[int] | None = None  # checksums of what was read last
        self._given: list[CoverageData] = []  # the last ones returned: callers may still read them

    def get_data(self) -> CoverageData:
        """Return what has been executed up to now as a CoverageData without a file."""
        cov = self._cov
        type(cov).get_data(cov)  # completes the configuration, and flushes
        readings = self._readings()
        sums = [reading.checksum() for reading in readings]
        with self._lock:
            if self._sums != sums:
                data = CoverageData(basename=cov.get_option("run:data_file"), no_disk=True)
                static, branch = cov.get_option("run:context"), cov.get_option("run:branch")
                with forksafe.no_fork():
                    for reading in readings:
                        add_to(data, reading, static, branch=bool(branch))
                    self._given.append(data)
                    old = self._given.pop(0) if len(self._given) > GIVEN else None
                    measurement.give_data(cov, data, instead_of=old)
                self._sums = sums
            return self._given[-1]


def prepare(cov: Coverage) -> None:
    """Make a Coverage decide what is measured, without this project's files and without a start.

    Raises:
        CoverageChangedError: this coverage.py has not the internals that it takes.
    """
    measurement.prepare(cov, workdir.here(""), ourselves.is_ours, ourselves.FOLDERS)


def answer_from_memory(
    cov: Coverage, readings: Callable[[], list[Reading]], save: Callable[[], object]
) -> None:
    """Replace `get_data` and `save` of a Coverage by functions that read the memory.

    Args:
        cov: the Coverage of this process.
        readings: reads what is in the memory now.
        save: writes it to a data file, for coverage.py to combine.
    """
    ours: Any = cov
    ours.get_data = _Lent(cov, readings).get_data
    ours.save = save


def make(
    kind: type[T],
    config_file: Path | None,
    *,
    branch: bool | None = None,
    config: str | None = None,
    in_memory: bool = False,
) -> T:
    """Create a Coverage, not yet started, whose core is still to be chosen.

    Args:
        kind: its class.
        config_file: coverage.py's configuration; None: where coverage.py always looks.
        branch: whether branches are measured; None: as the configuration says.
        config: another Coverage's configuration, from `for_children`, instead of a file.
        in_memory: whether it writes no data file.

    Raises:
        SettingsError: the configuration cannot be read; coverage.py's own message.
    """
    given: str | bool = True if config_file is None else str(config_file)
    if (serialized := config or inherited) is not None:
        given = configuration.given(serialized)
    try:
        # With data_file=None, coverage.py holds its data in memory and writes no file.
        cov = kind(config_file=given, data_file=None) if in_memory else kind(config_file=given)
        if data_folder is not None:
            name = Path(str(cov.get_option("run:data_file"))).name
            cov.set_option("run:data_file", str(Path(workdir.here(data_folder), name)))
        if branch is not None:
            cov.set_option("run:branch", branch)
        already: Any = cov.get_option("run:disable_warnings") or []
        cov.set_option("run:disable_warnings", [*already, *(set(QUIET) - {*already})])
        cov.set_option("run:sigterm", False)  # it would replace the server's own handler
        if with_children or inherited is not None:
            # With it coverage.py would start a second Coverage in each child, and the first one
            # would miss the lines.
            concurrency: Any = cov.get_option("run:concurrency") or []
            others = [each for each in concurrency if each != "multiprocessing"]
            cov.set_option("run:concurrency", others or ["thread"])
    except CoverageException as error:
        raise SettingsError(str(error)) from error
    return cov


def choose_core(cov: LoggedCoverage) -> str:
    """Set the fastest usable core in a Coverage's configuration; return why it was chosen."""
    choice = core.choose(cov)
    if choice.core is not None:
        cov.set_option("run:core", choice.core)
    cov.was_our_choice = choice.core is not None
    return choice.reason


def for_children(cov: Coverage, *, data_file: Path | None = None) -> str:
    """Serialize a Coverage's configuration for child processes, with absolute paths.

    A core that we chose is left out: a child may have another Python.

    Args:
        cov: the Coverage with the configuration.
        data_file: the data file to use instead of the configured one.

    Raises:
        CoverageChangedError: this coverage.py has not the internals that it takes.
    """
    return configuration.serialized(
        cov,
        data_file=None if data_file is None else str(data_file),
        any_core=getattr(cov, "was_our_choice", False),
    )
