"""Files of `source` that could have run, whether anything of them has or not.

coverage.py knows those of packages that this process has imported; here the others count, too.

Concurrency: functions without state of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from coverage import Coverage

from wsgi_coverage.collect.sources import packages
from wsgi_coverage.collect.sources.ourselves import is_ours
from wsgi_coverage.compat import measurement


def files(cov: Coverage, executed: Iterable[str]) -> Iterator[tuple[str, str, str | None]]:
    """Path, name in data files, and plugin of each.

    Args:
        cov: by whose `source` and `omit`.
        executed: full names of files that any process has executed.

    Raises:
        CoverageChangedError: there may be some, and this coverage.py cannot find them.
    """
    if not measurement.finds_never_run(cov):
        return
    others = packages.not_imported(measurement.source_packages(cov), executed)
    for path, plugin in chain.from_iterable(
        measurement.could_run(cov, place) for place in chain([None], others)
    ):
        if not is_ours(path):  # the Coverage may be another's
            yield path, measurement.name_of(cov, path), plugin
