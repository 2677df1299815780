"""`wsgi-coverage demo`: a small shop, served, visited and measured."""
