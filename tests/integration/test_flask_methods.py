"""What flask-coverage 0.2.1 offers beside its endpoints: methods, names for url_for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, url_for
from flask_calls import client_of

from flask_coverage import FlaskCoverage
from flask_coverage.extension import ENDPOINTS

RunScript = Callable[..., Any]
VALUES = {"snapshot_download": {"snap_id": "x"}, "html_asset": {"filename": "a/b.html"}}


@pytest.mark.parametrize("name", [endpoint for _, endpoint, _ in ENDPOINTS])
@pytest.mark.parametrize(
    ("prefix", "shown"), [(None, "/debug/coverage"), ("cov/", "/cov"), ("/", "")]
)
def test_url_for_gives_the_address_of_each_endpoint(
    app: Flask, name: str, prefix: str | None, shown: str
) -> None:
    FlaskCoverage(app, url_prefix=prefix)
    path = {endpoint: path for path, endpoint, _ in ENDPOINTS}[name]
    wanted = path.replace("<snap_id>", "x").replace("<path:filename>", "a/b.html")

    with app.test_request_context(environ_overrides={"SCRIPT_NAME": "/mounted"}):
        found = url_for(f"flask_coverage.{name}", **VALUES.get(name, {}))

    assert found == f"/mounted{shown}{wanted}"


def test_the_names_for_url_for_open_no_second_way_to_the_dashboard(app: Flask) -> None:
    client_of(app)
    adapter = app.url_map.bind("localhost")

    assert not adapter.test("/debug/coverage/", method="GET")


def test_before_init_app_every_method_raises_runtime_error() -> None:
    extension = FlaskCoverage()

    for ask in (extension.refresh_cache, extension.list_snapshots, extension.reset):
        with pytest.raises(RuntimeError, match="init_app"):
            ask()


def test_the_refusal_names_the_variable_that_flask_coverage_has(app: Flask) -> None:
    app.debug = False

    with pytest.raises(RuntimeError, match="FLASK_COVERAGE_PASSWORD"):
        FlaskCoverage(app)


def test_attributes_have_the_values_in_use(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSGI_COVERAGE_AUTOSAVE_INTERVAL", "7")

    extension = FlaskCoverage(app, url_prefix="cov/")

    assert (extension.url_prefix, extension.autosave_interval) == ("/cov", 7.0)
    assert (extension.auth, extension.config_file) == (None, None)


def test_the_methods_do_what_the_endpoints_do(run_script: RunScript) -> None:
    found = run_script(
        """
    import json
    from flask import Flask
    from flask_coverage import FlaskCoverage
    app = Flask("app")
    extension = FlaskCoverage(app, debug=True)
    import shop
    def name(found):
        return [each["file"].rpartition("/")[2] for each in found]
    before = [extension.cache_metadata(), extension.cached_summary(), extension.list_snapshots()]
    taken = extension.take_snapshot("a label")
    refreshed = extension.refresh_cache()
    cached = extension.cache_metadata() == refreshed == extension.ensure_cache()
    path = extension.snapshot_path(taken["id"])
    out = [
        before, taken["label"], cached, extension.cached_summary() == refreshed["summary"],
        name(extension.cached_files()), name(extension.file_stats()),
        ["shop.py" in text for text in (extension.cached_text_report(), extension.text_report())],
        [found[:15].decode() for found in
         (extension.cached_export_bytes(), extension.export_combined_bytes())],
        [each["id"] for each in extension.list_snapshots()] == [taken["id"]],
        path.is_file(), path == extension.snapshot_path(path.name),
        extension.snapshot_path("../shop"), extension.cache_dir_path().name,
        extension.data_file_path().name, extension.reset(), extension.cache_metadata(),
    ]
    print(json.dumps(out))
""",
        {"shop.py": "def price(n):\n    return n\n"},
    )

    sqlite = "SQLite format 3"
    assert found == [
        *[[None, None, []], "a label", True, True],
        *[["shop.py"], ["shop.py"], [True, True], [sqlite, sqlite]],
        *[True, True, True, None, ".flask-coverage-cache", ".coverage", None, None],
    ]
