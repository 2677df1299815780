"""The two ways to measure a process."""
