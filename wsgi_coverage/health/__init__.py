"""Known problems with how an application is measured, and their remedies."""
