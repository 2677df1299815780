"""A few lines an endpoint: read the request, ask the desk, answer.

No state; a view runs in the thread of the request that it answers.
"""

from __future__ import annotations

import math
import mimetypes
from functools import cache
from importlib.resources import files as package_files

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.wrappers import Request, Response

from wsgi_coverage.control import Control
from wsgi_coverage.errors import (
    BadParameterError,
    BodyTooLargeError,
    NoReportError,
    NotFoundError,
)
from wsgi_coverage.web import pages
from wsgi_coverage.web.negotiation import as_json, done, download, html_page, root

WAIT = 5.0  # seconds to wait for all workers, unless the request says otherwise
MAX_WAIT = 300.0
FLAGS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}
# Format: its type, and the name that it is saved under; JSON is shown.
EXPORTS = {
    "coverage": ("application/octet-stream", ".coverage"),
    "html": ("application/zip", "coverage-html.zip"),
    "json": ("application/json", None),
    "lcov": ("text/plain", "coverage.lcov"),
    "xml": ("application/xml", "coverage.xml"),
}
MIME_TYPES = {".css": "text/css", ".js": "text/javascript", ".html": "text/html"}


def dashboard(request: Request, control: Control) -> Response:
    try:
        report = control.report()
        text = control.library.text()
        outdated = control.outdated()
    except NoReportError:
        report, text, outdated = None, None, []
    page = pages.dashboard(
        report,
        text,
        outdated=outdated,
        snapshots=control.snapshots(),
        can_reset=control.can_reset,
        is_paused=control.is_paused,
        building=control.building(),
        notice=request.args.get("notice"),
        root=root(request),
    )
    return Response(page, mimetype="text/html")


def report(request: Request, control: Control, identity: str | None = None) -> Response:  # noqa: ARG001
    return Response(control.library.text(identity), mimetype="text/plain")


def files(request: Request, control: Control, identity: str | None = None) -> Response:  # noqa: ARG001
    return as_json(control.library.files(identity))


def functions(request: Request, control: Control, identity: str | None = None) -> Response:
    return as_json(control.library.functions(identity, unused=_flag(request, "unused")))


def diff(request: Request, control: Control) -> Response:
    return as_json(control.library.diff(_snapshot_id(request, "a"), _snapshot_id(request, "b")))


def export(request: Request, control: Control, identity: str | None = None) -> Response:
    wanted = request.args.get("format", "coverage")
    body = control.library.export(wanted, identity)
    mimetype, name = EXPORTS[wanted]
    return download(body, name, mimetype) if name else Response(body, mimetype=mimetype)


def html_folder(request: Request, control: Control, **_: str) -> Response:  # noqa: ARG001
    """Links inside the report are relative to the folder."""
    location = "./" if request.path.endswith("/") else "html/"
    return Response(status=308, headers={"Location": location})


def html(
    request: Request,  # noqa: ARG001
    control: Control,
    path: str = "index.html",
    identity: str | None = None,
) -> Response:
    body = control.library.html(path, identity)
    return html_page(body, _mime_type(path))


def refresh(request: Request, control: Control) -> Response:
    report = control.refresh(wait=_wait(request))
    return done(request, report.as_json(), notice="refreshed")


def reset(request: Request, control: Control) -> Response:
    gathering = control.reset(wait=_wait(request))
    return done(request, {"status": "reset", **gathering.as_json()}, notice="reset")


def pause(request: Request, control: Control) -> Response:
    gathering = control.pause(wait=_wait(request))
    return done(request, {"status": "paused", **gathering.as_json()}, notice="paused")


def resume(request: Request, control: Control) -> Response:
    gathering = control.resume(wait=_wait(request))
    return done(request, {"status": "measuring", **gathering.as_json()}, notice="resumed")


def snapshot(request: Request, control: Control) -> Response:
    label = request.args.get("label") or _form(request).get("label")
    keep, wants_lines = _flag(request, "keep", default="1"), _wants_lines(request)
    taken, detail = control.snapshot(
        label=label,
        wait=_wait(request),
        reset=_flag(request, "reset"),
        keep=keep,
        detail=wants_lines,
    )
    body = taken.as_snapshot() | ({} if keep else {"id": None})
    if wants_lines:
        body["detail"] = detail
        if detail is None:
            body["reason"] = "no data yet"
    return done(request, body, notice="snapshot" if keep else "collected")


def snapshots(request: Request, control: Control) -> Response:  # noqa: ARG001
    return as_json([each.as_snapshot() for each in control.snapshots()])


def snapshot_data(request: Request, control: Control, identity: str) -> Response:  # noqa: ARG001
    return download(control.library.export("coverage", identity), f"{identity}.coverage")


def delete_snapshot(request: Request, control: Control, identity: str) -> Response:
    control.delete_snapshot(identity)
    return done(request, {"status": "deleted", "id": identity}, notice="deleted")


def health(request: Request, control: Control) -> Response:
    return as_json(control.health(wait=_wait(request)))


def static(request: Request, control: Control, name: str) -> Response:  # noqa: ARG001
    found = _static_files().get(name)
    if found is None:
        raise NotFoundError("there is no such file")
    return Response(found, mimetype=_mime_type(name))


@cache
def _static_files() -> dict[str, bytes]:
    folder = package_files("wsgi_coverage.web") / "static"
    return {each.name: each.read_bytes() for each in folder.iterdir() if each.is_file()}


def _mime_type(name: str) -> str:
    suffix = f".{name.rpartition('.')[2]}"
    return MIME_TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"


def _wait(request: Request) -> float:
    raw = request.args.get("wait")
    if raw is None:
        return WAIT
    try:
        seconds = float(raw)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= MAX_WAIT:
        raise BadParameterError(f"wait must be 0 to {MAX_WAIT:.0f} seconds, got {raw!r}")
    return seconds


def _snapshot_id(request: Request, name: str) -> str | None:
    """A snapshot's id; None for the published report."""
    raw = request.args.get(name)
    if not raw:
        raise BadParameterError(f"{name} must be a snapshot's id, or current: it is missing")
    return None if raw == "current" else raw


def _wants_lines(request: Request) -> bool:
    raw = request.args.get("detail")
    if raw not in (None, "lines"):
        raise BadParameterError(f"detail must be lines, got {raw!r}")
    return raw is not None


def _flag(request: Request, name: str, *, default: str = "0") -> bool:
    raw = request.args.get(name, default)
    if raw not in FLAGS:
        raise BadParameterError(f"{name} must be 1 or 0, got {raw!r}")
    return FLAGS[raw]


def _form(request: Request) -> dict[str, str]:
    try:
        return request.form.to_dict()
    except RequestEntityTooLarge:
        raise BodyTooLargeError("the body is larger than an upload here may be") from None
