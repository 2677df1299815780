"""Where a file that was measured elsewhere is in this checkout.

Told by the tail that two paths have in common, by content where that is known, and by what the
other files of the same place say. What could be two files is not guessed.

Concurrency: functions without state.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

GIT_TIMEOUT = 60.0  # seconds
MOST = 500_000  # files of a checkout that are looked at
NOT_SOURCES = {"__pycache__", "node_modules", "site-packages"}

# Below these, a path is that of a package: only the whole of it says which file it is.
INSTALLED = re.compile(r"(?:^|(?<=/))(?:site-packages|dist-packages|lib/python3(?:\.\d+)?)/")
WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\")

Same = Callable[[str, str], bool | None]
Root = tuple[tuple[str, ...], tuple[str, ...]]  # a folder elsewhere, and the one that it is here


@dataclass(frozen=True, slots=True, kw_only=True)
class Remapped:
    """What was found; a path that is in neither is not in the checkout."""

    files: dict[str, str] = field(default_factory=dict)  # measured path: file of the checkout
    ambiguous: dict[str, list[str]] = field(default_factory=dict)  # what a path could be


def files_of(root: Path) -> list[str]:
    """The files of a checkout, relative to it: those that git knows or would add, else all."""
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


def remap(paths: Iterable[str], files: Collection[str], same: Same) -> Remapped:
    """Find measured files in a checkout.

    Args:
        paths: names of files that were measured together, in one place.
        files: of the checkout, relative to it.
        same: whether a measured path and a file of the checkout have the same content; None: not
            known.
    """
    by_name: dict[str, list[tuple[str, ...]]] = {}
    for file in files:
        parts = tuple(Path(file).parts)
        by_name.setdefault(parts[-1], []).append(parts)
    found = [_Found(path, by_name, same) for path in paths]
    roots = {each.root for each in found if each.is_certain}
    uncertain = [each for each in found if each.candidates and not each.is_certain]
    alone = [each for each in uncertain if len(each.candidates) == 1 and not each.below(roots)]
    roots |= _without_contradictions({each.root for each in alone})
    out = Remapped()
    for each in found:
        if each.is_certain:
            out.files[each.path] = "/".join(each.candidates[0])
        elif each.candidates:
            possible = each.below(roots) & set(each.every)
            if len(possible) == 1:
                out.files[each.path] = "/".join(possible.pop())
            elif possible or not each.below(roots):
                out.ambiguous[each.path] = sorted("/".join(file) for file in each.candidates)
    return out


class _Found:
    """One measured path, and what it could be."""

    def __init__(self, path: str, by_name: dict[str, list[tuple[str, ...]]], same: Same) -> None:
        self.path = path
        slashes = path.replace("\\", "/") if WINDOWS.search(path) else path
        self.parts = tuple(part for part in slashes.split("/") if part not in ("", "."))
        self.every: Sequence[tuple[str, ...]] = by_name.get(
            self.parts[-1] if self.parts else "", []
        )
        shortest = 1
        if installed := list(INSTALLED.finditer(slashes)):
            shortest = slashes[installed[-1].end() :].count("/") + 1
        tails = {file: _tail(self.parts, file) for file in self.every}
        self.every = [file for file, tail in tails.items() if tail >= shortest]
        alike = [file for file in self.every if same(path, "/".join(file))]
        longest = max((tails[file] for file in alike or self.every), default=0)
        self.candidates = [file for file in alike or self.every if tails[file] == longest]
        self.is_certain = len(self.candidates) == 1 and bool(alike or longest > 1)
        self._longest = longest

    @property
    def root(self) -> Root:
        """The folders that differ, elsewhere and here."""
        file = self.candidates[0]
        return self.parts[: -self._longest], file[: len(file) - self._longest]

    def below(self, roots: Collection[Root]) -> set[tuple[str, ...]]:
        """What it would be here, by folders that are known."""
        return {
            here + self.parts[len(there) :]
            for there, here in roots
            if self.parts[: len(there)] == there
        }


def _without_contradictions(roots: Collection[Root]) -> set[Root]:
    """Only those of a folder that would be one folder here."""
    places: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for there, here in roots:
        places.setdefault(there, set()).add(here)
    return {(there, here) for there, here in roots if len(places[there]) == 1}


def _tail(one: Sequence[str], other: Sequence[str]) -> int:
    """How many parts two paths have in common, from the end."""
    count = 0
    for a, b in zip(reversed(one), reversed(other), strict=False):
        if a != b:
            break
        count += 1
    return count
