"""Every name of coverage.py that its documentation does not promise is reached from here alone."""
