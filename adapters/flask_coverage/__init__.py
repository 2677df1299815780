"""Live code coverage for a running Flask application: the Flask adapter of wsgi-coverage."""

from flask_coverage.extension import FlaskCoverage, start_early

__all__ = ["FlaskCoverage", "start_early"]
