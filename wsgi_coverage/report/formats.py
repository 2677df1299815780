"""coverage.py's own formats of a finished report, rendered when first asked for and kept beside it.

Concurrency: a rendered file appears by renaming; two who ask first at the same time both render it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from coverage.exceptions import CoverageException
from coverage.exceptions import NoDataError as NothingToReport

from wsgi_coverage.report import pages
from wsgi_coverage.report.publish import DATA, META
from wsgi_coverage.report.reported import opened
from wsgi_coverage.report.reporting import ReportingCoverage

JSON = "coverage.json"
XML = "coverage.xml"
LCOV = "coverage.lcov"
SITE = "coverage-html.zip"
HTML = "html"

REPORTERS: dict[str, Callable[[ReportingCoverage, str], object]] = {
    JSON: lambda cov, path: cov.json_report(outfile=path),
    XML: lambda cov, path: cov.xml_report(outfile=path),
    LCOV: lambda cov, path: cov.lcov_report(outfile=path),
}


def read(folder: Path, name: str) -> bytes:
    """A format of a finished report, by its file's name: JSON, XML, LCOV or SITE.

    Raises:
        FileNotFoundError: there is nothing to report on, or no report.
        OSError: there is no room.
    """
    path = folder / name
    if not path.exists():
        render(folder, name)
    return path.read_bytes()


def read_page(folder: Path, name: str) -> bytes:
    """A file of coverage.py's HTML.

    Raises:
        FileNotFoundError: there is no such page, or no report.
        OSError: there is no room.
    """
    path = folder / HTML / name
    if not path.exists():
        with _workplace(folder) as work:
            pages.render(folder, name, work)
            (folder / HTML).mkdir(exist_ok=True)
            for made in work.iterdir():
                made.replace(folder / HTML / made.name)
    return path.read_bytes()


def render(folder: Path, name: str) -> None:
    """Render a format into a report's folder.

    Raises:
        FileNotFoundError: there is nothing to report on, or no report.
        OSError: there is no room.
    """
    with _workplace(folder) as work:
        made = work / name
        if name == SITE:
            pages.render_site(folder, work / HTML)
            shutil.make_archive(str(made.with_suffix("")), "zip", work / HTML)
        else:
            with opened(folder) as (cov, _):
                try:
                    REPORTERS[name](cov, str(made))
                except NothingToReport as error:
                    raise FileNotFoundError(str(error)) from error
        made.replace(folder / name)


@contextmanager
def _workplace(folder: Path) -> Iterator[Path]:
    """A folder inside a report's, to render in.

    Raises:
        FileNotFoundError: the report has no data, or was taken away meanwhile.
    """
    if not (folder / DATA).exists():
        raise FileNotFoundError(f"there is no data in {folder}")
    try:
        with tempfile.TemporaryDirectory(prefix=".rendering-", dir=folder) as work:
            yield Path(work)
    except (CoverageException, OSError) as error:
        if not (folder / META).exists():
            raise FileNotFoundError(f"{folder} was taken away") from error
        raise
