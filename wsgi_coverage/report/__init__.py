"""Combine executed lines, and report on them."""
