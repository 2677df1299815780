"""Work around what uWSGI and mod_wsgi do differently from other servers."""
