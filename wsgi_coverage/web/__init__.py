"""HTTP in, control, HTTP out."""
