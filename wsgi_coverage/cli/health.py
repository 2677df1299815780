"""`wsgi-coverage health URL`: ask a dashboard how it is. No state.

Exit codes: 0 all is well; 1 something is the matter; 2 wrong usage; 3 no answer, refused, or no
dashboard at the address.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import http.client
import json
import os
import sys
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

OK, DEGRADED, UNREACHABLE = 0, 1, 3

DEFAULT_PREFIX = "/debug/coverage"
DEFAULT_USERNAME = "admin"
TIMEOUT = 30.0  # seconds; the dashboard itself waits 5 for its workers
MAX_ANSWER = 10_000_000  # bytes

DESCRIPTION = """\
Show how an application is measured, by which core and why, every worker, what is the matter, and
what to do about it.

URL is the dashboard's address, or the site's root where the dashboard is at /debug/coverage.
"""


class _NoAnswerError(Exception):
    """There is no answer to show; the text says why."""


class _NotHereError(_NoAnswerError):
    """Whatever is at the address, it is not a dashboard."""


class _NotMeasuringError(Exception):
    """The dashboard answers that it cannot measure."""


def add(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "health",
        help="show how a running application is measured, and what is the matter",
        description=DESCRIPTION,
        epilog="exit code: 0 all is well, 1 something is the matter, 2 wrong usage, "
        "3 no answer, refused, or no dashboard there",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "url", type=_url, metavar="URL", help="http://127.0.0.1:8000/debug/coverage"
    )
    parser.add_argument("--json", action="store_true", help="print the dashboard's answer as JSON")
    parser.add_argument(
        "--username",
        help=f"default: the URL's, WSGI_COVERAGE_USERNAME, or {DEFAULT_USERNAME}",
    )
    parser.add_argument(
        "--password",
        help="default: the URL's, or WSGI_COVERAGE_PASSWORD, which no list of processes shows",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run it; return the exit code."""
    parts = urlsplit(arguments.url)
    url = urlunsplit(
        (parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", "")
    )
    try:
        address, health = _ask(url, _authorization(arguments))
    except _NoAnswerError as error:
        print(f"wsgi-coverage: {_plain(error)}", file=sys.stderr)
        return UNREACHABLE
    except _NotMeasuringError as error:
        print(f"wsgi-coverage: {_plain(error)}", file=sys.stderr)
        return DEGRADED
    if arguments.json:
        print(json.dumps(health, indent=1))
    else:
        print("\n".join(_plain(line) for line in _lines(address, health)))
    return OK if health["status"] == "ok" else DEGRADED


def _url(raw: str) -> str:
    try:
        parts = urlsplit(raw)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port  # raises where it is no port
    except ValueError:
        is_good = False
    if not is_good or any(character <= " " for character in raw) or not raw.isascii():
        raise argparse.ArgumentTypeError(
            f"must be an address such as http://127.0.0.1:8000/debug/coverage, got {raw!r}"
        )
    return raw


def _authorization(arguments: argparse.Namespace) -> str | None:
    """The header for HTTP Basic; None without a password."""
    parts = urlsplit(arguments.url)
    in_url = [None if part is None else unquote(part) for part in (parts.username, parts.password)]
    env = os.environ
    username = arguments.username or in_url[0] or env.get("WSGI_COVERAGE_USERNAME")
    password = arguments.password or in_url[1] or env.get("WSGI_COVERAGE_PASSWORD")
    if not password:
        return None
    raw = f"{username or DEFAULT_USERNAME}:{password}".encode("utf-8", "surrogateescape")
    return f"Basic {base64.b64encode(raw).decode()}"


def _ask(url: str, authorization: str | None) -> tuple[str, dict[str, Any]]:
    """The answer, and the address of the dashboard that gave it."""
    try:
        return url, _fetch(f"{url}/health", authorization)
    except _NotHereError as error:
        below = url + DEFAULT_PREFIX
        try:
            return below, _fetch(f"{below}/health", authorization)
        except _NotHereError:
            raise error from None


class _StayHere(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the credentials are for the address that was given."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _fetch(url: str, authorization: str | None) -> dict[str, Any]:
    headers = {"Accept": "application/json"}
    if authorization is not None:
        headers["Authorization"] = authorization
    request = urllib.request.Request(url, headers=headers)  # noqa: S310  the scheme was checked
    try:
        with urllib.request.build_opener(_StayHere).open(request, timeout=TIMEOUT) as answer:
            body = answer.read(MAX_ANSWER)
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(url, error) from None
    except urllib.error.URLError as error:
        raise _NoAnswerError(f"{url} cannot be reached: {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        reason = str(error) or type(error).__name__
        raise _NoAnswerError(f"{url} cannot be reached: {reason}") from None
    health = _json(body)
    if not _is_health(health):
        raise _NotHereError(f"{url} is not a dashboard of wsgi-coverage")
    return health


def _refusal(url: str, error: urllib.error.HTTPError) -> Exception:
    body = b""
    with contextlib.suppress(OSError, http.client.HTTPException):
        body = error.read(MAX_ANSWER)
    answer = _json(body)
    message = f": {answer['message']}" if "message" in answer else ""
    if error.code == 503 and answer.get("error") == "not-measuring":
        return _NotMeasuringError(f"{url}: not measuring{message}")
    if error.code in (401, 403):
        hint = "" if message else ": give a user name and a password"
        return _NoAnswerError(f"{url} refuses ({error.code}){message or hint}")
    if 300 <= error.code < 400:
        return _NotHereError(f"{url} leads on to {error.headers.get('Location')}: ask there")
    if error.code in (404, 405):
        return _NotHereError(f"there is no dashboard at {url} ({error.code})")
    return _NoAnswerError(f"{url} answers {error.code}{message}")


def _json(body: bytes) -> dict[str, Any]:
    """The object that a body holds; an empty one if it holds something else."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_health(answer: dict[str, Any]) -> bool:
    """Tell a dashboard's answer from whatever else a /health may say."""
    if not isinstance(answer.get("core"), str) or not isinstance(answer.get("status"), str):
        return False
    lists = [answer.get(key) for key in ("workers", "problems", "diagnoses")]
    if not all(isinstance(each, list) for each in lists):
        return False
    workers, _, diagnoses = lists
    keys = {"name", "text", "remedy"}
    return all(isinstance(each, dict) for each in workers or ()) and all(
        isinstance(each, dict) and each.keys() >= keys for each in diagnoses or ()
    )


def _lines(address: str, health: dict[str, Any]) -> list[str]:
    """What to show a reader."""
    workers = health["workers"]
    out = [
        f"{address}: {health['status']}",
        f"core:         {health['core']} ({health.get('core_reason')})",
        f"coverage.py:  {health.get('coverage_version')}",
        f"measured:     {'branches' if health.get('branch') else 'statements'}",
        f"data folder:  {health.get('data_folder')}",
        f"workers:      {len(workers)}",
        *(f"  {_worker(worker)}" for worker in workers),
    ]
    if isinstance(report := health.get("report"), dict):
        out += [f"report:       {sentence}" for sentence in report.get("outdated") or ()]
    if health["problems"]:
        out += ["problems:", *(f"  {problem}" for problem in health["problems"])]
    for diagnosis in health["diagnoses"]:
        out += [f"{diagnosis['name']}: {diagnosis['text']}", f"  Remedy: {diagnosis['remedy']}"]
    return out


def _worker(worker: dict[str, Any]) -> str:
    line = f"{worker.get('host')} {worker.get('pid')} {worker.get('state')}"
    line += f", published {worker.get('published_at') or 'nothing yet'}"
    return f"{line}: {worker['error']}" if worker.get("error") else line


def _plain(text: object) -> str:
    """Text that can do nothing to a terminal, and that stdout can take."""
    shown = "".join(char if char.isprintable() else repr(char)[1:-1] for char in str(text))
    encoding = sys.stdout.encoding or "utf-8"
    return shown.encode(encoding, "backslashreplace").decode(encoding)
