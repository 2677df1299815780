"""Find the files of `source` that could have run, whether anything of them has or not.

coverage.py finds those of packages that this process has imported; this module the others, too.

Concurrency: functions without state of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from coverage import Coverage
from coverage.exceptions import CoverageException

from wsgi_coverage.collect.engines import own_coverage
from wsgi_coverage.collect.sources import imported_before, packages
from wsgi_coverage.collect.sources.ourselves import is_ours
from wsgi_coverage.compat import measurement
from wsgi_coverage.data.imported import EarlyModule
from wsgi_coverage.data.reading import Reading
from wsgi_coverage.errors import SettingsError
from wsgi_coverage.system import workdir


def find_by(config: str, reading: Reading) -> Iterator[tuple[str, str, str | None]]:
    """Yield what `files` does, for a process that may be gone.

    Args:
        config: the configuration of its Coverage, from `own_coverage.for_children`.
        reading: a reading of its memory.
    """
    cov = own_coverage.make(own_coverage.LoggedCoverage, None, config=config)
    return find(cov, reading.names(), reading.early)


def find(
    cov: Coverage, executed: Iterable[str], early: frozenset[EarlyModule] = frozenset()
) -> Iterator[tuple[str, str, str | None]]:
    """Yield what `files` does, by a Coverage that does not measure.

    Args:
        cov: a Coverage with the configuration.
        executed: names in data files of what any process has executed.
        early: modules that any process had imported early.

    Raises:
        SettingsError: the configuration cannot be used.
        CoverageChangedError: they cannot be found with this coverage.py.
    """
    try:
        own_coverage.prepare(cov)
    except CoverageException as error:
        raise SettingsError(str(error)) from error
    return files(cov, map(workdir.here, executed), early)


def files(
    cov: Coverage, executed: Iterable[str], early: frozenset[EarlyModule]
) -> Iterator[tuple[str, str, str | None]]:
    """Yield path, name in data files, and plugin of each file that could have run.

    Args:
        cov: a Coverage with the configuration: `source`, `omit`.
        executed: full names of files that any process has executed.
        early: modules that any process had imported early.

    Raises:
        CoverageChangedError: this coverage.py cannot find them.
    """
    if measurement.finds_never_run(cov):
        others = packages.not_imported(measurement.source_packages(cov), executed)
        for path, plugin in chain.from_iterable(
            measurement.could_run(cov, place) for place in chain([None], others)
        ):
            if not is_ours(path):  # the Coverage may be another's
                yield path, measurement.name_of(cov, path), plugin
    for path, name in imported_before.measured(cov, early).values():
        yield path, name, None
