"""For which labels code ran that has changed: no test whose result changes is left out."""

from __future__ import annotations

import difflib
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import coverage
import pytest

from wsgi_coverage.checkout.affected import Affected, Change, Hunk, affected
from wsgi_coverage.data import stamp

FILE = "shop/prices.py"
# Whatever `if` is, each line that some label runs and others do not is one to be changed.
SOURCE = """\
VAT = 7

def price(n):
    \"\"\"What it costs.\"\"\"
    if n > 10:
        rate = 2  # many
    elif n > 5:
        rate = 3
    else:
        rate = 4
    # not more than that
    return min(
        n * rate,
        100,
    )

def checked(n):
    try:
        return 10 // n
    except ZeroDivisionError:
        return None
    finally:
        seen.append(n)

def total(numbers):
    out = 0
    for n in numbers:
        if n < 0:
            break
        out += n
    else:
        out += 1
    while out > 100:
        out -= 100
    return out

def kind(value):
    match value:
        case int():
            return "number"
        case str() if value:
            return "text"
    return "other"

def unused(n):
    x = n
    return x

class Basket:
    limit = 3

    def __init__(self):
        self.items = []

    def add(self, item):
        def is_full():
            return len(self.items) >= self.limit

        if is_full():
            raise ValueError(item)
        self.items.append(item)
        return len(self.items)

seen = []
"""
Tests = dict[str, Callable[[dict[str, Any]], Any]]


def fill(given: dict[str, Any], count: int) -> object:
    basket = given["Basket"]()
    return [basket.add(n) for n in range(count)]


TESTS: Tests = {
    "many": lambda given: given["price"](20),
    "some": lambda given: given["price"](7),
    "one": lambda given: given["price"](1),
    "most": lambda given: given["price"](1000),
    "checked": lambda given: (given["checked"](2), given["seen"][-1]),
    "checked none": lambda given: (given["checked"](0), given["seen"][-1]),
    "total": lambda given: given["total"]([1, 2]),
    "total until": lambda given: given["total"]([1, -1, 5]),
    "total large": lambda given: given["total"]([500]),
    "number": lambda given: given["kind"](1),
    "text": lambda given: given["kind"]("a"),
    "empty text": lambda given: given["kind"](""),
    "basket": lambda given: fill(given, 2),
    "full basket": lambda given: fill(given, 5),
}


def loaded(source: str) -> dict[str, Any]:
    given: dict[str, Any] = {"__name__": "prices"}
    exec(compile(source, FILE, "exec"), given)
    return given


def outcome(test: Callable[[dict[str, Any]], Any], source: str) -> str:
    """What a test sees; loops that do not end any more are ended."""
    steps = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal steps
        steps += frame.f_code.co_filename == FILE and event == "line"
        if steps > 1000:
            raise TimeoutError
        return trace

    before = sys.gettrace()
    try:
        given = loaded(source)
        sys.settrace(trace)
        return repr(test(given))
    except BaseException as error:
        return repr(error)
    finally:
        sys.settrace(before)


def lines_of(test: Callable[[dict[str, Any]], Any], source: str) -> set[int]:
    ran: set[int] = set()

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename != FILE:
            return None
        if event == "line":
            ran.add(frame.f_lineno)
        return trace

    given, before = loaded(source), sys.gettrace()
    sys.settrace(trace)
    try:
        test(given)
    except ValueError:
        pass
    finally:
        sys.settrace(before)
    return ran


@pytest.fixture(scope="module")
def data_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What each test ran, as labels, and the load."""
    path = tmp_path_factory.mktemp("data") / ".coverage"
    everything: set[int] = set()
    write(path, {"load": {1, 3, 17, 25, 37, 45, 49, 50, 52, 55, 65}})
    for name, test in TESTS.items():
        lines = lines_of(test, SOURCE)
        everything |= lines
        write(path, {f"runtime|{name}": lines})
    write(path, {"runtime": everything})
    stamp.put_fingerprints(path, {f"/srv/{FILE}": stamp.fingerprint_of(SOURCE.encode())})
    return path


def write(path: Path, ran: dict[str, set[int]]) -> None:
    data = coverage.CoverageData(str(path))
    data.read()
    for context, lines in ran.items():
        data.set_context(context)
        data.add_lines({f"/srv/{FILE}": lines})
    data.write()
    data.close()


def change(new: str | None, old: str | None = SOURCE, file: str = FILE) -> Change:
    before, after = (old or "").splitlines(), (new or "").splitlines()
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    hunks = [
        Hunk(a + (b > a), b - a, c + (d > c), d - c)
        for kind, a, b, c, d in matcher.get_opcodes()
        if kind != "equal"
    ]
    as_bytes = [None if text is None else text.encode() for text in (old, new)]
    return Change(file=file, old=as_bytes[0], new=as_bytes[1], hunks=hunks)


def judged(data_file: Path, *changes: Change, **options: Any) -> Affected:
    return affected(data_file, changes, data_file.parent, **options)


def mutants() -> Iterator[str]:
    """Sources with one line or two changed, removed, added, or indented otherwise."""
    lines = SOURCE.splitlines()
    for number, line in enumerate(lines):
        text = line.lstrip()
        indent = line[: len(line) - len(text)]
        others = [
            [],
            [f"{indent}pass"],
            [f"{indent}raise RuntimeError"],
            [f"{indent}raise RuntimeError", line],
            [line, f"{indent}raise RuntimeError"],
            [line, f"{indent[4:]}raise RuntimeError"],
            [line, f"{indent}    raise RuntimeError"],
            [f"{indent}return 77"],
            [f"{indent}yield 77"],
            [f"{indent}rate = out = x = 77"],
            [f"{indent[4:]}{text}"],
            [f"{indent}    {text}"],
            [line.replace("elif", "if")],
            [line.replace("else:", "elif True:")],
            [line.replace("else:", "if True:")],
            [line.replace("else:", "finally:")],
            [line.replace("finally:", "else:")],
            [line.replace(" > ", " < ")],
            [line.replace("ZeroDivisionError", "KeyError")],
            [line.replace("int()", "str()")],
            [line.replace("n * rate", "n * rate + 1")],
            [line.replace("100", "90")],
            [line.replace("1", "2").replace("3", "5")],
            [line, "VAT = 8"],
        ]
        for other in others:
            yield "\n".join([*lines[:number], *other, *lines[number + 1 :]]) + "\n"
        both, rest = lines[number : number + 2], lines[number + 2 :]
        pairs = [
            [],
            both[::-1],
            [each.removeprefix("    ") for each in both],
            [f"    {each}" for each in both],
            [f"{indent}raise RuntimeError"] * 2,
        ]
        for pair in pairs:
            yield "\n".join([*lines[:number], *pair, *rest]) + "\n"


def test_no_test_whose_result_changes_is_left_out_by_any_change_of_a_line(data_file: Path) -> None:
    before = {name: outcome(test, SOURCE) for name, test in TESTS.items()}
    tried = narrow = 0
    for source in dict.fromkeys(mutants()):
        try:
            compile(source, FILE, "exec")
        except SyntaxError:
            continue
        now = {name: outcome(test, source) for name, test in TESTS.items()}
        changed = {name for name, seen in now.items() if seen != before[name]}
        # What was measured is the old version, or else the new one.
        for found in (
            judged(data_file, change(source)),
            judged(data_file, change(SOURCE, source)),
        ):
            tried += 1
            if not found.reasons():
                narrow += found.labels != found.known
                assert changed <= found.labels, "".join(
                    difflib.unified_diff(SOURCE.splitlines(True), source.splitlines(True))
                )
    assert tried > 900
    assert narrow > 600


@pytest.mark.parametrize(
    ("before", "after", "labels"),
    [
        ("rate = 2  # many", "rate = 5", {"many", "most"}),
        ("rate = 2  # many", "rate = 2", set()),  # a comment
        ("rate = 4\n", "rate = 4\n\n    # and so on\n", set()),
        ("        100,", "        90,", {"many", "some", "one", "most"}),
        ("elif n > 5:", "elif n > 6:", {"some", "one"}),
        ("        return None\n", "        return 0\n", {"checked none"}),
        ("            break\n", "            continue\n", {"total until"}),
        ("= n\n    e", "= n\n        n = 0\n    e", {"total", "total until", "total large"}),
        ("    x = n\n", "    x = n + 1\n", set()),  # nobody runs it
        ("            raise ValueError(item)\n", "            raise KeyError\n", {"full basket"}),
    ],
)  # fmt: skip
def test_labels_that_ran_what_has_changed_are_selected(
    data_file: Path, before: str, after: str, labels: set[str]
) -> None:
    found = judged(data_file, change(SOURCE.replace(before, after)))

    assert found.reasons() == []
    assert found.labels == labels
    assert found.known == {*TESTS}


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("VAT = 7", "VAT = 8", "line 1 is in no function"),
        ("def price(n):", "def price(n, m=1):", "line 3 is in no function"),
        ("What it costs.", "What one costs.", "line 4 is in no function"),
        ("limit = 3", "limit = 4", "line 50 is in no function"),
        ("seen = []\n", "seen = []\n\ndef new():\n    pass\n", "is in no function"),
        ("def price", "def def", "it cannot be parsed"),
    ],
)
def test_what_runs_at_load_concerns_every_label(
    data_file: Path, before: str, after: str, reason: str
) -> None:
    found = judged(data_file, change(SOURCE.replace(before, after)))

    [why] = found.reasons()
    assert why.startswith(FILE)
    assert reason in why


def test_the_new_version_may_be_the_one_that_was_measured(data_file: Path) -> None:
    old = SOURCE.replace("rate = 2  # many", "rate = 5").replace("        return None\n", "")

    found = judged(
        data_file,
        change(
            SOURCE,
            old.replace("except ZeroDivisionError:\n", "except KeyError:\n        return 1\n"),
        ),
    )

    assert found.reasons() == []
    assert {"many", "most", "checked none"} <= found.labels
    assert "total" not in found.labels


def test_another_version_than_both_concerns_every_label(data_file: Path) -> None:
    old = SOURCE.replace("rate = 3", "rate = 33")

    found = judged(data_file, change(old.replace("rate = 2", "rate = 5"), old))

    assert found.reasons() == [f"{FILE}: another version of it was measured"]


def test_another_version_of_a_source_that_has_not_changed_concerns_every_label(
    data_file: Path, tmp_path: Path
) -> None:
    here = tmp_path / FILE
    here.parent.mkdir()
    here.write_text(SOURCE)
    css = Change(file="style.css", old=b"", new=b"")
    options = {"ignored": ["*.css"]}

    assert affected(data_file, [css], tmp_path, **options).reasons() == []
    here.write_text(SOURCE + "\n")
    assert affected(data_file, [css], tmp_path, **options).reasons() == [
        f"{FILE}: another version of it was measured"
    ]


def test_of_two_files_alike_the_one_that_has_changed_was_measured(
    data_file: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "lib" / FILE
    copy.parent.mkdir(parents=True)
    copy.write_text(SOURCE)

    found = affected(data_file, [change(SOURCE.replace("rate = 2", "rate = 5"))], tmp_path)

    assert found.reasons() == []
    assert {"many", "most"} <= found.labels
    assert "total" not in found.labels


def test_data_that_does_not_tell_versions_concerns_every_label(tmp_path: Path) -> None:
    path = tmp_path / ".coverage"
    write(path, {"runtime|a": {5}, "runtime": {5}})

    [why] = judged(path, change(SOURCE.replace("rate = 2", "rate = 3"))).reasons()

    assert why == f"{FILE}: the data does not tell which version of it was measured"


# Of each: the source, what is changed, and lines that a label which is concerned has run.
UNSEEN = {
    "a stub gets a body": (
        'def saved():\n    """Called."""\n\ndef f():\n    return saved()\n',
        ('"""Called."""\n', '"""Called."""\n    return 1\n'),
        {5},
    ),
    "a generator is none any more": (
        "def numbers(n):\n    if n:\n        yield n\n\ndef f():\n    return numbers(0)\n",
        ("        yield n\n", "        return [n]\n"),
        {6},
    ),
    "a coroutine becomes a generator": (
        "async def g():\n    return 5\n\ndef f():\n    return g()\n",
        ("return 5", "yield 5"),
        {5},
    ),
    "a function of two has another local variable": (
        "class C:\n    @property\n    def total(self):\n        if self is None:\n"
        "            print(1)\n        return total\n    @total.setter\n"
        "    def total(self, value):\n        pass\n\ntotal = 1\n",
        ("print(1)", "total = 3"),
        {4, 6},
    ),
    "another encoding": (
        "# -*- coding: latin-1 -*-\ndef f():\n    return '\\xc3'\n",
        ("latin-1", "utf-8"),
        {3},
    ),
    "line ends that only Python counts": (
        "# a\r# b\ndef f():\n    return 1\n\ndef g():\n    return 2\n",
        ("return 2", "return 3"),
        {7},
    ),
}


@pytest.mark.parametrize("case", UNSEEN)
def test_what_concerns_labels_that_ran_no_line_near_it_is_seen(tmp_path: Path, case: str) -> None:
    source, (before, after), lines = UNSEEN[case]
    path = tmp_path / ".coverage"
    write(path, {"load": {1}, "runtime|a": lines, "runtime|b": {99}, "runtime": {*lines, 99}})
    stamp.put_fingerprints(path, {f"/srv/{FILE}": stamp.fingerprint_of(source.encode())})

    found = judged(path, change(source.replace(before, after), source))

    assert found.reasons() or "a" in found.labels


def test_a_change_that_git_does_not_show_concerns_every_label(data_file: Path) -> None:
    new = SOURCE.replace("rate = 2", "rate = 3").encode()

    found = judged(data_file, Change(file=FILE, old=SOURCE.encode(), new=new))

    assert found.reasons() == [f"{FILE}: Git does not tell what has changed in it"]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (Change(file="shop/new.py", old=None, new=b"x = 1\n"), "shop/new.py: it is new"),
        (Change(file="style.css", old=b"", new=b""), "style.css: it is not among the measured"),
        (Change(file="data.json", old=b"", new=None), "data.json: it was removed"),
        (change(None), f"{FILE}: it was added or removed"),
    ],
    ids=["new", "no source", "removed", "removed source"],
)
def test_what_is_not_mapped_concerns_every_label(
    data_file: Path, changed: Change, reason: str
) -> None:
    found = judged(data_file, changed)

    [why] = found.reasons()
    assert why.startswith(reason)


def test_files_can_be_ignored(data_file: Path) -> None:
    docs = Change(file="docs/a/b.md", old=b"", new=b"")

    assert judged(data_file, docs, ignored=["docs/*"]).reasons() == []
    assert judged(data_file, docs, ignored=["doc*.txt"]).reasons() != []


def test_nothing_is_known_without_labels(tmp_path: Path) -> None:
    path = tmp_path / ".coverage"
    write(path, {"runtime": {1}})

    assert judged(path).reasons() == ["nothing has run for any label"]


def test_a_line_that_ran_without_a_label_concerns_every_label(tmp_path: Path) -> None:
    source = textwrap.dedent("""\
        def f():
            return 1

        def g():
            return 2
    """)
    path = tmp_path / ".coverage"
    write(path, {"runtime|a": {2}, "runtime": {2, 5}})
    stamp.put_fingerprints(path, {f"/srv/{FILE}": stamp.fingerprint_of(source.encode())})

    of_a = judged(path, change(source.replace("return 1", "return 3"), source))
    of_none = judged(path, change(source.replace("return 2", "return 3"), source))

    write(path, {"": {5}})
    stamp.put_fingerprints(path, {f"/srv/{FILE}": stamp.fingerprint_of(source.encode())})
    untold = judged(path, change(source.replace("return 2", "return 3"), source))

    assert untold.reasons() == [f"{FILE}: line 5 ran, maybe while it was loaded"]
    assert (of_a.labels, of_a.reasons()) == ({"a"}, [])
    assert of_none.reasons() == [f"{FILE}: line 5 ran for requests without a label"]
