"""Map measured paths of another machine to files of a checkout.

A path is matched by its last parts, by its content where that is known, and by the folders of other
files that were measured in the same place. A path that could be several files is not mapped.

Concurrency: functions without state.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

GIT_TIMEOUT = 60.0  # seconds
MOST = 500_000  # files of a checkout that are searched
NOT_SOURCES = {"__pycache__", "node_modules", "site-packages"}

# Folders of installed packages: a path below one is matched as a whole, not by its last parts.
INSTALLED = re.compile(r"(?:^|(?<=/))(?:site-packages|dist-packages|lib/python3(?:\.\d+)?)/")
WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\")

Alike = Callable[[str], Collection[str]]
File = tuple[str, ...]  # the parts of a path
Root = tuple[File, File]  # a folder elsewhere, and the same folder in the checkout


@dataclass(frozen=True, slots=True, kw_only=True)
class Remapped:
    """The result of `remap`; a path that is in neither field is not in the checkout."""

    files: dict[str, str] = field(default_factory=dict)  # measured path: file of the checkout
    ambiguous: dict[str, list[str]] = field(default_factory=dict)  # path: files it could be


def files_of(root: Path) -> list[str]:
    """List a checkout's files, relative to it: what git tracks or would add; without git, all."""
    command = ["git", "-C", str(root), "ls-files", "-z", "-co", "--exclude-standard"]
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=GIT_TIMEOUT, check=True, env=environment
        )
    except (OSError, subprocess.SubprocessError):
        return _walk(root)
    return [os.fsdecode(name) for name in done.stdout.split(b"\0") if name][:MOST]


def _walk(root: Path) -> list[str]:
    out: list[str] = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and name not in NOT_SOURCES
            and not Path(folder, name, "pyvenv.cfg").exists()
        )
        out += [os.path.relpath(Path(folder, name), root) for name in sorted(names)]
        if len(out) > MOST:
            break
    return out[:MOST]


def remap(paths: Collection[str], files: Iterable[str], alike: Alike) -> Remapped:
    """Find measured files in a checkout.

    Args:
        paths: names of files that were measured together, in one place.
        files: the checkout's files, relative to it.
        alike: returns the files of the checkout with the name and content of a measured path.
    """
    index = _Index(files, {_split(path)[-1:] for path in paths})
    found = [_Found(path, index, alike(path)) for path in paths]
    roots = {each.root for each in found if each.is_certain}
    uncertain = [each for each in found if each.candidates and not each.is_certain]
    alone = [each for each in uncertain if len(each.candidates) == 1 and not each.below(roots)]
    roots |= _without_contradictions({each.root for each in alone})
    out = Remapped()
    for each in found:
        if each.is_certain:
            out.files[each.path] = "/".join(each.candidates[0])
        elif each.candidates:
            possible = {file for file in each.below(roots) if each.may_be(file)}
            if len(possible) == 1:
                out.files[each.path] = "/".join(possible.pop())
            elif possible or not each.below(roots):
                out.ambiguous[each.path] = sorted("/".join(file) for file in each.candidates)
    return out


class _Index:
    """Index of a checkout's files by path suffix: `a/b.py` is under `b.py` and `a/b.py`.

    Args:
        files: the checkout's files, relative to it.
        names: the file names that are looked for, each as a tail of one part.
    """

    def __init__(self, files: Iterable[str], names: Collection[File]) -> None:
        self.files: set[File] = set()
        self._by_tail: dict[File, list[File]] = {}
        for name in files:
            file = tuple(Path(name).parts)
            if file[-1:] in names:
                self.files.add(file)
                for start in range(len(file)):
                    self._by_tail.setdefault(file[start:], []).append(file)

    def longest(self, path: File, shortest: int) -> tuple[int, list[File]]:
        """Return the length of the longest tail that files share with a path, and these files.

        Args:
            path: the measured path.
            shortest: parts that a shared tail must have; else (0, []) is returned.
        """
        found: tuple[int, list[File]] = 0, []
        for length in range(1, len(path) + 1):
            files = self._by_tail.get(path[-length:])
            if files is None:
                break
            found = length, files
        return found if found[0] >= shortest else (0, [])


class _Found:
    """One measured path, and the files of the checkout that it could stand for."""

    def __init__(self, path: str, index: _Index, alike: Collection[str]) -> None:
        self.path = path
        self.parts = _split(path)
        self._index = index
        self._shortest = 1
        slashes = "/".join(self.parts)
        if installed := list(INSTALLED.finditer(slashes)):
            self._shortest = slashes[installed[-1].end() :].count("/") + 1
        tails = {file: _tail(self.parts, file) for file in (tuple(Path(f).parts) for f in alike)}
        self._longest = max(tails.values(), default=0)
        self.candidates = [file for file, tail in tails.items() if tail == self._longest]
        is_alike = self._longest >= self._shortest
        if not is_alike:
            self._longest, self.candidates = index.longest(self.parts, self._shortest)
        self.is_certain = len(self.candidates) == 1 and (is_alike or self._longest > 1)

    def may_be(self, file: File) -> bool:
        """Tell whether the path could stand for a file of the checkout."""
        return file in self._index.files and _tail(self.parts, file) >= self._shortest

    @property
    def root(self) -> Root:
        """The leading folders, elsewhere and in the checkout, before the shared tail."""
        file = self.candidates[0]
        return self.parts[: -self._longest], file[: len(file) - self._longest]

    def below(self, roots: Collection[Root]) -> set[File]:
        """Return the path's names in the checkout, by known leading folders."""
        return {
            here + self.parts[len(there) :]
            for there, here in roots
            if self.parts[: len(there)] == there
        }


def _split(path: str) -> File:
    """Split a path of any operating system into its parts."""
    slashes = path.replace("\\", "/") if WINDOWS.search(path) else path
    return tuple(part for part in slashes.split("/") if part not in ("", "."))


def _without_contradictions(roots: Collection[Root]) -> set[Root]:
    """Drop remote folders that map to more than one folder of the checkout."""
    places: dict[File, set[File]] = {}
    for there, here in roots:
        places.setdefault(there, set()).add(here)
    return {(there, here) for there, here in roots if len(places[there]) == 1}


def _tail(one: File, other: File) -> int:
    """Count the parts that two paths have in common, from the end."""
    count = 0
    for a, b in zip(reversed(one), reversed(other), strict=False):
        if a != b:
            break
        count += 1
    return count
