"""`wsgi-coverage demo`: serve a small shop, send requests to it, and measure it."""
