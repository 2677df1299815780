"""Find measured files of another place in a checkout.

By the tail that two paths have in common, by content where that is known, and by the folders of the
other files of the same place. A path that could be several files is not mapped.

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
MOST = 500_000  # files of a checkout that are looked at
NOT_SOURCES = {"__pycache__", "node_modules", "site-packages"}

# Below these, a path is that of a package: only the whole of it says which file it is.
INSTALLED = re.compile(r"(?:^|(?<=/))(?:site-packages|dist-packages|lib/python3(?:\.\d+)?)/")
WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\")

Alike = Callable[[str], Collection[str]]
File = tuple[str, ...]  # its parts
Root = tuple[File, File]  # a folder elsewhere, and the one that it is here


@dataclass(frozen=True, slots=True, kw_only=True)
class Remapped:
    """The result of `remap`; a path that is in neither field is not in the checkout."""

    files: dict[str, str] = field(default_factory=dict)  # measured path: file of the checkout
    ambiguous: dict[str, list[str]] = field(default_factory=dict)  # what a path could be


def files_of(root: Path) -> list[str]:
    """The files of a checkout, relative to it: what git knows or would add; without git all."""
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
        files: of the checkout, relative to it.
        alike: returns the files of the checkout that have the content of a measured path.
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
    """Files of a checkout by every tail of their paths.

    Args:
        files: relative to the checkout.
        names: those that are looked for, each as a tail.
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
        """The longest tail that files have in common with a path, and these files."""
        found: tuple[int, list[File]] = 0, []
        for length in range(1, len(path) + 1):
            files = self._by_tail.get(path[-length:])
            if files is None:
                break
            found = length, files
        return found if found[0] >= shortest else (0, [])


class _Found:
    """One measured path, and the files that it could be."""

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
        """Tell whether it could be this file of the checkout."""
        return file in self._index.files and _tail(self.parts, file) >= self._shortest

    @property
    def root(self) -> Root:
        """The leading folders that differ, elsewhere and here."""
        file = self.candidates[0]
        return self.parts[: -self._longest], file[: len(file) - self._longest]

    def below(self, roots: Collection[Root]) -> set[File]:
        """Its name here, by leading folders that are known."""
        return {
            here + self.parts[len(there) :]
            for there, here in roots
            if self.parts[: len(there)] == there
        }


def _split(path: str) -> File:
    """The parts of a path of any operating system."""
    slashes = path.replace("\\", "/") if WINDOWS.search(path) else path
    return tuple(part for part in slashes.split("/") if part not in ("", "."))


def _without_contradictions(roots: Collection[Root]) -> set[Root]:
    """The known folders, without those that would be two folders here."""
    places: dict[File, set[File]] = {}
    for there, here in roots:
        places.setdefault(there, set()).add(here)
    return {(there, here) for there, here in roots if len(places[there]) == 1}


def _tail(one: File, other: File) -> int:
    """How many parts two paths have in common, from the end."""
    count = 0
    for a, b in zip(reversed(one), reversed(other), strict=False):
        if a != b:
            break
        count += 1
    return count
