"""What may stand where a regular file is expected; each is made under a name."""

import os
import socket
from pathlib import Path


def pipe(path: Path) -> None:
    os.mkfifo(path)


def listened_at(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path.name)  # a longer one does not fit


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def full_folder(path: Path) -> None:
    path.mkdir()
    (path / "somebody's").write_bytes(b"not ours")


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")
