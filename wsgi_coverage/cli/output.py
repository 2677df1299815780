"""What is printed: lines, tables and JSON on stdout; narration, and progress, on stderr.

Nothing that is printed can do anything to a terminal.

Concurrency: progress is shown from one thread, and taken away from another after that has ended;
all else has no state.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from wsgi_coverage import terminal
from wsgi_coverage.client.progress import Progress
from wsgi_coverage.data import imported


def show(text: str) -> None:
    """Print lines on stdout that can do nothing to a terminal."""
    for line in text.split("\n"):
        print(plain(line))


def show_json(answer: object) -> None:
    """Print an answer as JSON."""
    print(json.dumps(answer, indent=1))


def say(text: object) -> None:
    """Print one line on stderr."""
    print(f"wsgi-coverage: {plain(text, sys.stderr)}", file=sys.stderr)


def table(
    rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], *, left: Sequence[str] = ()
) -> None:
    """Print a table.

    Args:
        rows: what to show.
        columns: the key of each column, and its heading.
        left: keys of the columns of text; the others hold numbers.
    """
    cells = [[plain(_cell(row.get(key))) for key in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns.values(), *cells, strict=True)]
    for line in ([*columns.values()], *cells):
        shown = [
            cell.ljust(width) if key in left else cell.rjust(width)
            for key, cell, width in zip(columns, line, widths, strict=True)
        ]
        print("  ".join(shown).rstrip())


def say_what_is_unknown(rows: Sequence[Mapping[str, Any]], reason: str) -> None:
    """Say on stderr why files or functions are neither at load only nor at runtime.

    Args:
        rows: the dashboard's answer.
        reason: the key of why a figure of load and runtime is null.
    """
    unknown = [row for row in rows if row.get("ran", "") is None and row.get("covered")]
    if unknown:
        say(f"not known whether {len(unknown)} of these ran at load only: {unknown[0].get(reason)}")


def say_what_is_not_exact(rows: Iterable[Mapping[str, Any]]) -> None:
    """Say on stderr of which files more may have run than the figures tell.

    Args:
        rows: the dashboard's answer, files or functions.
    """
    why = imported.warning({row["file"] for row in rows if "imported_early" in row})
    if why is not None:
        say(why)


@contextlib.contextmanager
def progress_on_terminal() -> Iterator[Progress | None]:
    """What to tell of progress; None where stderr is no terminal. The line goes at the end."""
    if not sys.stderr.isatty():
        yield None
        return

    def tell(done: int, total: int | None) -> None:
        text = "gathering the workers' data" if total is None else f"{done} of {total} files"
        terminal.show(text)

    try:
        yield tell
    finally:
        terminal.show("")


def plural(count: int, what: str) -> str:
    """`1 worker`, `2 workers`."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def ranges(lines: Sequence[int]) -> str:
    """`3-5, 8`."""
    out: list[list[int]] = []
    for line in lines:
        if out and out[-1][1] == line - 1:
            out[-1][1] = line
        else:
            out.append([line, line])
    return ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in out)


def plain(text: object, stream: Any = None) -> str:
    """Text that can do nothing to a terminal, and that the stream, or stdout, can take."""
    shown = "".join(char if char.isprintable() else repr(char)[1:-1] for char in str(text))
    encoding = (stream or sys.stdout).encoding or "utf-8"
    return shown.encode(encoding, "backslashreplace").decode(encoding)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)
