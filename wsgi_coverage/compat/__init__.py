"""Reach the names of coverage.py that it does not document; only this package uses them."""
