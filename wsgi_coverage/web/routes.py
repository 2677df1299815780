"""The URL map, one line an endpoint.

Concurrency: made at the import; read by any thread after that.
"""

from __future__ import annotations

from werkzeug.routing import BaseConverter, Map, Rule

from wsgi_coverage.web import views
from wsgi_coverage.web.dashboard.overview import overview


class Rest(BaseConverter):
    """The rest of a path, whatever it is: a label or a file may begin with a slash."""

    regex = ".+"
    part_isolating = False


URL_MAP = Map(
    [
        Rule("/", endpoint=overview, methods=["GET"]),
        Rule("/static/<name>", endpoint=views.static, methods=["GET"]),
        Rule("/report", endpoint=views.report, methods=["GET"]),
        Rule("/files", endpoint=views.files, methods=["GET"]),
        Rule("/functions", endpoint=views.functions, methods=["GET"]),
        Rule("/contexts", endpoint=views.contexts, methods=["GET"]),
        Rule("/contexts/<rest:label>", endpoint=views.context, methods=["GET"]),
        Rule("/contexts/<rest:label>", endpoint=views.forget_context, methods=["DELETE"]),
        Rule("/contexts/<rest:label>/delete", endpoint=views.forget_context, methods=["POST"]),
        Rule("/source/<rest:name>", endpoint=views.source, methods=["GET"]),
        Rule("/diff", endpoint=views.diff, methods=["GET"]),
        Rule("/export", endpoint=views.export, methods=["GET"]),
        Rule("/html", endpoint=views.html_folder, methods=["GET"]),
        Rule("/html/", endpoint=views.html, methods=["GET"]),
        Rule("/html/<path:path>", endpoint=views.html, methods=["GET"]),
        Rule("/refresh", endpoint=views.refresh, methods=["POST"]),
        Rule("/reset", endpoint=views.reset, methods=["POST"]),
        Rule("/pause", endpoint=views.pause, methods=["POST"]),
        Rule("/resume", endpoint=views.resume, methods=["POST"]),
        Rule("/snapshot", endpoint=views.snapshot, methods=["POST"]),
        Rule("/snapshots", endpoint=views.snapshots, methods=["GET"]),
        Rule("/snapshots/<identity>", endpoint=views.snapshot_data, methods=["GET"]),
        Rule("/snapshots/<identity>", endpoint=views.delete_snapshot, methods=["DELETE"]),
        Rule("/snapshots/<identity>/delete", endpoint=views.delete_snapshot, methods=["POST"]),
        Rule("/snapshots/<identity>/report", endpoint=views.report, methods=["GET"]),
        Rule("/snapshots/<identity>/files", endpoint=views.files, methods=["GET"]),
        Rule("/snapshots/<identity>/functions", endpoint=views.functions, methods=["GET"]),
        Rule("/snapshots/<identity>/contexts", endpoint=views.contexts, methods=["GET"]),
        Rule(
            "/snapshots/<identity>/contexts/<rest:label>", endpoint=views.context, methods=["GET"]
        ),
        Rule("/snapshots/<identity>/source/<rest:name>", endpoint=views.source, methods=["GET"]),
        Rule("/snapshots/<identity>/export", endpoint=views.export, methods=["GET"]),
        Rule("/snapshots/<identity>/html", endpoint=views.html_folder, methods=["GET"]),
        Rule("/snapshots/<identity>/html/", endpoint=views.html, methods=["GET"]),
        Rule("/snapshots/<identity>/html/<path:path>", endpoint=views.html, methods=["GET"]),
        Rule("/workers", endpoint=views.workers, methods=["GET"]),
        Rule("/building", endpoint=views.building, methods=["GET"]),
        Rule("/health", endpoint=views.health, methods=["GET"]),
    ],
    converters={"rest": Rest},
    strict_slashes=False,
    merge_slashes=False,
    redirect_defaults=False,
)
