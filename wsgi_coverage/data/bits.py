"""Sets of line numbers as the bits of one number, as coverage.py's numbits have them.

Concurrency: functions without state.
"""

from __future__ import annotations


def numbers_of(bits: int) -> list[int]:
    """Return the numbers of a set, in order."""
    return [number for number, digit in enumerate(f"{bits:b}"[::-1]) if digit == "1"]


def as_numbits(bits: int) -> bytes:
    """Return a set as coverage.py's numbits: little-endian, without zeros at the end."""
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")
