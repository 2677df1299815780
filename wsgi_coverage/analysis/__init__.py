"""Analyse sources, and compute figures: what could be executed, and what was."""
