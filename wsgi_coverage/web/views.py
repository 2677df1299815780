"""The views, a few lines each: read the request, call `Control`, answer.

No state; a view runs in the thread of the request that it answers.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Callable
from functools import cache
from importlib.resources import files as package_files
from typing import TypeVar

from werkzeug.wrappers import Request, Response

from wsgi_coverage.control import Control
from wsgi_coverage.errors import NotFoundError, UnknownContextError
from wsgi_coverage.model import JsonObject, Report
from wsgi_coverage.model.answers import BuildingAnswer, Deleted, Forgotten, Status
from wsgi_coverage.report.snapshots import SUFFIX, snapshot_id
from wsgi_coverage.web import parameters
from wsgi_coverage.web.dashboard import comparison, labels, listing, state
from wsgi_coverage.web.dashboard import source as sources
from wsgi_coverage.web.exports import EXPORTS
from wsgi_coverage.web.negotiation import as_json, done, download, html_page, wants_page

SLASH = "%2F"
MIME_TYPES = {".css": "text/css", ".js": "text/javascript", ".html": "text/html"}

T = TypeVar("T")


def report(request: Request, control: Control, identity: str | None = None) -> Response:  # noqa: ARG001
    """GET /report: the text report."""
    return Response(control.text(identity), mimetype="text/plain")


def files(request: Request, control: Control, identity: str | None = None) -> Response:
    """GET /files: the figures of every file, as JSON or a page."""
    if wants_page(request):
        return listing.files(request, control, identity)
    return as_json(control.files(identity, label=request.args.get("context") or None))


def functions(request: Request, control: Control, identity: str | None = None) -> Response:
    """GET /functions: functions by when they ran, as JSON, CSV or a page."""
    if request.args.get("format") == "csv":
        listed = listing.wanted_functions(request, control, identity)
        body = listing.as_csv(listed).encode("utf-8", "backslashreplace")
        return download(body, "functions.csv", "text/csv")
    if wants_page(request):
        return listing.functions(request, control, identity)
    unused, days = parameters.unused(request), parameters.unused_for(request)
    label = request.args.get("context") or None
    found = control.functions(identity, unused=unused, unused_for=days, label=label)
    return as_json(found)


def contexts(request: Request, control: Control, identity: str | None = None) -> Response:
    """GET /contexts: the labels of requests, and what ran for each, as JSON or a page."""
    if wants_page(request):
        return labels.contexts(request, control, identity)
    return as_json(control.contexts(identity))


def context(
    request: Request, control: Control, label: str, identity: str | None = None
) -> Response:
    """GET /contexts/<label>: the lines that ran for one label, as JSON or a page."""
    if wants_page(request):
        return _for_label(label, lambda each: labels.context(request, control, each, identity))
    return as_json(_for_label(label, lambda each: control.context(each, identity)))


def delete_context(request: Request, control: Control, label: str) -> Response:
    """DELETE /contexts/<label>, and POST …/delete: forget what ran for one label."""
    wait, within = parameters.wait(request), parameters.within(request)

    def forget(label: str) -> Forgotten:
        gathering = control.forget_label(label, wait=wait, within=within)
        return {"status": "forgotten", "label": label, **gathering.as_json()}

    return done(request, _for_label(label, forget), notice="forgotten")


def _for_label(label: str, ask: Callable[[str], T]) -> T:
    """Ask for a label of a path, where some servers leave a quoted slash quoted: cheroot does."""
    try:
        return ask(label)
    except UnknownContextError:
        if SLASH not in label:
            raise
        return ask(label.replace(SLASH, "/"))


def source(request: Request, control: Control, file: str, identity: str | None = None) -> Response:
    """GET /source/<file>: a file's source; of each line, when it ran and for which labels."""
    is_raw = request.args.get("format") == "text"
    is_page = not is_raw and wants_page(request)
    found = control.source(file, identity, label=request.args.get("context") or None)
    if is_raw:
        text = found["text"].encode("utf-8", "backslashreplace")
        return Response(text, mimetype="text/plain")
    return sources.source(request, control, found, identity) if is_page else as_json(found)


def diff(request: Request, control: Control) -> Response:
    """GET /diff: the lines and branches that only one of two reports has executed."""
    a, b = parameters.compared(request, "a"), parameters.compared(request, "b")
    found = control.diff(a, b)
    return comparison.diff(request, control, found) if wants_page(request) else as_json(found)


def export(request: Request, control: Control, identity: str | None = None) -> Response:
    """GET /export: the report as a data file, JSON, XML, LCOV or zipped HTML."""
    wanted = request.args.get("format", "coverage")
    body = control.export(wanted, identity)
    _, mimetype, filename = EXPORTS[wanted]
    return download(body, filename, mimetype) if filename else Response(body, mimetype=mimetype)


def html_folder(request: Request, control: Control, **_: str) -> Response:  # noqa: ARG001
    """Redirect to the folder's address with a slash, which the report's links are relative to."""
    location = "./" if request.path.endswith("/") else "html/"
    return Response(status=308, headers={"Location": location})


def html(
    request: Request,  # noqa: ARG001
    control: Control,
    path: str = "index.html",
    identity: str | None = None,
) -> Response:
    """GET /html/...: a file of coverage.py's HTML report."""
    body = control.html(path, identity)
    return html_page(body, _mime_type(path))


def refresh(request: Request, control: Control) -> Response:
    """POST /refresh: publish a new report."""
    report = control.refresh(wait=parameters.wait(request), within=parameters.within(request))
    return done(request, report.as_json(), notice="refreshed")


def reset(request: Request, control: Control) -> Response:
    """POST /reset: forget every line executed so far, but the load."""
    gathering = control.reset(wait=parameters.wait(request), within=parameters.within(request))
    answer: Status = {"status": "reset", **gathering.as_json()}
    return done(request, answer, notice="reset")


def pause(request: Request, control: Control) -> Response:
    """POST /pause: have every worker measure nothing."""
    gathering = control.pause(wait=parameters.wait(request), within=parameters.within(request))
    answer: Status = {"status": "paused", **gathering.as_json()}
    return done(request, answer, notice="paused")


def resume(request: Request, control: Control) -> Response:
    """POST /resume: have every worker measure again."""
    gathering = control.resume(wait=parameters.wait(request), within=parameters.within(request))
    answer: Status = {"status": "measuring", **gathering.as_json()}
    return done(request, answer, notice="resumed")


def snapshot(request: Request, control: Control) -> Response:
    """POST /snapshot: store a report; with `keep=0` answer with it only."""
    return _stored(
        request,
        lambda **given: control.snapshot(
            wait=parameters.wait(request), reset=parameters.flag(request, "reset"), **given
        ),
        notice="snapshot",
    )


def combine(request: Request, control: Control) -> Response:
    """POST /snapshots: store a snapshot made of others by `merge`, `subtract` or `intersect`."""
    operation, identities = parameters.combined(request)
    return _stored(
        request, lambda **given: control.combine(operation, identities, **given), notice="combined"
    )


def _stored(
    request: Request, store: Callable[..., tuple[Report, JsonObject | None]], *, notice: str
) -> Response:
    """Have a report stored, or only made, as the request says; answer with its metadata."""
    label = request.args.get("label") or parameters.form(request).get("label")
    keep = parameters.flag(request, "keep", default="1")
    wants_lines = parameters.wants_lines(request)
    report, detail = store(
        label=label, within=parameters.within(request), keep=keep, detail=wants_lines
    )
    answer = report.as_taken(is_kept=keep)
    if wants_lines:
        answer["detail"] = detail
        if detail is None:
            answer["reason"] = "no data yet"
    return done(request, answer, notice=notice if keep else "collected")


def snapshots(request: Request, control: Control) -> Response:
    """GET /snapshots: every snapshot, newest first."""
    if wants_page(request):
        return comparison.snapshots(request, control)
    return as_json([each.as_snapshot() for each in control.snapshots()])


def snapshot_data(request: Request, control: Control, identity: str) -> Response:  # noqa: ARG001
    """GET /snapshots/ID: the snapshot's combined data file."""
    return download(control.export("coverage", identity), f"{snapshot_id(identity)}{SUFFIX}")


def delete_snapshot(request: Request, control: Control, identity: str) -> Response:
    """DELETE /snapshots/ID, and POST /snapshots/ID/delete: remove a snapshot."""
    control.delete_snapshot(identity)
    answer: Deleted = {"status": "deleted", "id": snapshot_id(identity)}
    return done(request, answer, notice="deleted")


def health(request: Request, control: Control) -> Response:
    """GET /health: how this process is measured, every worker, and the diagnoses."""
    found = control.health(wait=parameters.wait(request))
    return state.health(request, control, found) if wants_page(request) else as_json(found)


def workers(request: Request, control: Control) -> Response:
    """GET /workers: every live worker of this host, or of its fleet."""
    found = control.workers(wait=parameters.wait(request))
    return (
        state.workers(request, control, found) if wants_page(request) else as_json(found.as_json())
    )


def building(request: Request, control: Control) -> Response:  # noqa: ARG001
    """GET /building: the progress of the report that is being built; null where none is."""
    answer: BuildingAnswer = {"building": control.building()}
    return as_json(answer)


def static(request: Request, control: Control, name: str) -> Response:  # noqa: ARG001
    """GET /static/NAME: a stylesheet or script of the dashboard.

    Raises:
        NotFoundError: there is no file of this name.
    """
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
