"""What is noted about a request while it is answered, in its environ, for the audit log.

The control app's environ is a copy, so that the application and its server never see these.
No state.
"""

from __future__ import annotations

USER = "wsgi_coverage.user"  # who sent the request, as far as that is known; a str or None
FORM = "wsgi_coverage.form"  # the fields of its form, if that was read; a dict of str
PROBLEM = "wsgi_coverage.problem"  # the slug of the error that answers it; a str
