"""Find the lines of a checkout that have changed since a revision, by `git diff`.

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

from wsgi_coverage.client.errors import ClientError
from wsgi_coverage.data import regular_files

TIMEOUT = 120.0  # seconds
HUNK = re.compile(rb"@@ -\d+(?:,\d+)? \+(\d+)(?:,(\d+))? @@")
ESCAPE = re.compile(rb'\\([0-7]{3}|[abtnvfr"\\])')
LETTERS = dict(zip(b'abtnvfr"\\', b'\a\b\t\n\v\f\r"\\', strict=True))

SOURCES = (b".py", b".pyw")

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
    patch = _git(
        folder,
        *("diff", "--unified=0", "--relative", "--find-renames", "--no-color", "--no-ext-diff"),
        *("--no-textconv", "--ignore-submodules", "--diff-filter=d"),
        *("--dst-prefix=b/", "--no-indent-heuristic", "--inter-hunk-context=0", commit, "--", "."),
    )
    found = dict(_parsed(patch))
    for name in _git(folder, "ls-files", "-z", "--others", "--exclude-standard").split(b"\0"):
        if name.endswith(SOURCES):
            file = os.fsdecode(name)
            found[file] = set(range(1, _lines_in(folder / file) + 1))
    return {file: lines for file, lines in found.items() if lines}


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


def _parsed(patch: bytes) -> Iterator[tuple[str, set[int]]]:
    """Yield files and their new lines, from a patch without context lines."""
    file: str | None = None
    lines: set[int] = set()
    left = 0  # lines of the hunk that are still to come, whatever they look like
    for line in patch.split(b"\n"):
        if left:
            left -= line[:1] in (b"+", b"-")
            continue
        if line.startswith(b"diff --git "):
            if file is not None:
                yield file, lines
            file, lines = None, set()
        elif line.startswith(b"+++ "):
            file = _name(line[4:])
        elif hunk := HUNK.match(line):
            first, count = int(hunk[1]), int(hunk[2] or 1)
            lines |= set(range(first, first + count))
            left = _length(line) + count
    if file is not None:
        yield file, lines


def _length(hunk: bytes) -> int:
    """Return the number of lines that a hunk removes."""
    old = hunk.split(b" ", 2)[1]
    return int(old.partition(b",")[2] or 1)


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
