"""Read a checkout: the sources that collected data is mapped to, and their versions.

Concurrency: one instance belongs to one thread.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from coverage import Coverage
from coverage.exceptions import CoverageException

from wsgi_coverage.checkout import remap
from wsgi_coverage.compat import configuration
from wsgi_coverage.data import regular_files
from wsgi_coverage.data.stamp import fingerprint_of
from wsgi_coverage.errors import SettingsError

TELLING = 32  # bytes; many shorter sources have equal content, so that it identifies none


class Checkout:
    """The sources below one folder.

    Args:
        folder: the root of the checkout.
        config_file: coverage.py's; True: the one that it finds in the current folder.

    Raises:
        SettingsError: there is no such folder, or the configuration cannot be read.
    """

    def __init__(self, folder: Path, config_file: str | bool = True) -> None:
        self.folder: Path = folder.resolve()
        if not self.folder.is_dir():
            raise SettingsError(f"the checkout must be a folder, got {str(folder)!r}")
        with reading_config():
            self.config: Any = configuration.of(Coverage(data_file=None, config_file=config_file))
        self.relative: bool = bool(configuration.option(self.config, "run:relative_files"))
        self._files: list[str] | None = None
        self._by_name: dict[str, list[str]] = {}
        self._by_version: dict[str, dict[str, list[str]]] = {}  # by name and fingerprint
        self._versions: dict[str, tuple[int, Collection[str]]] = {}

    @property
    def files(self) -> list[str]:
        """All files of the checkout, relative to the root."""
        if self._files is None:
            self._files = remap.files_of(self.folder)
        return self._files

    def is_version(self, file: str, fingerprint: str | None) -> bool | None:
        """Tell whether a source of the checkout is of a version, whatever its line ends.

        Args:
            file: the source's name, relative to the root or absolute.
            fingerprint: the version's; None: not known.

        Returns:
            None where the fingerprint is not known or the source cannot be read.
        """
        if fingerprint is None:
            return None
        _, fingerprints = self._version(file)
        return fingerprint in fingerprints if fingerprints else None

    def alike(self, path: str, fingerprint: str | None) -> Sequence[str]:
        """Return the files that have the name and the version of a measured path.

        Args:
            path: the measured path, of another machine.
            fingerprint: the measured version's; None: not known.
        """
        name = path.replace("\\", "/").rpartition("/")[2]
        if fingerprint is None:
            return ()
        if not self._by_name:
            for file in self.files:
                self._by_name.setdefault(file.rpartition("/")[2], []).append(file)
        if name not in self._by_version:
            found = self._by_version[name] = {}
            for file in self._by_name.get(name, ()):
                size, fingerprints = self._version(file)
                for each in fingerprints if size >= TELLING else ():
                    found.setdefault(each, []).append(file)
        return self._by_version[name].get(fingerprint, ())

    def _version(self, file: str) -> tuple[int, Collection[str]]:
        if file not in self._versions:
            self._versions[file] = _version_of(self.folder / file)
        return self._versions[file]

    def name(self, file: str) -> str:
        """Return the name that a file of the checkout has in a data file."""
        return file if self.relative else str(self.folder / file)


def _version_of(source: Path) -> tuple[int, Collection[str]]:
    """Return the size of a source, and its fingerprints with each kind of line ends."""
    try:
        content = regular_files.read(source)
    except (OSError, ValueError):
        return 0, ()
    return len(content), fingerprints_of(content)


def fingerprints_of(content: bytes) -> set[str]:
    """Return the fingerprints of a source with each kind of line ends."""
    unix = content.replace(b"\r\n", b"\n")
    return {*map(fingerprint_of, {content, unix, unix.replace(b"\n", b"\r\n")})}


@contextlib.contextmanager
def reading_config() -> Iterator[None]:
    """Turn coverage.py's errors about its configuration into a SettingsError."""
    try:
        yield
    except (CoverageException, OSError, ValueError) as error:
        raise SettingsError(f"coverage.py's configuration cannot be read: {error}") from error
