"""Group the files of a report in folders, with sums of their figures.

Concurrency: cached lists are only read; folders are made for one answer.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import quote

from wsgi_coverage.data.stored import DamagedError, parsed
from wsgi_coverage.errors import DamagedReportError
from wsgi_coverage.system.common_folder import common_folder


@dataclass(slots=True, kw_only=True)
class Part:
    """A file, or a folder with the sums of its files; a figure that is not known is None."""

    name: str  # within its folder; folders that hold nothing but one folder are shown as one: a/b
    path: str  # relative to the common folder, with slashes
    statements: int | None = 0
    covered: int | None = 0
    missing: int | None = 0  # neither at load nor at runtime: unused
    load: int | None = 0
    load_only: int | None = 0
    runtime: int | None = 0
    branches: int | None = 0
    covered_branches: int | None = 0
    partial_branches: int | None = 0
    files: int = 1
    parts: list[Part] = field(default_factory=list)  # of a folder
    page: str | None = None  # of a file: its page below html/, quoted for an address
    reason: str | None = None  # of a file: why figures are not known
    runtime_reason: str | None = None
    imported_early: str | None = None  # why figures are not exact: more may have run
    ran: str | None = None  # of a file: never, at load only, at runtime

    @property
    def is_folder(self) -> bool:
        """Tell whether this is a folder, not a file."""
        return bool(self.parts)

    @property
    def has_source(self) -> bool:
        """Tell whether this is a file whose source can be shown: it could be parsed."""
        return not self.parts and self.statements is not None

    @property
    def quoted(self) -> str:
        """The path, quoted for a URL."""
        return quoted(self.path)

    @property
    def percent(self) -> float | None:
        """Statements that ran, in per cent of all; None where not known."""
        return share(self.covered, self.statements)

    @property
    def runtime_percent(self) -> float | None:
        """Statements that ran at runtime, in per cent of all that did not run at load only."""
        if self.runtime is None or self.missing is None:
            return None
        return share(self.runtime, self.runtime + self.missing)

    @property
    def branch_percent(self) -> float | None:
        """Branches taken, in per cent of all; None where branches are not measured."""
        return share(self.covered_branches, self.branches)

    @property
    def is_all_at_load(self) -> bool:
        """Tell whether all statements ran at load only, so that none is left for runtime."""
        return bool(self.statements) and self.runtime == 0 and self.missing == 0


COUNTS = (
    "statements",
    "covered",
    "missing",
    "load",
    "load_only",
    "runtime",
    "branches",
    "covered_branches",
    "partial_branches",
)
TEXTS = ("html", "reason", "runtime_reason", "imported_early", "ran")
NO_LIST = "the list of files in this report is damaged; make a new one"


class Listed(NamedTuple):
    """The files of one report."""

    common: str  # the folder that all are in, with a slash at its end
    parts: Sequence[Part]  # one for each, in the order of the list
    by_name: Mapping[str, Part]  # `parts` by full name
    has_branches: bool


@functools.lru_cache(maxsize=2)  # 1 KB a file; the published report, and one to compare with it
def listed(as_json: bytes) -> Listed:
    """Return the files of a report, from the JSON of /files; cached, so do not change them.

    Raises:
        DamagedReportError: the JSON is no list of files with figures.
    """
    try:
        files = parsed(as_json)
    except DamagedError as error:
        raise DamagedReportError(NO_LIST) from error
    if not isinstance(files, list) or not all(map(_is_file, files)):
        raise DamagedReportError(NO_LIST)
    common = common_folder(each["file"] for each in files)
    parts = tuple(_part(each, common) for each in files)
    return Listed(
        common=common,
        parts=parts,
        by_name=dict(zip((each["file"] for each in files), parts, strict=True)),
        has_branches=any("branches" in each for each in files),
    )


def _is_file(found: Any) -> bool:
    if not isinstance(found, dict) or not isinstance(found.get("file"), str):
        return False
    numbers = (found.get(name) for name in COUNTS)
    texts = (found.get(name) for name in TEXTS)
    return all(each is None or isinstance(each, int) for each in numbers) and all(
        each is None or isinstance(each, str) for each in texts
    )


def _part(file: Mapping[str, Any], common: str) -> Part:
    path = str(file["file"]).replace("\\", "/").removeprefix(common)
    return Part(
        name=path.rpartition("/")[2],
        path=path,
        **_counts(file),
        page=quoted(file["html"]) if file.get("html") else None,
        reason=file.get("reason"),
        runtime_reason=file.get("runtime_reason"),
        imported_early=file.get("imported_early"),
        ran=file.get("ran"),
    )


def _counts(file: Mapping[str, Any]) -> dict[str, Any]:
    return {name: file.get(name) for name in COUNTS}


def folder_of(parts: Iterable[Part]) -> Part:
    """Return the root folder of some files, with their folders and sums, the largest first."""
    root = Part(name="", path="")
    folders = {"": root}
    for part in parts:
        _folder(part.path.rpartition("/")[0], folders).parts.append(part)
    _sum_up(root)
    return root


def _folder(path: str, folders: dict[str, Part]) -> Part:
    if path not in folders:
        above, _, name = path.rpartition("/")
        folders[path] = Part(name=name, path=path)
        _folder(above, folders).parts.append(folders[path])
    return folders[path]


def _sum_up(folder: Part) -> None:
    for number, part in enumerate(folder.parts):
        if part.is_folder:
            _sum_up(part)
            if len(part.parts) == 1 and part.parts[0].is_folder:
                part.parts[0].name = f"{part.name}/{part.parts[0].name}"
                folder.parts[number] = part.parts[0]
    folder.files = sum(part.files for part in folder.parts)
    for name in COUNTS:
        setattr(folder, name, _sum(getattr(part, name) for part in _with_figures(folder.parts)))
    reasons = (part.runtime_reason for part in folder.parts if part.runtime is None)
    folder.runtime_reason = next((reason for reason in reasons if reason), None)
    inexact = (part.imported_early for part in folder.parts)
    folder.imported_early = next((reason for reason in inexact if reason), None)
    folder.parts.sort(key=lambda part: (-(part.statements or 0), part.name))


def _with_figures(parts: Iterable[Part]) -> Iterator[Part]:
    """Yield the parts that have figures: sums leave out sources that cannot be parsed."""
    return (part for part in parts if part.statements is not None)


def _sum(counts: Iterable[int | None]) -> int | None:
    total = 0
    for count in counts:
        if count is None:
            return None
        total += count
    return total


def quoted(name: str) -> str:
    """Quote a file name for a URL; bytes that are no UTF-8 are surrogate escapes in it."""
    return quote(name, errors="surrogateescape")


def source_of(file: str, label: str | None = None) -> str:
    """Return the address of a file's source below a report's; of a label, or of all that ran."""
    # Some servers and proxies merge two slashes.
    return f"source/{quoted(file.removeprefix('/'))}{for_label(label)}"


def for_label(label: str | None) -> str:
    """Return the query of an address that shows what ran for a label; None: for all."""
    return "" if label is None else f"?context={quote(label, safe='')}"


def find(root: Part, path: str) -> Part | None:
    """Return the folder or file with a path; None where there is none."""
    at: Part | None = root
    while at is not None and at.path != path:
        at = next(
            (part for part in at.parts if path == part.path or path.startswith(f"{part.path}/")),
            None,
        )
    return at


def share(part: int | None, whole: int | None) -> float | None:
    """Return a share in per cent with two digits; 0 and 100 only where they are exact."""
    if part is None or not whole:
        return None
    exact = 100.0 * part / whole
    return exact if part in (0, whole) else min(max(round(exact, 2), 0.01), 99.99)
