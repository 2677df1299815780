"""Plain data in a file: compressed JSON behind a checksum.

Concurrency: functions without state; such files appear by renaming, and never change.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

from wsgi_coverage.data import regular_files
from wsgi_coverage.data.stored import DamagedError, parsed
from wsgi_coverage.errors import is_shortage

DIGEST = 16  # bytes of a checksum, in front of the content
MOST = 512 << 20  # bytes of one file, packed or not


def pack(value: Any) -> bytes:
    """Pack plain data for a file: compressed, with a checksum."""
    content = zlib.compress(json.dumps(value, separators=(",", ":")).encode(), 1)
    return hashlib.blake2b(content, digest_size=DIGEST).digest() + content


def read_packed(path: Path | str) -> Any:
    """Read the data of a packed file; return None if it is missing, incomplete or damaged."""
    content = _content(path)
    if content is None:
        return None
    inflating = zlib.decompressobj()
    try:
        raw = inflating.decompress(content, MOST)
        return parsed(raw) if inflating.eof else None
    except (zlib.error, DamagedError):  # with a checksum that is right
        return None


def is_whole(path: Path | str) -> bool:
    """Tell whether there is a packed file, undamaged."""
    return _content(path) is not None


def _content(path: Path | str) -> bytes | None:
    try:
        raw = regular_files.read(path, MOST)
    except OSError as error:
        if is_shortage(error):
            raise  # it is there
        return None
    whole = hashlib.blake2b(raw[DIGEST:], digest_size=DIGEST).digest() == raw[:DIGEST]
    return raw[DIGEST:] if whole else None
