"""coverage.py's data files: read, unite, fingerprint."""
