"""What single servers do that Python is not told of."""
