"""What processes share: memory, sockets, locks, data files; and the store of a fleet."""
