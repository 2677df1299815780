"""`Control`: what can be asked of one application's coverage, by every entry point."""

from wsgi_coverage.control.control import CURRENT, Compared, Control

__all__ = ["CURRENT", "Compared", "Control"]
