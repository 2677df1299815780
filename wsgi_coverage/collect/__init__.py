"""Running code in, executed lines out, in one worker."""
