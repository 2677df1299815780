"""Make a snapshot of others: their union, their intersection, or one without the others."""
