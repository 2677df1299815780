"""This project's own files: never measured, whatever `source` and `include` say.

But for the shop of `wsgi-coverage demo`, in that.

No state.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).parents[2]
# Beside it where both are installed, and in a checkout.
_ADAPTER = (_PACKAGE.parent / "flask_coverage", _PACKAGE.parent / "adapters" / "flask_coverage")
PACKAGE = os.path.join(_PACKAGE, "")  # noqa: PTH118  the folder, with a separator at its end
_OURS = (PACKAGE, *(os.path.join(folder, "") for folder in _ADAPTER))  # noqa: PTH118
_SHOP = os.path.join(_PACKAGE, "demo", "shop", "")  # noqa: PTH118  the demo's application
DEMO = "WSGI_COVERAGE_DEMO"  # in the environment of the demo's server, which measures its shop


def is_ours(path: str) -> bool:
    """Tell whether a file, named in full, is one of this project's."""
    return path.startswith(_OURS) and not (DEMO in os.environ and path.startswith(_SHOP))


class Omitted:
    """A matcher in the place of coverage.py's for `omit`, which omits this project's files, too.

    Args:
        theirs: coverage.py's own; None: nothing else is omitted.
    """

    def __init__(self, theirs: Any) -> None:
        self._theirs = theirs

    def match(self, path: str) -> bool:
        """Tell whether a file, named in full, is omitted."""
        return is_ours(path) or (self._theirs is not None and bool(self._theirs.match(path)))

    def info(self) -> list[str]:
        """The omitted patterns, for `coverage debug sys` and Coverage.sys_info()."""
        return [*_OURS, *(self._theirs.info() if self._theirs is not None else ())]
