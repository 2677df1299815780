"""Words of a source are coloured where Pygments is installed, and its lines stay what they are."""

import builtins
import html
import re
from typing import Any

import pytest

from wsgi_coverage.web.dashboard import highlighting

TEXT = '''

def f(x):
    """Two
    lines & <more>."""
    return "a\\tb" if x else None  # why\
'''
TAG = re.compile(r"</?span[^>]*>")


def text_of(lines: Any) -> str:
    return "\n".join(html.unescape(TAG.sub("", line)) for line in lines)


@pytest.mark.parametrize("text", [TEXT, "", "\n\n\n", "x = '''\n", "\t€ = $\n"])
@pytest.mark.parametrize("name", ["a.py", "a.html", "a.unknown", "Makefile"])
def test_each_line_has_its_text_and_no_tag_that_another_one_closes(text: str, name: str) -> None:
    lines = highlighting.as_html(text, name)

    assert text_of(lines) == text
    assert all(line.count("<span") == line.count("</span>") for line in lines)


def test_words_have_classes_by_what_they_are() -> None:
    pytest.importorskip("pygments")

    lines = highlighting.as_html(TEXT, "a.py")

    assert "<span class=yk>def</span> <span class=yf>f</span>" in lines[2]
    assert "<span class=yc># why</span>" in lines[5]


def test_without_pygments_and_beyond_its_limit_lines_are_plain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    long = "def f(): 1\n" * (highlighting.LINES + 1)
    real = builtins.__import__

    def missing(name: str, *more: Any) -> Any:
        if name.startswith("pygments"):
            raise ImportError(name)
        return real(name, *more)

    assert highlighting.as_html(long, "a.py")[0] == "def f(): 1"
    monkeypatch.setattr(builtins, "__import__", missing)
    assert highlighting.as_html(TEXT, "a.py")[2] == "def f(x):"
