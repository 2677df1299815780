"""Numbers within bounds, from what people write. No state.

What is refused is a ValueError that says the rule; the caller knows the source and the value.
"""

from __future__ import annotations

WAIT = 5.0  # seconds to wait for all workers, unless a request says otherwise
MAX_WAIT = 300.0  # seconds
MAX_PORT = 65_535


def number(raw: object, lowest: float, highest: float, unit: str = "") -> float:
    """A number, the bounds included.

    Args:
        raw: a text, or a number.
        lowest: the least that it may be.
        highest: the most; finite.
        unit: what it is a number of, for the message.

    Raises:
        ValueError: it is none, or out of bounds.
    """
    if isinstance(raw, (str, int, float)) and not isinstance(raw, bool):
        try:
            found = float(raw)
        except (ValueError, OverflowError):
            found = float("nan")
        if lowest <= found <= highest:
            return found
    raise ValueError(f"must be {lowest:g} to {highest:g} {unit}".rstrip())


def whole_number(raw: str, lowest: int, highest: int, what: str = "number") -> int:
    """A whole number in decimal digits, the bounds included.

    Args:
        raw: its digits, without a sign.
        lowest: the least that it may be, 0 or more.
        highest: the most.
        what: what it is, for the message.

    Raises:
        ValueError: it is none, or out of bounds.
    """
    digits = raw.lstrip("0")
    if raw.isascii() and raw.isdigit() and len(digits) <= len(str(highest)):
        found = int(digits or "0")
        if lowest <= found <= highest:
            return found
    raise ValueError(f"must be a {what} from {lowest} to {highest}")
