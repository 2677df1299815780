"""Remove a folder that processes write to meanwhile; scripts of child processes have its source."""

import errno
import shutil
from pathlib import Path


def remove(folder: Path) -> None:
    """Remove a folder that processes write to meanwhile."""
    for _ in range(1000):
        try:
            return shutil.rmtree(folder)
        except OSError as error:  # a file has come since it was listed, or is gone
            if error.errno not in (errno.ENOTEMPTY, errno.ENOENT) or not folder.exists():
                raise
    raise AssertionError(f"{folder} is never empty")
