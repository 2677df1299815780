"""Checkout reports: report on a data file about this checkout, in coverage.py's formats.

Concurrency: one call belongs to one thread.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from coverage import Coverage
from coverage.exceptions import CoverageException, NoDataError

from wsgi_coverage.analysis.reporting import check_source
from wsgi_coverage.checkout.sources import reading_config
from wsgi_coverage.compat import names
from wsgi_coverage.compat.reporting import CheckedCoverage
from wsgi_coverage.errors import BuildFailedError, DiskFullError, is_disk_full
from wsgi_coverage.errors import NoDataError as NothingError


def text(data_file: Path, wanted: str, config_file: str | bool = True) -> str:
    """Return a report as text.

    Args:
        data_file: the data to report on.
        wanted: the format: text, json, xml or lcov.
        config_file: coverage.py's; True: the one that it finds in the current folder.

    Raises:
        NoDataError: no file in the data is a source of this checkout.
        BuildFailedError, DiskFullError, SettingsError: the report could not be made.
    """
    with _loaded(data_file, config_file) as cov, tempfile.TemporaryDirectory() as folder:
        if wanted == "text":
            out = io.StringIO()
            cov.report(file=out, ignore_errors=True)
            return out.getvalue()
        target = str(Path(folder, "report"))
        makers: Mapping[str, Callable[..., float]] = {
            "json": cov.json_report, "xml": cov.xml_report, "lcov": cov.lcov_report
        }  # fmt: skip
        makers[wanted](outfile=target, ignore_errors=True)
        return Path(target).read_text(encoding="utf-8", errors="surrogateescape")


def html(data_file: Path, folder: Path, config_file: str | bool = True) -> None:
    """Write coverage.py's HTML report into a folder.

    Args:
        data_file: the data to report on.
        folder: made if it does not exist.
        config_file: as for `text`.

    Raises:
        NoDataError, BuildFailedError, DiskFullError, SettingsError: as for `text`.
    """
    with _loaded(data_file, config_file) as cov:
        cov.html_report(directory=str(folder), ignore_errors=True)


class _Coverage(CheckedCoverage):
    """A Coverage that opens only regular files of bounded size, as data may name any path."""

    def look_at(self, filename: str) -> None:
        check_source(filename)


@contextlib.contextmanager
def _loaded(data_file: Path, config_file: str | bool) -> Iterator[Coverage]:
    with reading_config():
        cov = _Coverage(data_file=str(data_file), config_file=config_file, messages=False)
    try:
        with names.explaining():
            cov.load()
            yield cov
    except NoDataError as error:
        raise NothingError(f"{data_file}: {error}") from error
    except (CoverageException, OSError) as error:
        if is_disk_full(error):
            raise DiskFullError("no room on the disk for the report") from error
        raise BuildFailedError(f"the report cannot be made: {error}") from error
    finally:
        cov.get_data().close(force=True)
