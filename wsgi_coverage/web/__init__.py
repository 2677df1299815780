"""The dashboard over HTTP: requests to `Control`, and its answers as JSON or pages."""
