"""What coverage.py reads of its configuration, and refuses when it makes a report: it is said."""

from textwrap import dedent

import pytest
from child_scripts import SHOP, WRAPPED
from coverage.exceptions import ConfigError
from coverage.files import PathAliases


def accepts_a_result_with_wildcards() -> bool:
    try:
        PathAliases().add("/old", "*/shop")
    except ConfigError:
        return False
    return True


LATER = pytest.mark.skipif(
    accepts_a_result_with_wildcards(), reason="this coverage.py takes it as it is"
)
WILD = "[paths]\nsource =\n    .\n    */releases/*/\n"
LARGE = "def f{}():\n    return {}\n"


@pytest.mark.parametrize(
    ("configuration", "sentence"),
    [
        (WILD, "Pattern must not end with wildcards."),
        pytest.param(
            "[paths]\nsource =\n    */shop\n    /old\n",
            "Result path must not contain wildcards",
            marks=LATER,
        ),
        ("[report]\nomit = **a\n", "File pattern can't include"),
        ("[report]\ncontexts = (\n", "unterminated subpattern at position 0: '('"),
    ],
)
def test_a_report_is_refused_by_coverage_s_own_sentence_and_no_line_is_lost(
    run_script, configuration: str, sentence: str
) -> None:
    told = run_script(
        WRAPPED
        + """
    paths = ["/refresh", "/snapshot", "/snapshot?keep=0&detail=lines", "/snapshot?reset=1"]
    answers = [ask("POST", path, JSON) for path in paths]
    print(json.dumps({
        "told": [(each.status, each.error, each.json()["message"]) for each in answers],
        "unread": [ask("GET", path).status for path in ("/files", "/export?format=xml", "/health")],
        "ran": [lines for _, lines in app._worker.memory.read().executed()] != [],
    }))
    """,
        {"shop.py": SHOP, ".coveragerc": f"[run]\ninclude = shop.py\n{configuration}"},
    )

    assert {(status, slug) for status, slug, _ in told["told"]} == {(409, "configuration")}
    for _, _, message in told["told"]:
        assert sentence in message
    assert told["unread"] == [404, 404, 200]
    assert told["ran"]


def test_a_format_alone_may_be_refused(run_script) -> None:
    told = run_script(
        WRAPPED
        + """
    ask("POST", "/refresh", JSON)
    answers = [ask("GET", path) for path in ("/export?format=json", "/html/", "/report")]
    print(json.dumps([(each.status, each.text) for each in answers]))
    """,
        {"shop.py": SHOP, ".coveragerc": "[run]\ninclude = shop.py\n[report]\nprecision = -1\n"},
    )

    assert [status for status, _ in told] == [409, 409, 200]
    assert "precision=-1 is invalid" in told[0][1]


def test_a_list_of_paths_without_any_path_is_none(run_script) -> None:
    told = run_script(
        WRAPPED
        + """
    print(json.dumps(ask("POST", "/refresh", JSON).status))
    """,
        {"shop.py": SHOP, ".coveragerc": "[run]\ninclude = shop.py\n[paths]\nsource =\n"},
    )

    assert told == 200


def test_it_is_said_of_a_large_report_too_which_a_child_process_makes(run_script) -> None:
    large = dedent(SHOP) + "".join(LARGE.format(number, number) for number in range(6_000))
    told = run_script(
        WRAPPED
        + """
    answer = ask("POST", "/refresh", JSON)
    print(json.dumps([answer.status, answer.error, answer.json()["message"]]))
    """,
        {"shop.py": large, ".coveragerc": f"[run]\ninclude = shop.py\n{WILD}"},
    )

    assert told[:2] == [409, "configuration"]
    assert "Pattern must not end with wildcards." in told[2]
