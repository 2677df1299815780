"""The formats of `gate` and `diff` for code hosts: what they hold to the letter, and odd names."""

from __future__ import annotations

import argparse
import html
import json
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsgi_coverage import __version__
from wsgi_coverage.checkout.changes import Judged
from wsgi_coverage.cli import findings, gate
from wsgi_coverage.cli.findings import FORMATS, NOT_EXECUTED, Finding, Result, ranges

FEW = settings(max_examples=60, deadline=None, database=None)
ODD = "a|b`c`\\d%2F,e:f<g>&amp;_h_*ü漢\n\r\t\x1b[1m\u202e é.py"
NAMES = st.text(min_size=1, max_size=20).map(lambda name: name.replace("\0", "")).filter(bool)
JUDGED = (
    Judged(file="shop/cart.py", state="judged", statements=8, missing=(3, 4, 5, 11)),
    Judged(file="shop/web.py", state="judged", statements=2),
    Judged(file="test_shop.py", state="not measured"),
    Judged(file="tools/x|y.py", state="unknown", reason="another version was measured"),
)
SENTENCE = "60.00 % of the changed statements ran (6 of 10), below 80 %"


@pytest.fixture
def result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Result:
    """What `gate` makes of the above in a folder that is no repository."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    return gate._result(JUDGED, SENTENCE, gate._outcome(JUDGED, is_below=True))


def of_one(name: str, first: int = 3, last: int = 5, message: str = "did not run") -> Result:
    """A result about one range of one file."""
    found = Finding(rule=NOT_EXECUTED, file=name, first=first, last=last, message=message)
    return Result(
        title="Title",
        sentence="Sentence",
        columns=("file", "lines"),
        rows=[(name, "3-5")],
        findings=[found],
    )


def of_files(files: int, lines: int) -> Result:
    """A result of so many files, each with so many ranges."""
    found = [
        each
        for number in range(files)
        for each in ranges(NOT_EXECUTED, f"f{number}.py", range(2, 2 * lines + 2, 2), "{} missed")
    ]
    return Result(title="", sentence="", columns=(), rows=(), findings=found)


# To the letter


def test_markdown_is_a_heading_a_sentence_and_a_table(result: Result) -> None:
    assert FORMATS["markdown"](result) == (
        "### Coverage of changed lines: below the threshold\n"
        "\n"
        "60.00 % of the changed statements ran (6 of 10), below 80 %\n"
        "\n"
        "| file | changed | covered | missing |\n"
        "| --- | --- | --- | --- |\n"
        "| `shop/cart.py` | 8 | 4 | 3-5, 11 |\n"
        "| `shop/web.py` | 2 | 2 |  |\n"
        "| `test_shop.py` | 0 | 0 | not measured |\n"
        "| <code>tools&#47;x&#124;y&#46;py</code> | 0 | 0 | another version was measured |\n"
    )


def test_the_heading_says_passed_only_where_all_changes_could_be_judged() -> None:
    assert gate._outcome(JUDGED[:3], is_below=False) == "passed"
    assert gate._outcome(JUDGED, is_below=False) == "not all of them can be judged"


def test_github_gets_an_annotation_for_each_range(result: Result) -> None:
    assert FORMATS["github"](result) == (
        "::warning file=shop/cart.py,line=3,endLine=5,title=Changed lines did not run"
        "::changed lines 3-5 did not run\n"
        "::warning file=shop/cart.py,line=11,endLine=11,title=Changed lines did not run"
        "::changed line 11 did not run\n"
        "::notice file=tools/x|y.py,line=1,endLine=1,title=Changed lines cannot be judged"
        "::the changes cannot be judged: another version was measured\n"
    )


def test_gitlab_gets_a_code_quality_report(result: Result) -> None:
    found = json.loads(FORMATS["gitlab"](result))

    fingerprints = [each.pop("fingerprint") for each in found]
    assert found == [
        {
            "description": "changed lines 3-5 did not run",
            "check_name": "wsgi-coverage/not-executed",
            "severity": "minor",
            "location": {"path": "shop/cart.py", "lines": {"begin": 3}},
        },
        {
            "description": "changed line 11 did not run",
            "check_name": "wsgi-coverage/not-executed",
            "severity": "minor",
            "location": {"path": "shop/cart.py", "lines": {"begin": 11}},
        },
        {
            "description": "the changes cannot be judged: another version was measured",
            "check_name": "wsgi-coverage/not-judged",
            "severity": "info",
            "location": {"path": "tools/x|y.py", "lines": {"begin": 1}},
        },
    ]
    assert len(set(fingerprints)) == 3
    assert fingerprints[0] == json.loads(FORMATS["gitlab"](result))[0]["fingerprint"]
    assert all(re.fullmatch("[0-9a-f]{64}", each) for each in fingerprints)


def test_sarif_has_what_the_schema_requires(result: Result) -> None:
    log = json.loads(FORMATS["sarif"](result))

    assert (log["version"], log["$schema"]) == ("2.1.0", findings.SCHEMA)
    [run] = log["runs"]
    driver = run["tool"]["driver"]
    assert (driver["name"], driver["version"]) == ("wsgi-coverage", __version__)
    assert all(rule["id"] and rule["shortDescription"]["text"] for rule in driver["rules"])
    shown = [
        (
            driver["rules"][each["ruleIndex"]]["id"],
            each["ruleId"],
            each["level"],
            each["message"]["text"],
            [place["physicalLocation"] for place in each["locations"]],
        )
        for each in run["results"]
    ]
    at = {"uri": "shop/cart.py", "uriBaseId": "%SRCROOT%"}
    rule = "not-executed"
    assert shown == [
        (
            rule,
            rule,
            "warning",
            "changed lines 3-5 did not run",
            [{"artifactLocation": at, "region": {"startLine": 3, "endLine": 5}}],
        ),
        (
            rule,
            rule,
            "warning",
            "changed line 11 did not run",
            [{"artifactLocation": at, "region": {"startLine": 11, "endLine": 11}}],
        ),
        (
            "not-judged",
            "not-judged",
            "note",
            "the changes cannot be judged: another version was measured",
            [
                {
                    "artifactLocation": {"uri": "tools/x%7Cy.py", "uriBaseId": "%SRCROOT%"},
                    "region": {"startLine": 1, "endLine": 1},
                }
            ],
        ),
    ]


def test_nothing_found_is_an_empty_result_in_each_format() -> None:
    nothing = Result(title="T", sentence="nothing changed", columns=(), rows=(), findings=())

    found = {name: render(nothing) for name, render in FORMATS.items()}

    assert found["markdown"] == "### T\n\nnothing changed\n"
    assert found["github"] == ""
    assert json.loads(found["gitlab"]) == []
    assert json.loads(found["sarif"])["runs"][0]["results"] == []


# Names


def annotation(text: str) -> tuple[dict[str, str], str]:
    """The properties and the message of the only annotation, as GitHub reads it."""
    found = re.fullmatch(r"::(\w+) (.*?)::(.*)\n", text)
    assert found, text

    def unescaped(raw: str, *, is_property: bool) -> str:
        pairs = {"%0D": "\r", "%0A": "\n", **({"%3A": ":", "%2C": ","} if is_property else {})}
        for code, char in {**pairs, "%25": "%"}.items():
            raw = raw.replace(code, char)
        return raw

    properties = dict(each.split("=", 1) for each in found[2].split(","))
    return (
        {name: unescaped(value, is_property=True) for name, value in properties.items()},
        unescaped(found[3], is_property=False),
    )


@FEW
@given(name=NAMES, message=st.text(max_size=20))
def test_github_reads_names_and_messages_as_they_are(name: str, message: str) -> None:
    properties, found = annotation(FORMATS["github"](of_one(name, message=message)))

    assert (properties["file"], properties["line"], properties["endLine"]) == (name, "3", "5")
    assert found == message


@FEW
@given(name=NAMES)
def test_json_formats_hold_names_as_they_are(name: str) -> None:
    [quality] = json.loads(FORMATS["gitlab"](of_one(name)))
    [result] = json.loads(FORMATS["sarif"](of_one(name)))["runs"][0]["results"]

    uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    parts = urlsplit(uri)
    assert quality["location"]["path"] == name
    assert uri.isascii()
    assert (parts.scheme, parts.query, parts.fragment) == ("", "", "")
    assert os.fsdecode(unquote_to_bytes(uri)) == name


@FEW
@given(name=NAMES)
def test_a_name_stays_in_its_cell_of_the_table(name: str) -> None:
    lines = FORMATS["markdown"](of_one(name)).split("\n")

    assert len(lines) == 8
    row = re.fullmatch(r"\| (?:`([\w./-]+)`|<code>([^|`<>*_\\\[]*)</code>) \| 3-5 \|", lines[6])
    assert row, lines
    shown = row[1] or html.unescape(row[2])
    assert shown == "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)


def test_an_odd_name_is_escaped_in_each_format_by_its_own_rules() -> None:
    assert FORMATS["github"](of_one(ODD)).startswith(
        "::warning file=a|b`c`\\d%252F%2Ce%3Af<g>&amp;_h_*ü漢%0A%0D\t\x1b[1m\u202e é.py,line=3,"
    )
    assert "\n| <code>a&#124;b&#96;c&#96;&#92;d&#37;2F&#44;e&#58;f&#60;g&#62;&#38;amp&#59;" in (
        FORMATS["markdown"](of_one(ODD))
    )
    assert '"uri": "a%7Cb%60c%60%5Cd%252F%2Ce%3Af%3Cg%3E%26amp%3B_h_%2A%C3%BC%E6%BC%A2%0A%0D' in (
        FORMATS["sarif"](of_one(ODD))
    )


@pytest.mark.parametrize("name", FORMATS)
def test_a_name_that_is_no_utf_8_can_be_written(name: str, tmp_path: Path) -> None:
    target = tmp_path / "out"
    arguments = argparse.Namespace(json=False, format=name, output=target)

    findings.show(
        arguments, text=print, answer=dict, result=lambda: of_one(os.fsdecode(b"odd-\xff.py"))
    )

    assert b"odd" in target.read_bytes()
    target.read_text(encoding="utf-8")


# GitHub's limit


@pytest.mark.parametrize(
    ("files", "lines", "shown"),
    [(1, 10, 10), (1, 11, 1), (5, 3, 5), (10, 2, 10), (11, 1, 10), (40, 2, 10)],
)
def test_github_gets_no_more_annotations_than_it_shows(files: int, lines: int, shown: int) -> None:
    text = FORMATS["github"](of_files(files, lines))

    assert text.count("\n") == text.count("::warning ") == shown
    for number in range(files):
        assert re.search(rf"\bf{number}\.py\b", text)


def test_ranges_of_a_file_are_grouped_where_there_are_too_many() -> None:
    properties, message = annotation(FORMATS["github"](of_files(1, 11)))

    assert (properties["file"], properties["line"]) == ("f0.py", "2")
    assert message == "; ".join(f"line {line} missed" for line in range(2, 24, 2))


def test_a_comment_is_not_longer_than_github_takes() -> None:
    rows = [(f"{number:04}/{'x' * 90}.py", "1") for number in range(2000)]
    many = Result(title="T", sentence="S", columns=("file", "lines"), rows=rows, findings=())

    text = FORMATS["markdown"](many)

    assert 59_000 < len(text) < 65_536
    shown = text.count("\n| `")
    assert text.endswith(f"\n\nand {2000 - shown} more files\n")


# Where it goes


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"format": "text"}, "as a text\n"),
        ({"format": "json"}, '{\n "a": 1\n}\n'),
        ({"json": True}, '{\n "a": 1\n}\n'),
        ({"format": "markdown"}, "### Title\n"),
        ({"format": "github"}, "::warning file=ü.py"),
    ],
)
def test_the_format_that_is_named_goes_to_stdout_or_to_a_file(
    given: dict[str, Any], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def show(output: Path | None) -> None:
        asked = argparse.Namespace(**{"json": False, "format": "text", **given, "output": output})
        findings.show(
            asked,
            text=lambda: print("as a text"),
            answer=lambda: {"a": 1},
            result=lambda: of_one("ü.py"),
        )

    show(None)
    printed = capsys.readouterr().out
    show(tmp_path / "out")

    assert printed.startswith(expected)
    assert (tmp_path / "out").read_text(encoding="utf-8") == printed
    assert capsys.readouterr() == ("", "")
