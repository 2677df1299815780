"""Labelled requests: which lines run for each, and how they are stored."""
