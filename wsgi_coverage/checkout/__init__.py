"""Data from elsewhere, as about a checkout."""
