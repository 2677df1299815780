"""Call functions in a child process, and follow their progress."""
