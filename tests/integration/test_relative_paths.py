"""Relative paths of settings are about the folder in which measuring began."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from child_scripts import SHOP, START

WRAPPING = {
    "keyword": """
    app = CoverageMiddleware(validator(shop.app), debug=True, **settings)
    """,
    "environment": """
    for name, value in settings.items():
        os.environ["WSGI_COVERAGE_" + name.upper()] = value
    app = CoverageMiddleware(validator(shop.app), debug=True)
    """,
    "paste": """
    from wsgi_coverage.paste import filter_factory
    app = filter_factory({}, debug="on", **settings)(validator(shop.app))
    """,
    "flask": """
    from flask import Flask
    from flask_coverage import FlaskCoverage
    site = Flask("site")
    FlaskCoverage(site, debug=True, **settings)
    app = site.wsgi_app
    """,
}
BEGINNING = {
    "start_early": "start_early('conf/c.ini')",
    "a Coverage": "cov = coverage.Coverage(config_file='conf/c.ini'); cov.start()",
    "the wrapper": "",
}
SETTINGS = {
    "config_file": "conf/c.ini",
    "cache_dir": "made/cache",
    "snapshot_dir": "made/snapshots",
}


def health(run_script: Any, begins: str, wraps: str) -> dict[str, Any]:
    """What /health says after a change of the folder between the two."""
    files = {"shop.py": SHOP, "conf/c.ini": "[run]\nsource = .\n", "elsewhere/x": ""}
    source = f"""{START}
    import os
    settings = {SETTINGS}
    {BEGINNING[begins]}
    import shop
    {"os.chdir('elsewhere')" if begins != "the wrapper" else ""}
    {WRAPPING[wraps].strip()}
    os.chdir("/")
    print(json.dumps(call(app, "GET", PREFIX + "/health").json()))
    """
    found: dict[str, Any] = run_script(source, files)
    return found


@pytest.mark.parametrize("wraps", WRAPPING)
@pytest.mark.parametrize("begins", BEGINNING)
def test_they_are_about_that_folder_wherever_the_application_went(
    run_script, tmp_path: Path, begins: str, wraps: str
) -> None:
    told = health(run_script, begins, wraps)

    shown = {name: each["value"] for name, each in told["settings"].items() if name in SETTINGS}
    assert shown == {name: str(tmp_path / value) for name, value in SETTINGS.items()}
    assert {each.name for each in (tmp_path / "made").iterdir()} == {"cache", "snapshots"}
    if begins != "a Coverage":  # which has a configuration of its own
        assert "config_file" not in json.dumps(told["diagnoses"])


def test_flask_finds_its_configuration_only_where_coverage_has_found_none(
    run_script, tmp_path: Path
) -> None:
    files = {
        ".coveragerc": "[run]\nsource = .\n",
        "elsewhere/pyproject.toml": "[tool.coverage.run]\n",
    }
    told = run_script(
        f"""{START}
    import os
    from flask import Flask
    from flask_coverage import FlaskCoverage
    start_early()
    os.chdir("elsewhere")
    site = Flask("site", root_path=os.getcwd())
    FlaskCoverage(site, debug=True)
    print(json.dumps(call(site.wsgi_app, "GET", PREFIX + "/health").json()))
    """,
        files,
    )

    assert told["settings"]["config_file"]["value"] is None


def test_without_a_folder_only_full_paths_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wsgi_coverage import CoverageMiddleware, SettingsError

    monkeypatch.setattr("wsgi_coverage.system.workdir._folder", None)
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    try:
        with pytest.raises(SettingsError, match="must be an absolute path"):
            CoverageMiddleware(lambda *_: [], debug=True, cache_dir="here")
    finally:
        os.chdir(tmp_path)
