"""Data files that hold what the shared memory does: when and how they are written."""
