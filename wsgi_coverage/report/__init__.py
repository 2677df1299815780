"""Executed lines in, something to read out."""
