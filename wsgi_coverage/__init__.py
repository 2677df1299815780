"""Live code coverage for running Python web applications."""

from wsgi_coverage.collect.early import start_early
from wsgi_coverage.errors import (
    AuthNotConfiguredError,
    SettingsError,
    WsgiCoverageError,
)
from wsgi_coverage.middleware import CoverageMiddleware

__version__ = "0.1.0"

__all__ = [
    "AuthNotConfiguredError",
    "CoverageMiddleware",
    "SettingsError",
    "WsgiCoverageError",
    "start_early",
]
