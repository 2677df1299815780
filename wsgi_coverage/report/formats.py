"""Render a finished report in coverage.py's formats when first asked for, and store them beside it.

Rendering that is much work is done in a child process, once for all who ask at the same time.

Concurrency: a rendered file appears by renaming; two requests that ask first for the same page of a
file both render it.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from coverage.exceptions import CoverageException
from coverage.exceptions import NoDataError as NothingToReport

from wsgi_coverage.analysis import cache
from wsgi_coverage.analysis.reporting import ReportingCoverage
from wsgi_coverage.data.packed import read_packed
from wsgi_coverage.errors import BuildFailedError, DamagedReportError
from wsgi_coverage.liveness import tick
from wsgi_coverage.report import pages
from wsgi_coverage.report.finished.reported import open_report
from wsgi_coverage.report.offloading import call_somewhere
from wsgi_coverage.report.publish import DATA, META, read_file, read_meta
from wsgi_coverage.store.workspace import BUILDING, working_on, workplace
from wsgi_coverage.system.own_files import create, make_folder, put_in_place, restrict

JSON = "coverage.json"
XML = "coverage.xml"
LCOV = "coverage.lcov"
SITE = "coverage-html.zip"
HTML = "html"
EXPORTS = {"coverage": DATA, "html": SITE, "json": JSON, "lcov": LCOV, "xml": XML}
# Errors of file systems that take only shorter names, or not these bytes.
NO_SUCH_NAME = (errno.EISDIR, errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)
MAX_NAME = 255  # bytes; no file system takes a longer file name
REGIONS_PAGE = "_index.html"  # the pages of all functions, or classes, end so; no file's page does

REPORTERS: dict[str, Callable[[ReportingCoverage, str], object]] = {
    JSON: lambda cov, path: cov.json_report(outfile=path),
    XML: lambda cov, path: cov.xml_report(outfile=path),
    LCOV: lambda cov, path: cov.lcov_report(outfile=path),
}


T = TypeVar("T")

LARGE = 5_000  # statements; measured: the slowest format takes 0.5 s for as many
RENDER_TIMEOUT = 300.0  # seconds to wait for another process or thread that renders the same


def read(folder: Path, name: str) -> bytes:
    """Return a finished report in one format, rendered if it was not yet.

    Args:
        folder: the report's folder.
        name: the format's file name, one of the values of EXPORTS.

    Raises:
        FileNotFoundError: there is nothing to report on, or no report.
        BuildFailedError: the child process failed.
        OSError: the file cannot be written or read.
    """
    path = folder / name
    if not path.is_file():
        with _alone(folder, name):
            if not path.is_file():
                call_for(folder, partial(render, folder, name))
    return read_file(path)


def read_page(folder: Path, name: str) -> bytes:
    """Return a file of coverage.py's HTML report, rendered if it was not yet.

    Raises:
        FileNotFoundError: there is no such page, or no report.
        BuildFailedError: the child process failed.
        OSError: the page cannot be written or read.
    """
    if not _is_file_name(name):
        raise FileNotFoundError(name)
    try:
        return _read_page(folder, name)
    except OSError as error:
        if error.errno in NO_SUCH_NAME:
            raise FileNotFoundError(name) from error
        raise


def _is_file_name(name: str) -> bool:
    if not name or "/" in name or "\\" in name or "\x00" in name or name.startswith("."):
        return False
    return len(name.encode("utf-8", "surrogateescape")) <= MAX_NAME


def _read_page(folder: Path, name: str) -> bytes:
    if (folder / HTML).is_symlink():  # to a folder with other files, perhaps
        raise FileNotFoundError(name)
    path = folder / HTML / name
    if not path.is_file():
        if name.endswith(REGIONS_PAGE):
            with _alone(folder, HTML):
                if not path.is_file():
                    call_for(folder, partial(render_page, folder, name))
        else:
            render_page(folder, name)
    return read_file(path)


def render(folder: Path, name: str) -> None:
    """Render a format into a report's folder.

    Raises:
        FileNotFoundError: there is nothing to report on, or no report.
        OSError: the file cannot be written.
    """
    with _workplace(folder) as work:
        made = work / name
        create(made)
        if name == SITE:
            pages.render_site(folder, work / HTML)
            restrict(work / HTML)  # coverage.py has made its files as the umask says
            shutil.make_archive(str(made.with_suffix("")), "zip", work / HTML)
        else:
            with open_report(folder) as (cov, _):
                try:
                    REPORTERS[name](cov, str(made))
                except NothingToReport as error:
                    raise FileNotFoundError(str(error)) from error
        put_in_place(made, folder / name)


def render_page(folder: Path, name: str) -> None:
    """Render a page of the HTML report and the static files into a report's folder.

    Nothing is written where there is no page of this name.

    Raises:
        FileNotFoundError: there is nothing to report on, or no report.
        OSError: the page cannot be written.
    """
    with _workplace(folder) as work:
        pages.render(folder, name, work)
        if name not in os.listdir(work):  # noqa: PTH208  a Path cannot hold every possible name
            return
        restrict(work)
        make_folder(folder / HTML)
        for made in work.iterdir():
            put_in_place(made, folder / HTML / made.name)


def call_for(folder: Path, function: Callable[[], T]) -> T:
    """Call a function on a finished report, in a child process if the report is large.

    Args:
        folder: the report's folder.
        function: a `partial` of a function of this package, which is pickled by its name.

    Raises:
        FileNotFoundError: there is no report (any more).
        BuildFailedError: the child process failed. In this process, what the function raises.
    """
    statements = read_meta(folder).summary["statements"] or 0
    plain = read_packed(folder / cache.FIGURES) or {"config": {}}
    try:
        return call_somewhere(
            function,
            is_large=statements > LARGE,
            tick=tick,
            plugins=bool(plain["config"].get("plugins")),
        )
    except BuildFailedError as error:
        if not (folder / META).exists():
            raise FileNotFoundError(f"{folder} was taken away") from error
        raise


@contextmanager
def _alone(folder: Path, name: str) -> Iterator[None]:
    """Hold the lock for rendering a file, so that one thread of one process renders it."""
    work = f"{BUILDING}{cache.digest(folder.name.encode(), name.encode())}"
    with ExitStack() as held:
        try:
            held.enter_context(working_on(folder.parent, work, RENDER_TIMEOUT))
        except TimeoutError:
            raise BuildFailedError(
                f"another process or thread has been rendering {name} for "
                f"{RENDER_TIMEOUT:.0f} seconds; try again later"
            ) from None
        yield


@contextmanager
def _workplace(folder: Path) -> Iterator[Path]:
    """Make a folder beside a report's, to render in; remove it at the end of the block.

    Raises:
        FileNotFoundError: the report has no data, or was removed meanwhile.
    """
    if not (folder / DATA).exists():
        raise FileNotFoundError(f"there is no data in {folder}")
    try:
        with workplace(folder.parent) as work:
            yield work
    except (CoverageException, DamagedReportError, OSError, sqlite3.Error) as error:
        if not (folder / META).exists():
            raise FileNotFoundError(f"{folder} was taken away") from error
        raise
