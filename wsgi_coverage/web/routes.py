"""The table of endpoints: the URL map, and what `GET /openapi.json` says of each.

Concurrency: made at the import; read by any thread after that.
"""

from __future__ import annotations

import json
from functools import lru_cache

from werkzeug.routing import BaseConverter, Map
from werkzeug.wrappers import Request, Response

from wsgi_coverage import errors
from wsgi_coverage.control import Control
from wsgi_coverage.model import JsonObject
from wsgi_coverage.model.answers import (
    BuildingAnswer,
    Context,
    Deleted,
    Diff,
    File,
    Forgotten,
    Function,
    Gathered,
    Health,
    LinesOfContext,
    Refreshed,
    Snapshot,
    Source,
    Status,
    Taken,
)
from wsgi_coverage.web import openapi as describing
from wsgi_coverage.web import parameters as p
from wsgi_coverage.web import views
from wsgi_coverage.web.dashboard.overview import overview
from wsgi_coverage.web.exports import EXPORTS
from wsgi_coverage.web.metrics import metrics
from wsgi_coverage.web.negotiation import as_json
from wsgi_coverage.web.openapi import Access
from wsgi_coverage.web.parameters import WAIT
from wsgi_coverage.web.route import (
    BUILDS,
    GATHERS,
    JSON,
    NOTHING,
    PAGE,
    READS,
    READS_SNAPSHOT,
    RENDERS,
    RESETS,
    Content,
    Errors,
    Route,
    json_of,
    json_or_page,
    of_report,
)

ABOUT = """\
Which lines a running Python web application has executed. HEAD works where GET does, and OPTIONS \
everywhere (204 with `Allow`); any other method is a 405. Every path works with a slash at its \
end, too, but that of a label or of a source."""
KEPT = 8  # documents: an application is rarely mounted at more than one prefix

# What answers have
TEXT: Content = {"text/plain": str}
DATA_FILE: Content = {"application/octet-stream": bytes}
FUNCTIONS_TYPES: Content = {**json_or_page(list[Function]), "text/csv": str}
SOURCE_TYPES: Content = {**json_or_page(Source), **TEXT}
EXPORT_TYPES: Content = {
    each.mimetype: JsonObject if each.mimetype == JSON else bytes for each in EXPORTS.values()
}
STATIC_TYPES: Content = {"text/css": str, "text/javascript": str}
METRICS_TYPES: Content = {"application/openmetrics-text": str, "text/plain": str}
HTML_TYPES: Content = {**PAGE, **STATIC_TYPES, "image/png": bytes}

# What they take
ROWS = (p.Q, p.SORT, p.ORDER, p.PAGE)
OF_FILES = (p.CONTEXT, p.VIEW, p.IN, *ROWS)
OF_FUNCTIONS = (p.UNUSED, p.UNUSED_FOR, p.CONTEXT, p.FORMAT_OF_FUNCTIONS, p.Q, p.PAGE)
OF_SOURCE = (p.FORMAT_OF_SOURCE, p.CONTEXT, p.LINE)
OF_COMBINED = (p.MERGE, p.SUBTRACT, p.INTERSECT, p.SNAPSHOT_LABEL, p.KEEP, p.DETAIL, WAIT)
OF_SNAPSHOT = (p.SNAPSHOT_LABEL, p.RESET, p.KEEP, p.DETAIL, WAIT)

# What they refuse
LABEL: Errors = (errors.UnknownContextError, *RENDERS)
HTML: Errors = (errors.NotFoundError, *RENDERS)
SEEN: Errors = (errors.HistoryTooShortError, *LABEL)
COMPARES: Errors = (*READS, *READS_SNAPSHOT, *LABEL)
PAUSES: Errors = (*RESETS, errors.CannotPauseError)
TAKES: Errors = (*BUILDS, errors.NotOursError, errors.NoDataError, errors.SnapshotLimitError)
COMBINES: Errors = (
    *READS,
    *READS_SNAPSHOT,
    errors.NoDataError,
    errors.MixedDataError,
    errors.SourceVersionsError,
    errors.SnapshotLimitError,
)
FORGETS: Errors = (*GATHERS, errors.UnknownContextError, errors.LabelOfFleetError)
DELETES: Errors = (errors.UnknownSnapshotError, errors.StoreUnavailableError)


class Rest(BaseConverter):
    """The rest of a path, whatever it is: a label or a file may begin with a slash."""

    regex = ".+"
    part_isolating = False


def openapi(request: Request, control: Control) -> Response:
    """GET /openapi.json: all of this, for machines: an OpenAPI 3.1 document."""
    return as_json(_document(Access.of(control.settings), request.root_path))


@lru_cache(maxsize=KEPT)
def _document(access: Access, prefix: str) -> bytes:
    found = describing.document(
        ROUTES,
        access,
        prefix,
        title="wsgi-coverage",
        about=ABOUT,
    )
    return json.dumps(found).encode()


# What an endpoint answers, takes and refuses stands beside it; what all of a kind have in common
# (401, 403, 405, 507, `format`, `back`) is added by wsgi_coverage.web.route and .openapi.
ROUTES: tuple[Route, ...] = (
    Route("GET", "/", overview, PAGE, query=[p.IN, p.NOTICE]),
    Route("GET", "/static/<name>", views.static, STATIC_TYPES),
    *of_report("/report", views.report, TEXT),
    *of_report("/files", views.files, json_or_page(list[File]), query=OF_FILES, errors=LABEL),
    *of_report("/functions", views.functions, FUNCTIONS_TYPES, query=OF_FUNCTIONS, errors=SEEN),
    *of_report(
        "/contexts", views.contexts, json_or_page(list[Context]), query=ROWS, errors=RENDERS
    ),
    *of_report("/contexts/<rest:label>", views.context, json_or_page(LinesOfContext), errors=LABEL),
    Route(
        "DELETE",
        "/contexts/<rest:label>",
        views.delete_context,
        json_of(Forgotten),
        query=[WAIT],
        errors=FORGETS,
    ),
    Route(
        "POST",
        "/contexts/<rest:label>/delete",
        views.delete_context,
        json_of(Forgotten),
        query=[WAIT],
        errors=FORGETS,
        name="delete_context_by_form",
    ),
    *of_report("/source/<rest:file>", views.source, SOURCE_TYPES, query=OF_SOURCE, errors=LABEL),
    Route("GET", "/diff", views.diff, json_or_page(Diff), query=[p.OF_A, p.OF_B], errors=COMPARES),
    *of_report("/export", views.export, EXPORT_TYPES, query=[p.FORMAT_OF_EXPORT], errors=RENDERS),
    *of_report("/html", views.html_folder, NOTHING, status=308),
    *of_report("/html/", views.html, PAGE, name="html", errors=HTML),
    *of_report("/html/<path:path>", views.html, HTML_TYPES, name="html_file", errors=RENDERS),
    Route("POST", "/refresh", views.refresh, json_of(Refreshed), query=[WAIT], errors=BUILDS),
    Route("POST", "/reset", views.reset, json_of(Status), query=[WAIT], errors=RESETS),
    Route("POST", "/pause", views.pause, json_of(Status), query=[WAIT], errors=PAUSES),
    Route("POST", "/resume", views.resume, json_of(Status), query=[WAIT], errors=GATHERS),
    Route(
        "POST",
        "/snapshot",
        views.snapshot,
        json_of(Taken),
        query=OF_SNAPSHOT,
        form=[p.SNAPSHOT_LABEL],
        errors=TAKES,
    ),
    Route("GET", "/snapshots", views.snapshots, json_or_page(list[Snapshot])),
    Route(
        "POST",
        "/snapshots",
        views.combine,
        json_of(Taken),
        query=OF_COMBINED,
        form=[p.SNAPSHOT_LABEL],
        errors=COMBINES,
    ),
    Route(
        "GET",
        "/snapshots/<identity>",
        views.snapshot_data,
        DATA_FILE,
        errors=[*READS_SNAPSHOT, *RENDERS],
    ),
    Route(
        "DELETE", "/snapshots/<identity>", views.delete_snapshot, json_of(Deleted), errors=DELETES
    ),
    Route(
        "POST",
        "/snapshots/<identity>/delete",
        views.delete_snapshot,
        json_of(Deleted),
        errors=DELETES,
        name="delete_snapshot_by_form",
    ),
    Route("GET", "/workers", views.workers, json_or_page(Gathered), query=[WAIT]),
    Route("GET", "/building", views.building, json_of(BuildingAnswer)),
    Route("GET", "/health", views.health, json_or_page(Health), query=[WAIT]),
    Route("GET", "/metrics", metrics, METRICS_TYPES, errors=[*READS, errors.MissingExtraError]),
    Route("GET", "/openapi.json", openapi, json_of(JsonObject)),
)

URL_MAP = Map(
    ROUTES,
    converters={"rest": Rest},
    strict_slashes=False,
    merge_slashes=False,
    redirect_defaults=False,
)
