"""Measure: note in this process which lines run, and hand them to the store."""
