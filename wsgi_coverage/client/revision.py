"""Find the files and lines of a checkout that have changed since a revision, by `git diff`.

Options override the user's configuration of Git: no external diff runs, and the output format is
fixed.

Concurrency: functions without state.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from wsgi_coverage.analysis.reporting import PYTHON
from wsgi_coverage.checkout.affected import Change, Hunk
from wsgi_coverage.client.errors import ClientError
from wsgi_coverage.data import regular_files

TIMEOUT = 120.0  # seconds
OF_MEASURING = re.compile(rb"(?:^|/)\.(?:wsgi-|flask-)?coverage(?:[-.][^/]*)?(?:/|$)")
HUNK = re.compile(rb"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
ESCAPE = re.compile(rb'\\([0-7]{3}|[abtnvfr"\\])')
LETTERS = dict(zip(b'abtnvfr"\\', b'\a\b\t\n\v\f\r"\\', strict=True))

Changed = dict[
    str, set[int]
]  # file, relative to the folder asked for: lines of its present version


class RevisionError(ClientError):
    """Git cannot tell which lines have changed."""


def changed_lines(folder: Path, base: str) -> Changed:
    """Return the lines that differ from the merge base of the checkout and a revision.

    Untracked sources count, unless Git ignores them. Removed lines do not count, nor do the lines
    of a file that was only moved.

    Args:
        folder: a folder of the checkout; only files below it count.
        base: a branch, a tag or a commit. Its commits since the merge base do not count.

    Raises:
        RevisionError: there is no Git, no repository, or no such revision.
    """
    commit = _commit(folder, base)
    patch = _patch(folder, commit, "--find-renames", "--diff-filter=d")
    found = {
        file: {line for _, _, start, length in hunks for line in range(start, start + length)}
        for file, hunks in _parsed(patch)
    }
    for file in _untracked(folder):
        if file.endswith(PYTHON):
            found[file] = set(range(1, _lines_in(folder / file) + 1))
    return {file: lines for file, lines in found.items() if lines}


def top_of(folder: Path) -> Path:
    """Return the top folder of a checkout.

    Raises:
        RevisionError: there is no Git, or no repository.
    """
    top = _git(folder, "rev-parse", "--show-toplevel").removesuffix(b"\n")
    return Path(os.fsdecode(top))


def prefix_of(folder: Path) -> str:
    """Return the path of a folder below the top of its checkout, with a slash; empty: it is that.

    It is empty, too, where there is no Git, or no repository.
    """
    try:
        below = folder.resolve().relative_to(top_of(folder).resolve())
    except (RevisionError, ValueError):
        return ""
    return "" if below == Path() else f"{below.as_posix()}/"


def changes(folder: Path, base: str) -> list[Change]:
    """Return the files that differ from the merge base of the checkout and a revision.

    Files that are not tracked count as new, unless Git ignores them; one that was moved counts as
    removed, and as new.

    Args:
        folder: a folder of the checkout; only files below it count.
        base: as for `changed_lines`.

    Raises:
        RevisionError: there is no Git, no repository, or no such revision.
    """
    commit = _commit(folder, base)
    # A submodule that has changed is listed by its folder, and so is no measured source.
    options = ("--relative", "--no-renames", "--ignore-submodules=none", "--no-ext-diff")
    listed = _git(folder, "diff", "--name-status", "-z", *options, commit, "--", ".").split(b"\0")
    hunks = dict(_parsed(_patch(folder, commit, "--no-renames", "--diff-filter=M")))
    found = []
    for status, name in zip(listed[::2], listed[1::2], strict=False):
        file = os.fsdecode(name)
        is_source = file.endswith(PYTHON)
        old, new = (None if status == b"A" else b""), (b"" if status in (b"A", b"M") else None)
        if is_source and old is not None:
            old = _git(folder, "cat-file", "blob", f"{commit}:./{file}")
        if is_source and new is not None:
            new = _content(folder / file)
        found.append(Change(file=file, old=old, new=new, hunks=hunks.get(file, ())))
    found += (Change(file=file, old=None, new=b"") for file in _untracked(folder))
    return sorted(found, key=lambda change: change.file)


def _content(path: Path) -> bytes | None:
    try:
        return regular_files.read(path)
    except OSError:
        return None


def _untracked(folder: Path) -> list[str]:
    """Return the files that are not tracked and not ignored, without those of measuring."""
    names = _git(folder, "ls-files", "-z", "--others", "--exclude-standard").split(b"\0")
    return [os.fsdecode(name) for name in names if name and not OF_MEASURING.search(name)]


def _patch(folder: Path, commit: str, *options: str) -> bytes:
    return _git(
        folder,
        *("diff", "--unified=0", "--relative", "--no-color", "--no-ext-diff", "--no-textconv"),
        *("--text", "--ignore-submodules", "--dst-prefix=b/", "--no-indent-heuristic"),
        *("--inter-hunk-context=0", *options, commit, "--", "."),
    )


def _commit(folder: Path, base: str) -> str:
    """Return the commit to compare with: the merge base, or `base` itself if there is none."""
    try:
        named = _git(
            folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{base}^{{commit}}"
        )
    except RevisionError as error:
        if str(error):
            raise
        raise RevisionError(
            f"Git knows no revision {base!r} in {folder.resolve()}: a shallow clone lacks it until "
            "it is fetched"
        ) from None
    commit = named.decode().strip()
    try:
        return _git(folder, "merge-base", commit, "HEAD").decode().split()[0]
    except (RevisionError, IndexError):
        return commit  # a shallow clone, or an unrelated history


def _git(folder: Path, *arguments: str) -> bytes:
    environment = {
        **os.environ,
        "GIT_OPTIONAL_LOCKS": "0",  # nothing is changed, not even the index
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }
    settings = ["-c", "core.quotePath=true", "-c", "diff.renameLimit=10000"]
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "--no-pager", *settings, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
            env=environment,
        )
    except FileNotFoundError:
        raise RevisionError(
            "git is not installed, and is needed to tell which lines have changed"
        ) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RevisionError(f"git cannot tell which lines have changed: {error}") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip()
        raise RevisionError(f"git: {said.splitlines()[0]}" if said else "")
    return done.stdout


def _parsed(patch: bytes) -> Iterator[tuple[str, list[Hunk]]]:
    """Yield files and what has changed in them, from a patch without context lines."""
    file: str | None = None
    hunks: list[Hunk] = []
    left = 0  # lines of the hunk that are still to come, whatever they look like
    for line in patch.split(b"\n"):
        if left:
            left -= line[:1] in (b"+", b"-")
            continue
        if line.startswith(b"diff --git "):
            if file is not None:
                yield file, hunks
            file, hunks = None, []
        elif line.startswith(b"+++ "):
            file = _name(line[4:])
        elif found := HUNK.match(line):
            start, length, new_start, new_length = (
                1 if number is None else int(number) for number in found.groups()
            )
            hunks.append(Hunk(start, length, new_start, new_length))
            left = length + new_length
    if file is not None:
        yield file, hunks


def _name(raw: bytes) -> str:
    """Decode a file's name from a patch: `b/` before it, quoted if it has unusual characters."""
    raw = raw.removesuffix(b"\t")  # git adds it to a name with a space
    if raw.startswith(b'"') and raw.endswith(b'"'):
        raw = ESCAPE.sub(
            lambda found: bytes([int(found[1], 8) if len(found[1]) == 3 else LETTERS[found[1][0]]]),
            raw[1:-1],
        )
    return os.fsdecode(raw.removeprefix(b"b/"))


def _lines_in(file: Path) -> int:
    try:
        content = regular_files.read(file)
    except OSError:
        return 0
    return content.count(b"\n") + (not content.endswith(b"\n") and bool(content))
