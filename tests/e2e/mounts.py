"""Servers that see other mounts than this process: a small disk, a read-only folder.

Each server gets a mount namespace of its own, so its mounts vanish with it. Made by root only.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE = 4096  # bytes that tmpfs gives at a time
NAMESPACE = ("unshare", "--mount", "--propagation", "private", "--", "sh", "-ec")


def within(*commands: str) -> list[str]:
    """What runs a command after these shell commands, in a mount namespace of its own."""
    return [*NAMESPACE, "\n".join([*commands, 'exec "$@"']), "sh"]


@functools.cache
def why_not() -> str | None:
    """Why nothing can be mounted here; None if it can."""
    if shutil.which("unshare") is None or os.geteuid() != 0:
        return "mounting needs root and unshare"
    command = [*within("mount -t tmpfs -o size=64k tmpfs /mnt"), "true"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return f"mounting is not allowed here: {done.stderr.strip()}" if done.returncode else None


def small_disk(folder: Path, size: str, *, copy_from: Path | None = None) -> list[str]:
    """Shell commands that put a disk of this size in a folder's place."""
    commands = [f"mount -t tmpfs -o size={size} tmpfs '{folder}'"]
    if copy_from is not None:
        commands += [f"cp -a '{copy_from}/.' '{folder}'"]
    return [*commands, 'cd "$PWD"']


def read_only(*folders: Path) -> list[str]:
    """Shell commands after which these folders, and what is in them, cannot be written to."""
    out = []
    for folder in folders:
        out += [f"mount --bind '{folder}' '{folder}'", f"mount -o remount,bind,ro '{folder}'"]
    return [*out, 'cd "$PWD"']


def read_only_root(memory: Path) -> list[str]:
    """Shell commands after which nothing can be written to but this folder, which is in memory."""
    mounted = Path("/proc/self/mounts").read_text().splitlines()
    points = {line.split()[1] for line in mounted}
    system = ("/proc", "/sys", "/dev")  # these show no disk, but for shared memory
    disks = [each for each in points if not each.startswith(system) or each == "/dev/shm"]
    out = [f"mount -o remount,bind,ro '{each}'" for each in sorted(disks)]
    return [*out, f"mount -t tmpfs tmpfs '{memory}'", 'cd "$PWD"']


def seen_by(server: Any, path: Path) -> Path:
    """A path as a server sees it, for this process to read and write."""
    return Path(f"/proc/{server.pid}/root{path}")


@contextlib.contextmanager
def made_read_only(server: Any, folder: Path) -> Iterator[None]:
    """A small disk that a server sees becomes read-only, and can be written to afterwards."""
    inside = ("nsenter", "--target", str(server.pid), "--mount", "mount", "-o")
    subprocess.run([*inside, "remount,ro", str(folder)], check=True, timeout=30)
    try:
        yield
    finally:
        subprocess.run([*inside, "remount,rw", str(folder)], check=True, timeout=30)


class Disk:
    """A small disk that a server sees, to be filled."""

    def __init__(self, folder: Path) -> None:
        self._filler = folder / "filler"

    @contextlib.contextmanager
    def full(self, *, but: int = 0) -> Iterator[None]:
        """No room on it, but for some bytes (a multiple of PAGE)."""
        self.fill(but=but)
        try:
            yield
        finally:
            self._filler.unlink()

    def fill(self, *, but: int = 0) -> None:
        with self._filler.open("ab", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(PAGE))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
            filler.truncate(max(filler.tell() // PAGE * PAGE - but, 0))
