"""What sources could execute, and the figures of what they did."""
