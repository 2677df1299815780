"""Arguments and exit codes that commands share, above all those that access a dashboard.

Exit codes: 0 done; 1 failed; 2 wrong usage; 3 no answer, access denied, or no dashboard at the URL;
4 done, but a worker did not take part. No state.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from wsgi_coverage import bounds
from wsgi_coverage.cli import output
from wsgi_coverage.client import BadAddressError, Client, ClientError
from wsgi_coverage.client.client import RETRIES
from wsgi_coverage.client.transport import TIMEOUT, split
from wsgi_coverage.settings import URL_PREFIX, USERNAME

OK, FAILED, USAGE, NO_ANSWER, INCOMPLETE = range(5)

ABOUT_URL = f"""
URL is the dashboard's address, or the site's root where the dashboard is at {URL_PREFIX}.
"""
NOT_REACHED = "3 no answer, access denied, or no dashboard at the URL"
ENDS = f"exit code: 0 done, 1 failed, 2 wrong usage, {NOT_REACHED}"
ENDS_INCOMPLETE = f"{ENDS}, 4 done, but a worker did not take part"
ABOUT_JSON = "print the dashboard's answer as JSON"
MAX_RETRIES = 100

T = TypeVar("T")
Declare = Callable[[argparse.ArgumentParser], object]  # adds arguments to a parser


class WrongUsageError(ClientError):
    """Arguments that do not go together; the message says why."""

    exit_code = USAGE


def argument(*names: str, **options: Any) -> Declare:
    """Return a function that adds an argument to a parser; the parameters are `add_argument`'s."""
    return lambda parser: parser.add_argument(*names, **options)


def number(lowest: float, highest: float, unit: str = "") -> Callable[[str], float]:
    """Return a type for `add_argument`: a number within these bounds."""
    return lambda raw: _checked(raw, bounds.number, lowest, highest, unit)


def whole_number(lowest: int, highest: int, what: str = "number") -> Callable[[str], int]:
    """Return a type for `add_argument`: a whole number within these bounds."""
    return lambda raw: _checked(raw, bounds.whole_number, lowest, highest, what)


def _checked(raw: str, rule: Callable[..., T], *of_rule: object) -> T:
    try:
        return rule(raw, *of_rule)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}, got {raw!r}") from None


def output_file(raw: str) -> Path:
    """Convert an argument that names an output file; ``-`` is stdout."""
    return Path("/dev/stdout" if raw == "-" else raw)


def add_url(parser: argparse.ArgumentParser, name: str, nargs: str | None) -> None:
    """Add the argument for the address of a dashboard, or of several."""
    parser.add_argument(
        name,
        type=_address,
        nargs=nargs,
        metavar="URL",
        help=f"http://127.0.0.1:8000{URL_PREFIX}",
    )


def add_access(parser: argparse.ArgumentParser) -> None:
    """Add the options for user and password."""
    parser.add_argument(
        "--username",
        help=f"for HTTP Basic (default: the URL's, WSGI_COVERAGE_USERNAME, netrc's, or {USERNAME})",
    )
    parser.add_argument(
        "--password",
        help="for HTTP Basic; the list of processes shows it (default: the URL's, "
        "WSGI_COVERAGE_PASSWORD, or netrc's)",
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=TIMEOUT,
        metavar="SECONDS",
        help=f"for a connection, and for each part of an answer (default: {TIMEOUT:g})",
    )
    parser.add_argument(
        "--retries",
        type=whole_number(0, MAX_RETRIES),
        default=RETRIES,
        metavar="N",
        help="how often to try again where there is no connection, or where it breaks and nothing "
        f"can have changed (default: {RETRIES})",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add the option --json."""
    parser.add_argument("--json", action="store_true", help=ABOUT_JSON)


def add_wait(parser: argparse.ArgumentParser) -> None:
    """Add the option --wait."""
    parser.add_argument(
        "--wait",
        type=number(0, bounds.MAX_WAIT, "seconds"),
        metavar="SECONDS",
        help=f"how long the dashboard waits for its workers, at most (default: {bounds.WAIT:g})",
    )


def add_snapshot(parser: argparse.ArgumentParser) -> None:
    """Add the option --snapshot."""
    parser.add_argument(
        "--snapshot", metavar="ID", help="a snapshot instead of the published report"
    )


def client(arguments: argparse.Namespace, url: str | None = None) -> Client:
    """Return a client of the dashboard that the arguments name."""
    return Client(
        arguments.url if url is None else url,
        username=arguments.username,
        password=arguments.password,
        timeout=arguments.timeout,
        retries=arguments.retries,
    )


def completeness(answer: Mapping[str, Any]) -> int:
    """Print to stderr which workers did not take part; return the exit code: 0, or 4 if some."""
    late = [worker for worker in answer.get("workers") or () if not worker.get("fresh")]
    for worker in late:
        why = worker.get("error") or worker.get("state")
        output.say(f"worker {worker.get('pid')} on {worker.get('host')} did not take part: {why}")
    if answer.get("complete") is True:
        return OK
    output.say(
        f"not complete: {len(late)} of {len(answer.get('workers') or ())} workers did not take part"
    )
    return INCOMPLETE


def _address(raw: str) -> str:
    """Check a dashboard's address, as a type for `add_argument`."""
    try:
        split(raw)
    except BadAddressError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return raw


def _seconds(raw: str) -> float:
    try:
        return bounds.number(raw, math.ulp(0), sys.float_info.max)
    except ValueError:
        message = f"must be a number of seconds above 0, got {raw!r}"
        raise argparse.ArgumentTypeError(message) from None
