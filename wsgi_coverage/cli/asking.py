"""What the commands that ask a dashboard have in common: arguments, tables, exit codes. No state.

Exit codes: 0 done; 1 failed; 2 wrong usage; 3 no answer, refused, or no dashboard at the address;
4 done, but a worker did not take part.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wsgi_coverage.cli import pods
from wsgi_coverage.client import BadAddressError, Client
from wsgi_coverage.client.client import RETRIES, TIMEOUT
from wsgi_coverage.client.credentials import DEFAULT_USERNAME
from wsgi_coverage.client.transport import split
from wsgi_coverage.data import imported

OK, FAILED, USAGE, NO_ANSWER, INCOMPLETE = range(5)

ABOUT_URL = """
URL is the dashboard's address, or the site's root where the dashboard is at /debug/coverage.
"""
ENDS = "exit code: 0 done, 1 failed, 2 wrong usage, 3 no answer, refused, or no dashboard there"
ENDS_INCOMPLETE = f"{ENDS}, 4 done, but a worker did not take part"
MAX_WAIT = 300.0  # seconds


def command(
    commands: Any,
    name: str,
    what: str,
    description: str = "",
    *,
    ends: str = ENDS,
    takes_pods: bool = True,
) -> argparse.ArgumentParser:
    """Declare a command that asks one dashboard.

    Args:
        commands: where.
        name: its name.
        what: what it does, without a capital letter.
        description: more about that.
        ends: its exit codes.
        takes_pods: whether a pod can be named instead of an address.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=what,
        description=(description or f"{what[0].upper()}{what[1:]}.\n") + ABOUT_URL,
        epilog=ends,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "url",
        type=address,
        nargs="?" if takes_pods else None,
        metavar="URL",
        help="http://127.0.0.1:8000/debug/coverage",
    )
    add_access(parser)
    if takes_pods:
        pods.add(parser)
    return parser


def add_access(parser: argparse.ArgumentParser) -> None:
    """Declare how to get in."""
    parser.add_argument(
        "--username",
        help=f"default: the URL's, WSGI_COVERAGE_USERNAME, netrc's, or {DEFAULT_USERNAME}",
    )
    parser.add_argument(
        "--password",
        help="default: the URL's, WSGI_COVERAGE_PASSWORD, or netrc's; those no list of processes "
        "shows",
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=TIMEOUT,
        metavar="SECONDS",
        help=f"for a connection, and for each part of an answer (default: {TIMEOUT:g})",
    )
    parser.add_argument(
        "--retries",
        type=_count,
        default=RETRIES,
        metavar="N",
        help="how often to try again where there is no connection, or where it breaks and nothing "
        f"can have changed (default: {RETRIES})",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Declare --json."""
    parser.add_argument("--json", action="store_true", help="print the dashboard's answer as JSON")


def add_wait(parser: argparse.ArgumentParser) -> None:
    """Declare --wait."""
    parser.add_argument(
        "--wait",
        type=_wait,
        metavar="SECONDS",
        help="for the workers, at most (default: the dashboard's, 5)",
    )


def add_snapshot(parser: argparse.ArgumentParser) -> None:
    """Declare --snapshot."""
    parser.add_argument(
        "--snapshot", metavar="ID", help="of this snapshot, not of the published report"
    )


def client(arguments: argparse.Namespace, url: str | None = None) -> Client:
    """The dashboard that the arguments name."""
    return Client(
        arguments.url if url is None else url,
        username=arguments.username,
        password=arguments.password,
        timeout=arguments.timeout,
        retries=arguments.retries,
    )


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


def gathered(answer: Mapping[str, Any]) -> int:
    """Say which workers did not take part, and return the exit code for that."""
    late = [worker for worker in answer.get("workers") or () if not worker.get("fresh")]
    for worker in late:
        why = worker.get("error") or worker.get("state")
        say(f"worker {worker.get('pid')} on {worker.get('host')} did not take part: {why}")
    if answer.get("complete") is True:
        return OK
    say(
        f"not complete: {len(late)} of {len(answer.get('workers') or ())} workers did not take part"
    )
    return INCOMPLETE


def done(answer: Mapping[str, Any], what: str, *, as_json: bool) -> int:
    """Print what became of a call to all workers, and return the exit code."""
    workers = answer.get("workers") or ()
    if as_json:
        show_json(answer)
    else:
        took_part = sum(1 for worker in workers if worker.get("fresh"))
        show(f"{what} {plural(took_part, 'worker')}")
    return gathered(answer)


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


def address(raw: str) -> str:
    """A dashboard's address, for argparse."""
    try:
        split(raw)
    except BadAddressError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return raw


def seconds(raw: str) -> float:
    """A number of seconds above 0, for argparse."""
    found = _number(raw)
    if not 0 < found < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of seconds above 0, got {raw!r}")
    return found


def _wait(raw: str) -> float:
    found = _number(raw)
    if not 0 <= found <= MAX_WAIT:
        raise argparse.ArgumentTypeError(f"must be 0 to {MAX_WAIT:g} seconds, got {raw!r}")
    return found


def _count(raw: str) -> int:
    if not (raw.isascii() and raw.isdigit() and int(raw) <= 100):
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 100, got {raw!r}")
    return int(raw)


def _number(raw: str) -> float:
    try:
        return float(raw)
    except ValueError:
        return math.nan


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)
