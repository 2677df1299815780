"""Tell this project's own files, which are never measured, whatever `source` and `include` say.

The shop of `wsgi-coverage demo` is measured in the demo.

No state.
"""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).parents[2]
# Beside it where both are installed, and in a checkout.
_ADAPTER = (_PACKAGE.parent / "flask_coverage", _PACKAGE.parent / "adapters" / "flask_coverage")
PACKAGE = os.path.join(_PACKAGE, "")  # noqa: PTH118  the folder, with a separator at its end
FOLDERS = (PACKAGE, *(os.path.join(folder, "") for folder in _ADAPTER))  # noqa: PTH118
_SHOP = os.path.join(_PACKAGE, "demo", "shop", "")  # noqa: PTH118  it is there to be measured
DEMO = "WSGI_COVERAGE_DEMO"  # set in the environment of the demo's server, which measures the shop


def is_ours(path: str) -> bool:
    """Tell whether a file, given by its full name, is one of this project's."""
    return path.startswith(FOLDERS) and not (DEMO in os.environ and path.startswith(_SHOP))
