"""Print results (lines, tables, JSON) on stdout; warnings and progress on stderr.

Control characters are escaped in all output, so that it cannot affect a terminal.

Concurrency: progress is shown by one thread, and its line removed by another after that has ended;
all else has no state.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from wsgi_coverage import line_ranges
from wsgi_coverage.client import (
    Context,
    Diff,
    File,
    Function,
    Health,
    LinesOfContext,
    Refreshed,
    Snapshot,
    Status,
    WorkerAnswer,
)
from wsgi_coverage.client.progress import Progress
from wsgi_coverage.data import imported
from wsgi_coverage.model.answers import ComparedReport, Side
from wsgi_coverage.settings import BUILT_IN
from wsgi_coverage.system import terminal

FILE_COLUMNS = {
    "file": "file",
    "statements": "statements",
    "missing": "missing",
    "branches": "branches",
    "missing_branches": "missing",
    "percent": "percent",
    "load_only": "load only",
    "runtime": "at runtime",
    "runtime_percent": "percent",
    "ran": "ran",
}
FUNCTION_COLUMNS = {
    "file": "file",
    "line": "line",
    "name": "function",
    "statements": "statements",
    "covered": "covered",
    "runtime": "at runtime",
    "ran": "ran",
}
CONTEXT_COLUMNS = {
    "label": "label",
    "requests": "requests",
    "last": "last",
    "files": "files",
    "lines": "lines",
    "own_lines": "only here",
}
SNAPSHOT_COLUMNS = {
    "id": "id",
    "taken_at": "taken at",
    "size": "bytes",
    "made_by": "made by",
    "label": "label",
}


def show(text: str) -> None:
    """Print a text on stdout, with control characters escaped."""
    show_lines(text.split("\n"))


def show_lines(lines: Iterable[str]) -> None:
    """Print lines on stdout, with control characters escaped, newlines within a line included."""
    for line in lines:
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


@contextlib.contextmanager
def progress_on_terminal() -> Iterator[Progress | None]:
    """Yield a function that shows progress as a line on stderr; None if that is no terminal.

    The line is removed at the end of the block.
    """
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
    """Return a count with its noun in the right number: `1 worker`, `2 workers`."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def plain(text: object, stream: Any = None) -> str:
    """Escape control characters, and those that the stream (None: stdout) cannot encode."""
    shown = "".join(char if char.isprintable() else repr(char)[1:-1] for char in str(text))
    encoding = (stream or sys.stdout).encoding or "utf-8"
    return shown.encode(encoding, "backslashreplace").decode(encoding)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


# Answers of a dashboard


def refreshed(answer: Refreshed) -> None:
    """Print the total of a new report."""
    summary = answer["summary"]
    percent = summary.get("percent")
    if percent is None:
        show(f"no figures: {summary.get('reason') or 'no data yet'}")
        return
    statements = plural(summary["statements"] or 0, "statement")
    show(f"{percent:.2f} % of {statements} in {plural(summary['files'], 'file')}")


def took_part(answer: Status, what: str) -> None:
    """Print in how many workers something was done.

    Args:
        answer: the answer to a call to all workers.
        what: the words before the number: `paused in`.
    """
    fresh = [worker for worker in answer["workers"] or () if worker.get("fresh")]
    show(f"{what} {plural(len(fresh), 'worker')}")


def files(found: Sequence[File]) -> None:
    """Print the figures of files; an older dashboard's answer may lack some."""
    there = {key for each in found for key in each}
    columns = {key: name for key, name in FILE_COLUMNS.items() if key in there or key == "file"}
    table(found, columns, left=["file", "ran"])
    _say_what_is_not_exact(found)
    _say_what_is_unknown(found, "runtime_reason")
    for each in found:
        if each["statements"] is None:
            say(f"{each['file']} has no figures: {each.get('reason')}")


def functions(found: Sequence[Function]) -> None:
    """Print the figures of functions."""
    table(found, FUNCTION_COLUMNS, left=["file", "name", "ran"])
    _say_what_is_not_exact(found)
    _say_what_is_unknown(found, "reason")


def contexts(found: Sequence[Context] | LinesOfContext) -> None:
    """Print a list of labels, or the lines that ran for one."""
    if isinstance(found, dict):
        show_lines(f"{each['file']}: {line_ranges.shown(each['lines'])}" for each in found["files"])
    else:
        table(found, CONTEXT_COLUMNS, left=["label", "last"])


def snapshots(found: Sequence[Snapshot]) -> None:
    """Print a list of snapshots, and how each was made if some were made of others."""
    rows = [{**each, "made_by": each.get("operation", "measuring")} for each in found]
    columns = {**SNAPSHOT_COLUMNS}
    if not any("operation" in each for each in found):
        del columns["made_by"]
    table(rows, columns, left=["id", "taken_at", "made_by", "label"])


def diff(answer: Diff) -> None:
    """Print the lines that only one of two reports has."""
    show_lines(_diff_lines(answer))


def health(answer: Health) -> None:
    """Print how an application is measured, and known problems with that."""
    show_lines(_health_lines(answer))


def _say_what_is_unknown(rows: Sequence[Mapping[str, Any]], reason: str) -> None:
    """Print on stderr why load and runtime are not known for some files or functions.

    Args:
        rows: the dashboard's answer.
        reason: the key whose value says why figures of load and runtime are null.
    """
    unknown = [row for row in rows if row.get("ran", "") is None and row.get("covered")]
    if unknown:
        say(f"not known whether {len(unknown)} of these ran at load only: {unknown[0].get(reason)}")


def _say_what_is_not_exact(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print on stderr which files have figures that are not exact: more may have run.

    Args:
        rows: the dashboard's answer, files or functions.
    """
    why = imported.warning({row["file"] for row in rows if "imported_early" in row})
    if why is not None:
        say(why)


def _diff_lines(answer: Diff) -> Iterator[str]:
    a, b = report_name(answer["a"]), report_name(answer["b"])
    for file in answer["files"]:
        yield file["file"]
        for name, only in ((a, file["only_a"]), (b, file["only_b"])):
            if only is None:
                yield f"  cannot be compared: {file.get('reason')}"
                break
            if only["lines"]:
                yield f"  only in {name}: {line_ranges.shown(only['lines'])}"
            if branches := _branches(only):
                yield f"  only in {name}, branches: {branches}"
    if not answer["files"]:
        yield difference(answer)


def difference(answer: Diff) -> str:
    """Return a sentence about a comparison of two reports."""
    a, b = report_name(answer["a"]), report_name(answer["b"])
    files = plural(len(answer["files"]), "file")
    return (
        f"{a} and {b} differ in {files}"
        if answer["files"]
        else f"{a} and {b} have executed the same"
    )


def only(side: Side) -> str:
    """Return the lines and branches that only one of two reports has, as a text."""
    lines, branches = line_ranges.shown(side["lines"]), _branches(side)
    return "; ".join(filter(None, (lines, branches and f"branches {branches}")))


def _branches(side: Side) -> str:
    return ", ".join(f"{start}->{end}" for start, end in side.get("branches", ()))


def report_name(report: ComparedReport) -> str:
    """Return the name of one of two reports that were compared."""
    if report.get("context"):
        return f"context:{report['context']}"
    return str(report["id"]) if report["label"] is None else f"{report['id']} ({report['label']})"


def _health_lines(health: Health) -> list[str]:
    workers = health["workers"]
    out = []
    if "engine" in health:
        out.append(f"engine:       {health['engine']} ({health.get('engine_reason')})")
    out += [
        f"core:         {health['core']} ({health.get('core_reason')})",
        f"coverage.py:  {health.get('coverage_version')}",
        f"measured:     {'branches' if health.get('branch') else 'statements'}",
        f"data folder:  {health.get('data_folder')}",
        f"workers:      {len(workers)}",
        *(f"  {_worker(worker)}" for worker in workers),
    ]
    out += [f"setting:      {each}" for each in _settings_given(health)]
    if isinstance(report := health.get("report"), dict):
        out += [f"report:       {sentence}" for sentence in report.get("outdated") or ()]
    if health["problems"]:
        out += ["problems:", *(f"  {problem}" for problem in health["problems"])]
    for diagnosis in health["diagnoses"]:
        out += [f"{diagnosis['name']}: {diagnosis['text']}", f"  Remedy: {diagnosis['remedy']}"]
    return out


def _settings_given(health: Health) -> Iterator[str]:
    """Yield a line for each setting that is not left at its default, with its origin."""
    for name, setting in health.get("settings", {}).items():
        if setting.get("origin") != BUILT_IN:
            yield f"{name} = {json.dumps(setting.get('value'))} ({setting.get('origin')})"


def _worker(worker: WorkerAnswer) -> str:
    line = f"{worker.get('host')} {worker.get('pid')} {worker.get('state')}"
    line += f", published {worker.get('published_at') or 'nothing yet'}"
    return f"{line}: {error}" if (error := worker.get("error")) else line
