"""Find sources that could run, that ran before measuring began, or that are never measured."""
