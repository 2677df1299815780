"""Combine data files from other places into one about this checkout.

Unlike a worker's data file, one from elsewhere may have paths of another machine and lines of
another version of a source. Lines of another version than the checkout's are left out with a
warning.

Concurrency: works in a folder of its own; the target is replaced in one step, at the end.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from coverage.exceptions import CoverageException

from wsgi_coverage.analysis.reporting import ReportingCoverage
from wsgi_coverage.checkout import remap
from wsgi_coverage.checkout.sources import Checkout
from wsgi_coverage.compat.configuration import option
from wsgi_coverage.data import stamp
from wsgi_coverage.data.datafile import UnusableError, open_data_file
from wsgi_coverage.data.imported import NAMED, named
from wsgi_coverage.data.union import DataFileContent, DataUnion, has_branches
from wsgi_coverage.errors import BuildFailedError, DiskFullError, is_disk_full
from wsgi_coverage.report.combine import first_warnings
from wsgi_coverage.system import own_files


@dataclass(frozen=True, slots=True)
class Brought:
    """A data file to combine, and its origin."""

    name: str  # the instance or file that it is from, for messages
    path: Path
    is_own: bool = False  # its paths are those of this checkout already


@dataclass(slots=True, kw_only=True)
class Collected:
    """The result of combining data files."""

    combined: list[str] = field(default_factory=list)  # names of data files in the union
    set_aside: dict[str, str] = field(
        default_factory=dict
    )  # name of a data file: why it is not in the union
    warnings: list[str] = field(default_factory=list)
    files: int = 0  # measured files in the union
    unknown: dict[str, str] = field(default_factory=dict)  # file: why it cannot be judged


def combine(
    brought: Sequence[Brought],
    target: Path,
    checkout: Checkout,
    *,
    workspace: Path,
    label: str | None = None,
    mode: int = own_files.FILE,
) -> Collected:
    """Write the union of data files to a file.

    Args:
        brought: the data files. Set aside is one that cannot be used, has branches where the first
            usable one has lines (or the reverse), or is of an incompatible coverage.py.
        target: the data file to write or replace.
        checkout: the sources that the result is about.
        workspace: a folder on the target's disk.
        label: put before the contexts of all lines, except those of files with `is_own`; None:
            contexts stay as they are.
        mode: the target's mode, as for chmod.

    Raises:
        DiskFullError: the disk is full; the target is as it was.
        BuildFailedError: a file with `is_own` cannot be used; the target is as it was.
    """
    out = Collected()
    draft = workspace / "union"
    with _saying_why_not(target):
        union: DataUnion | None = None
        finder = _Finder(checkout, workspace / "union")
        versions = _MeasuredVersions(checkout)
        for each in brought:
            try:
                with open_data_file(each.path) as connection:
                    if union is None:
                        union = DataUnion(draft, branch=has_branches(connection))
                    content = union.read(connection)
                    loaded = stamp.read_fingerprints(connection)
                paths = [*dict.fromkeys([*content.paths, *loaded])]
                if each.is_own:
                    here = {path: path for path in paths}
                else:
                    here = finder.find(each, paths, loaded, out)
                stale = versions.judge(each, here, loaded, out)
                union.add(_moved(content, here, None if each.is_own else label), without=stale)
            except UnusableError as why_not:
                if each.is_own:
                    raise BuildFailedError(f"{each.name} cannot be added to: {why_not}") from None
                out.set_aside[each.name] = str(why_not)
                if not out.combined:
                    union = None  # the next file decides whether there are branches
                continue
            out.combined.append(each.name)
        out.warnings = first_warnings(out.warnings)
        fingerprints, out.unknown = versions.verdict()
        if union is not None and out.combined:
            union.write()
            stamp.put_fingerprints(draft, fingerprints)
            out.files = len(union.files)
            own_files.put_in_place(draft, target, mode)
    return out


class _Finder:
    """Finds measured files in the checkout: by `[paths]`, else by their paths and versions."""

    def __init__(self, checkout: Checkout, data_file: Path) -> None:
        self._checkout = checkout
        self._mapped: Callable[[str], str] | None = None
        if option(checkout.config, "paths"):
            cov = ReportingCoverage(checkout.config, data_file)
            self._mapped = cov.path_map()

    def find(
        self, brought: Brought, paths: Sequence[str], loaded: Mapping[str, str], out: Collected
    ) -> dict[str, str]:
        """Return each measured path's name in the checkout, else the path; add warnings."""
        here: dict[str, str] = {}
        left = []
        for path in paths:
            if self._mapped is not None and (mapped := self._mapped(path)) != path:
                here[path] = mapped
            elif (file := self._inside(path)) is not None:
                here[path] = self._checkout.name(file)
            else:
                left.append(path)

        def alike(path: str) -> Sequence[str]:
            return self._checkout.alike(path, loaded.get(path))

        found = remap.remap(left, self._checkout.files, alike) if left else remap.Remapped()
        here |= {path: self._checkout.name(file) for path, file in found.files.items()}
        for path, candidates in found.ambiguous.items():
            out.warnings.append(
                f"{path}, from {brought.name}, may be {' or '.join(candidates[:NAMED])}: "
                "not guessed; map it under [paths] in coverage.py's configuration"
            )
        missing = [path for path in left if path not in here and path not in found.ambiguous]
        if missing:
            out.warnings.append(
                f"{named(missing)}, from {brought.name}, "
                f"{'is' if len(missing) == 1 else 'are'} not in this checkout"
            )
        return {path: here.get(path, path) for path in paths}

    def _inside(self, path: str) -> str | None:
        """Return a path relative to the checkout if it is a file there as it stands; else None."""
        with contextlib.suppress(ValueError, OSError):
            file = Path(path)
            if not file.is_absolute() and (self._checkout.folder / file).is_file():
                return path
            if file.is_absolute() and file.is_file():
                return file.relative_to(self._checkout.folder).as_posix()
        return None


class _MeasuredVersions:
    """Compares the measured versions of files with those of the checkout."""

    def __init__(self, checkout: Checkout) -> None:
        self._checkout = checkout
        self._same: dict[str, str] = {}  # file measured in the checkout's version: fingerprint
        self._others: dict[str, str] = {}  # file measured in another version: a sentence
        self._unsaid: dict[str, str] = {}  # file measured in an unknown version: a sentence

    def judge(
        self, brought: Brought, here: Mapping[str, str], loaded: Mapping[str, str], out: Collected
    ) -> list[str]:
        """Return measured paths of another version than the checkout's, and add a warning."""
        stale = []
        for path, name in here.items():
            if not os.path.isfile(self._checkout.folder / name):  # noqa: PTH113  or no name at all
                continue
            verdict = self._checkout.is_version(name, loaded.get(path))
            if verdict is None:
                self._unsaid[name] = f"{brought.name} does not say which version it measured"
            elif verdict:
                self._same[name] = loaded[path]
            else:
                stale.append(path)
                self._others[name] = f"{brought.name} measured another version of it"
        if stale:
            out.warnings.append(
                f"{brought.name} measured another version of {named([here[p] for p in stale])}: "
                "what it recorded there is left out"
            )
        return stale

    def verdict(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return the files to trust and the others.

        Returns:
            Fingerprints of files that were measured in the checkout's version, never in an unknown
            one; and for each other file why it cannot be judged.
        """
        same = {name: known for name, known in self._same.items() if name not in self._unsaid}
        unknown = {**self._others, **self._unsaid}
        return same, {name: why for name, why in unknown.items() if name not in same}


def _moved(content: DataFileContent, here: Mapping[str, str], label: str | None) -> DataFileContent:
    """Return data under the names of this checkout, with the label before its contexts."""
    names = {
        number: here[path]
        for (number, _), path in zip(content.names.items(), content.paths, strict=True)
    }
    contexts = content.contexts
    if label is not None:
        contexts = {
            number: f"{label}|{context}" if context else label
            for number, context in contexts.items()
        }
    return dataclasses.replace(content, names=names, contexts=contexts)


@contextlib.contextmanager
def _saying_why_not(target: Path) -> Iterator[None]:
    try:
        yield
    except (CoverageException, OSError, sqlite3.Error) as error:
        if is_disk_full(error):
            raise DiskFullError(f"no room on the disk for {target}: it is as it was") from error
        raise
