"""Measure: mark in this process which lines run, where the whole host finds them."""
