"""Read finished reports: their labels, sources and lines, and how two of them differ."""
