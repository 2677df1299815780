"""The dashboard on a port of its own, for a program that serves no requests of its own."""
