"""Files of `source` that could have run, found in a process that is not measured itself.

Concurrency: functions without state.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from coverage import Coverage
from coverage.exceptions import CoverageException

from wsgi_coverage.collect.engines import own_coverage
from wsgi_coverage.collect.sources import imported_before, unexecuted
from wsgi_coverage.data.reading import Reading
from wsgi_coverage.errors import SettingsError
from wsgi_coverage.system import workdir


def find_by(config: str, reading: Reading) -> Iterator[tuple[str, str, str | None]]:
    """As `find`, for a process that may have ended by now; also what had been imported early.

    Args:
        config: of its Coverage, as from `own_coverage.for_children`.
        reading: of its memory.
    """
    cov = own_coverage.make(own_coverage.LoggedCoverage, None, config=config)
    yield from find(cov, reading.names())
    early = imported_before.measured(cov, reading.early)
    yield from ((path, name, None) for path, name in early.values())


def find(cov: Coverage, executed: Iterable[str]) -> Iterator[tuple[str, str, str | None]]:
    """Path, name in data files, and plugin of each.

    Args:
        cov: by whose configuration; it does not measure.
        executed: names of files that any process has executed.

    Raises:
        SettingsError: the configuration cannot be used.
        CoverageChangedError: they cannot be found with this coverage.py.
    """
    try:
        own_coverage.prepare(cov)
    except CoverageException as error:
        raise SettingsError(str(error)) from error
    return unexecuted.files(cov, map(workdir.here, executed))
