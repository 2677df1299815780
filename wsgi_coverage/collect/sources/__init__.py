"""Which sources are measured, and what is known of them before a line of them runs."""
