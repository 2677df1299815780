"""Wrappers of the operating system: files for this user alone, outputs, signals, terminals."""
