"""A small shop: the application that the demo measures. Knows nothing of being measured."""
