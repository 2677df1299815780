"""A function called in a child process, and how far it has come."""
