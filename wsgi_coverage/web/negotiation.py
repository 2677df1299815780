"""Answer with JSON, a page, or a 303 to a page with a message; set the headers of every answer.

Links and redirects are relative to the page that they are on, so that they are right behind any
mount and any proxy that strips a prefix. No state.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from werkzeug.datastructures import MIMEAccept
from werkzeug.wrappers import Request, Response

from wsgi_coverage.errors import (
    BadParameterError,
    MethodNotAllowedError,
    TooManyAttemptsError,
    WsgiCoverageError,
)
from wsgi_coverage.web.dashboard import pages
from wsgi_coverage.web.noted import PROBLEM

CSP = (
    "default-src 'none'; style-src 'self'; script-src {scripts}; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
BACK = ("files", "functions", "snapshots", "workers", "health")  # pages a form may redirect to
FORMATS = ("json", "html")
HEADING = b'<header>\n    <div class="content">'  # of coverage.py's pages
WAY_BACK = HEADING + b'\n        <p class="text"><a href="../files">Back to the dashboard</a></p>'
INLINE_SCRIPT = re.compile(rb"<script[^>]*(?<!defer)>(.+?)</script>", re.DOTALL)


def finish(response: Response) -> Response:
    """Set the headers that every answer has."""
    for name, value in HEADERS.items():
        response.headers[name] = value
    response.headers.setdefault("Content-Security-Policy", CSP.format(scripts="'self'"))
    return response


def wants_json(request: Request, *, default: bool) -> bool:
    """Tell whether the client prefers JSON to a page; `default` where `Accept` does not decide."""
    # "application/json; charset=utf-8" asks for JSON too; werkzeug compares parameters.
    accept = MIMEAccept(
        [(value.partition(";")[0].strip(), quality) for value, quality in request.accept_mimetypes]
    )
    if not accept or (accept.best == "*/*" and len(accept) == 1):
        return default
    return accept.best_match(["text/html", "application/json"], "text/html") == "application/json"


def wants_page(request: Request) -> bool:
    """Tell whether to answer with a page instead of JSON.

    Only a client that names text/html and does not prefer JSON gets one; `format` overrules
    `Accept`, for links.
    """
    wanted = request.args.get("format")
    if wanted is not None:
        if wanted not in FORMATS:
            raise BadParameterError(f"format must be one of {', '.join(FORMATS)}, got {wanted!r}")
        return wanted == "html"
    names = {value.partition(";")[0].strip().lower() for value, _ in request.accept_mimetypes}
    return "text/html" in names and not wants_json(request, default=True)


def as_json(body: object, status: int = 200) -> Response:
    """Return a JSON response; a body of bytes is JSON already."""
    if not isinstance(body, bytes):
        text = json.dumps(body, ensure_ascii=False) + "\n"
        # A file name that is no UTF-8 has lone surrogates; the escape is JSON's own.
        body = text.encode("utf-8", "backslashreplace")
    return Response(body, status, mimetype="application/json", headers={"Vary": "Accept"})


def done(request: Request, body: Mapping[str, Any], *, notice: str) -> Response:
    """Return the response to a POST or DELETE: JSON if the client prefers it, else a 303."""
    if wants_json(request, default=False):
        return as_json(dict(body))
    back = request.args.get("back", "")
    page = back if back in BACK else ""
    location = f"{root(request)}{page}?{urlencode({'notice': notice})}"
    return Response(status=303, headers={"Location": location})


def root(request: Request) -> str:
    """Return the relative link from the page of a request to the dashboard."""
    depth = request.path.lstrip("/").count("/")
    return "../" * depth or "./"


def html_page(body: bytes, mimetype: str) -> Response:
    """Return a file of coverage.py's HTML report.

    A page has a link back to the dashboard, and a CSP that allows its inline script by hash.
    """
    if mimetype != "text/html":
        return Response(body, mimetype=mimetype)
    body = body.replace(HEADING, WAY_BACK, 1)
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'"
        for script in INLINE_SCRIPT.findall(body)
    ]
    policy = CSP.format(scripts=" ".join(["'self'", *hashes]))
    return Response(body, mimetype=mimetype, headers={"Content-Security-Policy": policy})


def download(body: bytes, name: str, mimetype: str = "application/octet-stream") -> Response:
    """Return a response that a browser saves as a file."""
    response = Response(body, mimetype=mimetype)
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def problem(request: Request, error: WsgiCoverageError) -> Response:
    """Return the response to an error: a page for browsers, JSON for all other clients."""
    if wants_json(request, default=True):
        response = as_json({"error": error.slug, "message": str(error)}, error.status)
    else:
        page = pages.problem(error, root=root(request))
        response = Response(page, error.status, mimetype="text/html")
    return of_problem(request, error, response)


def of_problem(request: Request, error: WsgiCoverageError, response: Response) -> Response:
    """Set the headers that tell of an error, and note the error for the audit log."""
    request.environ[PROBLEM] = error.slug
    if isinstance(error, MethodNotAllowedError):
        response.headers["Allow"] = ", ".join(error.allowed)
    if isinstance(error, TooManyAttemptsError):
        response.headers["Retry-After"] = str(error.retry_after)
    if error.status == 503:
        response.headers["Retry-After"] = "10"
    return response
