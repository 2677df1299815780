"""Whatever a source looks like: a report on it is made, with coverage.py's figures."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import coverage
from fuzzing import fuzzed
from hypothesis import given
from hypothesis import strategies as st

from wsgi_coverage.model import Report

FRAGMENTS = [
    *("def f(x):\n", "class A:\n", "if x:\n", "else:\n", "    ", "\t", "return 1\n", "pass\n"),
    *("x = 1\n", "while True: break\n", "for i in y:\n", "match x:\n    case 1: pass\n"),
    *("try:\n    pass\nexcept E:\n    pass\n", "with a as b:\n", "async def g():\n    await h\n"),
    *("# pragma: no cover\n", "# c\n", '"""doc"""\n', "'''", "(\n", ")\n", "[1,\n2]\n", "\\\n"),
    *("\r", "\r\n", "\x0c", "\x00", "\ufeff", "\u2028", "\xe9 = 2\n", "lambda: 0\n", "@d\n", ";"),
    *("# -*- coding: latin-1 -*-\n", "# coding: klingon\n", "x = '" + "y" * 20_000 + "'\n"),
]
TEXTS = st.one_of(
    st.lists(st.sampled_from(FRAGMENTS), max_size=25).map("".join),
    st.text(max_size=80),
)
ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"])
SOURCES = st.one_of(
    st.builds(lambda text, as_: text.encode(as_, "replace"), TEXTS, ENCODINGS),
    st.binary(max_size=80),
)


def by_coverage(data_file: Path) -> dict[str, float] | None:
    """Its totals, by coverage.py; None: there is nothing that it can report."""
    cov = coverage.Coverage(data_file=str(data_file), config_file=False)
    cov.config.ignore_errors = True
    cov.load()
    target = data_file.with_name("totals.json")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cov.json_report(outfile=str(target))
        found: dict[str, float] = json.loads(target.read_text())["totals"]
        return found
    except coverage.CoverageException:
        return None
    finally:
        for data in cov._data_to_close:
            data.close(force=True)


@fuzzed
@given(content=SOURCES, lines=st.sets(st.integers(1, 40), min_size=1, max_size=20))
def test_a_report_on_any_source_is_made_and_has_the_figures_of_coverage(
    project: Path,
    data_file: Callable[..., Path],
    build_report: Callable[..., Report],
    tmp_path: Path,
    content: bytes,
    lines: set[int],
) -> None:
    (project / "odd.py").write_bytes(content)
    data = project / ".coverage.odd"
    data.unlink(missing_ok=True)
    for path in (tmp_path / "out").glob("*.coverage"):
        path.unlink()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        summary = build_report(data_file(data.name, {"odd.py": lines})).summary

    totals = by_coverage(tmp_path / "out" / "data.coverage")
    if totals is None or not totals["num_statements"]:
        assert summary.get("statements") in (None, 0)
    else:
        assert summary["statements"] == totals["num_statements"]
        assert summary["covered"] == totals["covered_lines"]
        assert summary["missing"] == totals["missing_lines"]
