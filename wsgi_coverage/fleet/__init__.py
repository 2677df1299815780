"""A fleet: hosts that meet in one Redis or Valkey, each by a process of its own, its agent."""
