"""Flask's test client, between validators."""

from __future__ import annotations

from typing import Any
from wsgiref.validate import validator

from flask import Flask
from flask.testing import FlaskClient

from flask_coverage import FlaskCoverage


class BufferedClient(FlaskClient):
    """Closes every answer, as servers do and the validator demands."""

    def open(self, *args: Any, buffered: bool = True, **keywords: Any) -> Any:
        return super().open(*args, buffered=buffered, **keywords)


def client_of(
    app: Flask, extension: FlaskCoverage | None = None, **keywords: Any
) -> BufferedClient:
    """The test client, once FlaskCoverage has wrapped the application between two validators."""
    app.wsgi_app = validator(app.wsgi_app)  # type: ignore[method-assign]
    (extension or FlaskCoverage(**keywords)).init_app(app)
    app.wsgi_app = validator(app.wsgi_app)  # type: ignore[method-assign]
    return BufferedClient(app, app.response_class)
