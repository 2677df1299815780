"""Our own files, which are in nobody's figures, whatever `source` and `include` say.

No state.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).parents[1]
# Beside it where both are installed, and in a checkout.
_ADAPTER = (_PACKAGE.parent / "flask_coverage", _PACKAGE.parent / "adapters" / "flask_coverage")
_OURS = tuple(os.path.join(folder, "") for folder in (_PACKAGE, *_ADAPTER))  # noqa: PTH118
_SHOP = os.path.join(_PACKAGE, "demo", "shop", "")  # noqa: PTH118  it is there to be measured


def is_ours(path: str) -> bool:
    """Tell whether a file, named in full, is one of this project's."""
    return path.startswith(_OURS) and not path.startswith(_SHOP)


class Omitted:
    """Stands in for coverage.py's matcher of `omit`, and leaves our files out, too.

    Args:
        theirs: coverage.py's own; None: nothing is omitted.
    """

    def __init__(self, theirs: Any) -> None:
        self._theirs = theirs

    def match(self, path: str) -> bool:
        """Tell whether a file, named in full, is left out."""
        return is_ours(path) or (self._theirs is not None and bool(self._theirs.match(path)))

    def info(self) -> list[str]:
        """What is left out, for `coverage debug sys` and Coverage.sys_info()."""
        return [*_OURS, *(self._theirs.info() if self._theirs is not None else ())]
