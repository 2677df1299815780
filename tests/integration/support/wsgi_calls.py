"""Call a WSGI application as a server does, with wsgiref.validate in between.

Used in the test process and in the child processes that really measure.
"""

from __future__ import annotations

import io
import json as json_module
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes, urlencode
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

from werkzeug.datastructures import Headers

JSON = {"Accept": "application/json"}
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
FORM = "application/x-www-form-urlencoded"
PREFIX = "/debug/coverage"

Application = Callable[..., Iterable[bytes]]


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Headers
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8")

    @property
    def mimetype(self) -> str:
        return self.headers.get("Content-Type", "").partition(";")[0]

    @property
    def error(self) -> str:
        """The slug of a JSON error."""
        assert self.mimetype == "application/json", (self.status, self.mimetype, self.body)
        found: str = self.json()["error"]
        return found

    def json(self) -> Any:
        return json_module.loads(self.body)


def environ_for(
    method: str,
    url: str,
    headers: Mapping[str, str] | None = None,
    *,
    body: bytes = b"",
    form: Mapping[str, str] | None = None,
    script_name: str = "",
    host: str = "localhost",
    **more: Any,
) -> dict[str, Any]:
    """An environ as a server makes it; `url` is a path as it stands in the request line."""
    path, _, query = url.partition("?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": script_name,
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query.encode().decode("latin-1"),
        "HTTP_HOST": host,
    }
    setup_testing_defaults(environ)
    if form is not None:
        body = urlencode(form).encode()
        environ["CONTENT_TYPE"] = FORM
    if body:
        environ["CONTENT_LENGTH"] = str(len(body))
    environ["wsgi.input"] = io.BytesIO(body)
    environ["wsgi.errors"] = io.StringIO()
    for name, value in (headers or {}).items():
        key = name.upper().replace("-", "_")
        environ[key if key.startswith("CONTENT_") else f"HTTP_{key}"] = value
    return {**environ, **more}


def call(app: Application, method: str, url: str, *args: Any, **keywords: Any) -> Answer:
    """Make one request; the arguments are those of `environ_for`."""
    return run(validator(app), environ_for(method, url, *args, **keywords))


def executed(app: Application, name: str = "shop.py", **keywords: Any) -> list[int]:
    """The lines of one file that a refresh shows as executed."""
    refreshed = call(app, "POST", f"{PREFIX}/refresh", JSON, **keywords)
    assert refreshed.status == 200, refreshed.body
    report = call(app, "GET", f"{PREFIX}/export?format=json", **keywords).json()
    found: list[int] = report["files"][name]["executed_lines"]
    return found


def run(app: Application, environ: dict[str, Any]) -> Answer:
    """Make one request without validating, for those that no valid server would make."""
    began: list[tuple[str, list[tuple[str, str]]]] = []
    written: list[bytes] = []

    def start_response(
        status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], object]:
        began[:] = [(status, headers)]
        return written.append

    iterable = app(environ, start_response)
    try:
        written.extend(iterable)
    finally:
        if hasattr(iterable, "close"):
            iterable.close()
    status, headers = began[0]
    return Answer(int(status.split()[0]), Headers(headers), b"".join(written))
