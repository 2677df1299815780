"""Ask a dashboard for which labels code ran that has changed in this checkout since a revision.

Concurrency: one call belongs to one thread.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from wsgi_coverage.checkout.affected import Affected, Change, affected
from wsgi_coverage.client.client import Client
from wsgi_coverage.client.errors import ClientError
from wsgi_coverage.client.revision import changes, top_of
from wsgi_coverage.data.datafile import UnusableError


def affected_by_change(
    source: Client | Path,
    folder: Path,
    base: str,
    *,
    snapshot: str | None = None,
    ignored: Collection[str] = (),
) -> Affected:
    """Find the labels that the changes of a checkout since a revision concern.

    Args:
        source: the dashboard of the application whose requests were labelled, or a data file that
            was exported from there.
        folder: any folder of the checkout.
        base: a branch, a tag or a commit; the comparison begins at the merge base.
        snapshot: of the dashboard; None: its published report.
        ignored: patterns of files that concern no label, relative to the top of the checkout.

    Raises:
        RevisionError: Git does not tell what has changed.
        ClientError: the dashboard does not answer, or the data cannot be read.
    """
    top = top_of(folder)
    found = changes(top, base)
    if isinstance(source, Path):
        return _judged(source, found, top, ignored)
    whole: list[str] = []
    # A new report would lack the sources that have been changed while the application runs.
    which = snapshot or "current"
    if not source.diff(which, which)["a"]["complete"]:
        whole.append("not every worker had answered when the report was made")
    if too_many := source.health().get("contexts", {}).get("too_many"):
        whole.append(f"{too_many} requests had labels that were too many to be recorded")
    with tempfile.TemporaryDirectory(prefix="wsgi-coverage-") as made:
        data_file = Path(made, "coverage")
        source.export(data_file, snapshot=snapshot)
        known = _judged(data_file, found, top, ignored)
    return replace(known, all_of_them=(*whole, *known.all_of_them))


def _judged(
    data_file: Path, found: Collection[Change], top: Path, ignored: Collection[str]
) -> Affected:
    if not data_file.exists():
        raise ClientError(f"there is no data file {data_file}")
    try:
        return affected(data_file, found, top, ignored)
    except UnusableError as error:
        raise ClientError(f"{data_file} cannot be read: {error}") from error
