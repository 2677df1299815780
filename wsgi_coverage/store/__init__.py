"""Where processes meet: shared memory, sockets, locks and data files; and the store of a fleet."""
