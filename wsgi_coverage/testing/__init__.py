"""A plugin of pytest that tells which test ran which lines of a running application."""
