"""Where workers meet: published data files, and a way to reach every live worker."""
