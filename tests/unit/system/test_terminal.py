"""A line of progress keeps to one line of the terminal."""

from __future__ import annotations

import fcntl
import pty
import struct
import sys
import termios

import pytest

from wsgi_coverage.system import terminal


def test_what_is_too_long_for_a_line_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 20, 0, 0))
    with (
        open(reader, "rb", buffering=0) as shown,
        open(writer, "w", encoding="utf-8") as stderr,
        monkeypatch.context() as patched,
    ):
        patched.setattr(sys, "stderr", stderr)
        terminal.show("0123456789" * 5)
        terminal.show("short", end="\n")

        read = b""
        while not read.endswith(b"\n"):  # it may come in parts
            read += shown.read(1000)

    assert read.decode() == f"{terminal.BEGIN}0123456789012345678{terminal.BEGIN}short\r\n"


def test_where_nobody_knows_the_width_nothing_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show("x" * 500)

    assert capsys.readouterr().err == f"{terminal.BEGIN}{'x' * 500}"
