"""Find the folder that files have in common, which pages do not repeat. No state."""

from __future__ import annotations

import os
from collections.abc import Iterable


def common_folder(names: Iterable[str]) -> str:
    """Return the folder that all files are in, with a slash at its end; empty: there is none."""
    folders = {name.replace("\\", "/").rpartition("/")[0] for name in names}
    try:
        common = os.path.commonpath(folders) if folders else ""
    except ValueError:  # some are relative, some are not; or on several drives
        return ""
    common = common.replace("\\", "/")
    return f"{common}/" if common.strip("/") else common
