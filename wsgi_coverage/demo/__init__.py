"""A small real shop, and what `wsgi-coverage demo` runs."""
