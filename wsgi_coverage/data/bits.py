"""Sets of line numbers as the bits of one number, as coverage.py's numbits have them.

Concurrency: functions without state.
"""

from __future__ import annotations

from collections.abc import Collection


def numbers_of(bits: int) -> list[int]:
    """Return the numbers of a set, in order."""
    return [number for number, digit in enumerate(f"{bits:b}"[::-1]) if digit == "1"]


def bits_of(numbers: Collection[int]) -> int:
    """Return a set of numbers as bits: bit n is number n."""
    # One by one they would make as many numbers, each as long as the last.
    bits = bytearray(max(numbers, default=0) // 8 + 1)
    for number in numbers:
        bits[number // 8] |= 1 << number % 8
    return int.from_bytes(bits, "little")


def as_numbits(bits: int) -> bytes:
    """Return a set as coverage.py's numbits: little-endian, without zeros at the end."""
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")
