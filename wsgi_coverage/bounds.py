"""Read numbers within bounds from user input. No state.

A refused value is a ValueError whose message is the rule; the caller adds the source and the value.
"""

from __future__ import annotations

WAIT = 5.0  # seconds to wait for all workers, unless a request says otherwise
MAX_WAIT = 300.0  # seconds
MAX_PORT = 65_535


def number(raw: object, lowest: float, highest: float, unit: str = "") -> float:
    """Return a number from `lowest` to `highest`.

    Args:
        raw: a text, or a number.
        lowest: the lower bound.
        highest: the upper bound; finite.
        unit: the number's unit, for the message.

    Raises:
        ValueError: `raw` is no number, or out of bounds.
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
    """Return a whole number from `lowest` to `highest`.

    Args:
        raw: decimal digits, without a sign.
        lowest: the lower bound, 0 or more.
        highest: the upper bound.
        what: what the number is, for the message.

    Raises:
        ValueError: `raw` is no whole number, or out of bounds.
    """
    digits = raw.lstrip("0")
    if raw.isascii() and raw.isdigit() and len(digits) <= len(str(highest)):
        found = int(digits or "0")
        if lowest <= found <= highest:
            return found
    raise ValueError(f"must be a {what} from {lowest} to {highest}")
