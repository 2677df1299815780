"""Fixtures of the integration tests.

What really measures does so in a child process: the worker is global to its process, and the test
process may be measured itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import pytest
from flask import Flask

SUPPORT = Path(__file__).parent / "support"
sys.path.insert(0, str(SUPPORT))

import wsgi_calls  # noqa: E402
from stand_ins import SAME, SOURCE, Site, StandInWorker, build, hello  # noqa: E402

from wsgi_coverage import CoverageMiddleware  # noqa: E402

KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")
ONLY_THE_SHOP = "[run]\ninclude = shop.py\n"
TIMEOUT = 60.0  # seconds that a child process may take

RunScript = Callable[..., Any]
Wrap = Callable[..., Site]


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandInWorker:
    """Takes the place of this process's worker: nothing is measured."""
    stand_in = StandInWorker(tmp_path)
    monkeypatch.setattr("wsgi_coverage.collect.forks.start", lambda **_: stand_in)
    monkeypatch.setattr("wsgi_coverage.control.control.build", build)
    monkeypatch.setattr("wsgi_coverage.control.control.build_detail", build)
    monkeypatch.setattr("wsgi_coverage.control.control.diff", lambda *_, **__: SAME)
    monkeypatch.setattr("wsgi_coverage.control.control.source", lambda *_, **__: SOURCE)
    return stand_in


@pytest.fixture
def wrap(worker: StandInWorker) -> Wrap:
    """Wrap an application; in debug unless the keywords have an access policy."""

    def make(app: wsgi_calls.Application = hello, **keywords: Any) -> Site:
        if not {"auth", "password", "debug"} & keywords.keys():
            keywords["debug"] = True
        return Site(CoverageMiddleware(validator(app), **keywords), worker)

    return make


@pytest.fixture
def site(wrap: Wrap) -> Site:
    """A wrapped application that serves everybody on this machine; no report yet."""
    return wrap()


@pytest.fixture
def reported(site: Site) -> Site:
    """The same with a published report."""
    assert site.post("/refresh", wsgi_calls.JSON).status == 200
    return site


@pytest.fixture
def app(worker: StandInWorker) -> Flask:
    """A Flask application in debug."""
    app = Flask("shop")
    app.debug = True
    app.secret_key = "for tests"
    app.add_url_rule("/", view_func=lambda: "home", endpoint="home")
    return app


@pytest.fixture
def run_script(tmp_path: Path) -> RunScript:
    """Run Python source in a child process of its own folder; what it prints last, as JSON.

    Further files are given by name; shop.py is measured unless they say otherwise. Warnings are
    errors there too.
    """

    def run(
        source: str, files: dict[str, str] | None = None, *, env: dict[str, str] | None = None
    ) -> Any:
        for name, text in {".coveragerc": ONLY_THE_SHOP, **(files or {})}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text), encoding="utf-8")
        script = tmp_path / "script.py"
        script.write_text(textwrap.dedent(source), encoding="utf-8")
        kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        done = subprocess.run(
            [sys.executable, "-W", "error", str(script)],
            cwd=tmp_path,
            env={
                **kept,
                "HOME": str(tmp_path),
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONPATH": str(SUPPORT),
                "PYTHONUTF8": "1",
                **(env or {}),
            },
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        assert "ResourceWarning" not in done.stderr, done.stderr
        return json.loads(done.stdout.strip().splitlines()[-1])

    return run
