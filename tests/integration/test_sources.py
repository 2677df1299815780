"""The source of a file: of each line when it ran, as JSON, as a page, and as its text."""

import re
import sys
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest

RunScript = Callable[..., Any]

needs_labels = pytest.mark.skipif(sys.version_info < (3, 12), reason="needs sys.monitoring")

SHOP = """\
    import os

    def price(count):
        if count > 3:
            return count * 2
        return sum(
            [count,
             1],
        )

    def unused():
        if os.sep:  # & <b>

            return 1
        return None

    if os.sep == "":  # pragma: no cover
        price = None

    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(price(1)).encode()]
"""
SERVED = """
    import json
    from wsgi_calls import BROWSER, JSON, PREFIX, call
    from wsgi_coverage import CoverageMiddleware, start_early

    start_early()
    import shop
    app = CoverageMiddleware(shop.app, debug=True)

    def ask(path, headers=JSON):
        return call(app, "GET", PREFIX + path, headers)

    def reported(**headers):
        call(app, "GET", "/", headers)
        assert call(app, "POST", PREFIX + "/refresh", JSON).status == 200
"""
BRANCH = {".coveragerc": "[run]\nbranch = true\ninclude = */shop.py\n"}
ROW = re.compile(r"<div id=L(\d+)(?: class='?([\w ]+?)'?)?>")


@pytest.fixture
def asked(run_script: RunScript) -> RunScript:
    """Run a script that asks for the sources of a shop, with a report on it."""

    def asked(script: str, files: dict[str, str] | None = None) -> Any:
        return run_script(SERVED + script, {"shop.py": SHOP, **(files or {})})

    return asked


def plain(page: str) -> str:
    """The text of a page of coverage.py's, which has names broken at their slashes."""
    return unescape(re.sub("<[^>]*>", "", page)).replace("\u2009", "")


def names_on(page: str) -> set[str]:
    return {plain(each) for each in re.findall('<td class="name"><a [^>]*>(.*?)</a>', page)}


def states(page: str) -> dict[int, str]:
    return {int(number): name for number, name in ROW.findall(page) if name}


def ranges(states: dict[int, str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for line, name in states.items():
        found.setdefault(name, []).append(line)
    return found


def test_each_line_is_told_apart_on_the_page_as_in_the_json(asked: RunScript) -> None:
    page, source, text = asked(
        """
    reported()
    answers = [ask("/source/shop.py", BROWSER), ask("/source/shop.py"),
               ask("/source/shop.py?format=text")]
    assert [each.mimetype for each in answers] == ["text/html", "application/json", "text/plain"]
    print(json.dumps([answers[0].text, answers[1].json(), answers[2].text]))
"""
    )

    assert ranges(states(page)) == {
        "l": [1, 3, 11, 20],
        "r": [4, 6, 21, 22],
        "r c": [7, 8, 9],
        "n": [5, 12, 14, 15],
        "x": [17, 18],
    }
    assert "<code>" in page
    assert unescape(re.sub("</?span[^>]*>", "", page)).count("# & <b>") == 1
    assert source["text"] == text
    assert [each["line"] for each in source["lines"] if each["ran"] == "never"] == [5, 12, 14, 15]
    assert [each["last"] for each in source["lines"] if "last" in each] == [9]
    named = [(each["name"], each["line"], each["last"]) for each in source["functions"]]
    assert named == [("price", 3, 9), ("unused", 11, 15), ("app", 20, 22)]


def test_blocks_that_never_ran_lead_to_each_other(asked: RunScript) -> None:
    page = asked(
        """
    reported()
    print(json.dumps(ask("/source/shop.py", BROWSER).text))
"""
    )

    assert "2 blocks never ran" in page
    assert re.findall(r"<a href='#L(\d+)' rel=(\w+)", page) == [("12", "next"), ("5", "prev")]
    assert '<a href="#L12">12&ndash;15</a>' in page


def test_a_branch_that_was_never_taken_is_told(asked: RunScript) -> None:
    source, page = asked(
        """
    reported()
    print(json.dumps([ask("/source/shop.py").json(), ask("/source/shop.py?line=4", BROWSER).text]))
""",
        BRANCH,
    )

    [line] = (each for each in source["lines"] if "not_taken" in each)
    [branch] = line["not_taken"]
    assert (line["line"], branch["to"]) == (4, 5)
    assert "line 4 didn't jump to line 5" in branch["text"]
    assert states(page)[4] == "p"
    assert branch["text"] in unescape(page)
    assert "<strong>Line 4</strong> ran at runtime" in page
    assert '<a href="#L3">price</a>' in page


@needs_labels
def test_a_page_tells_who_ran_a_line_and_what_ran_for_one_label(asked: RunScript) -> None:
    all_of_it, line, of_label, lines = asked(
        """
    reported(**{"X-Coverage-Context": "a/b <c>"})
    label = "?context=a/b%20%3Cc%3E"
    paths = ("", "?line=8", label)
    pages = [ask("/source/shop.py" + path, BROWSER).text for path in paths]
    print(json.dumps([*pages, ask("/source/shop.py" + label).json()["lines"]]))
"""
    )

    assert all_of_it.count("class=who>1 label</a>") == 4
    assert 'href="../contexts/a%2Fb%20%3Cc%3E">a/b &lt;c&gt;</a>' in line
    assert ranges(states(of_label)) == {"r": [4, 6, 21, 22], "r c": [7, 8, 9], "x": [17, 18]}
    assert "href='?line=4&amp;context=a/b%20%3Cc%3E#L4'" in of_label
    ran = {each["line"] for each in lines if each["ran"] == "at runtime"}
    assert ran == {4, 6, 21, 22}


def test_what_there_is_not_is_refused(asked: RunScript) -> None:
    found = asked(
        """
    reported()
    paths = ["nothing.py", "shop.py?context=x", "shop.py?line=-1&format=html", "shop.py?format=pdf"]
    answers = [ask("/source/" + path) for path in paths]
    assert call(app, "GET", PREFIX + "/source/shop.py?line=999", BROWSER).status == 200
    print(json.dumps([[each.status, each.json()["error"]] for each in answers]))
"""
    )

    assert found == [
        [404, "not-found"],
        [404, "unknown-context"],
        [400, "bad-parameter"],
        [400, "bad-parameter"],
    ]


def test_a_page_of_coverages_html_has_one_link_back_and_the_zip_has_none(
    asked: RunScript,
) -> None:
    pages, zipped = asked(
        """
    import io, zipfile
    reported()
    pages = [ask("/html/" + name).text for name in ("", "shop_py.html", "function_index.html")]
    with zipfile.ZipFile(io.BytesIO(ask("/export?format=html").body)) as archive:
        zipped = archive.read("index.html").decode()
    print(json.dumps([pages, zipped]))
"""
    )

    assert [page.count('<a href="../files">') for page in pages] == [1, 1, 1]
    assert '"../files"' not in zipped
    assert "shop.py" in names_on(pages[0])


def test_why_more_of_a_file_may_have_run_is_said_in_the_same_words(run_script: RunScript) -> None:
    reason, page = run_script(
        SERVED.replace("    start_early()\n", "")
        + """
    reported()
    print(json.dumps([ask("/source/shop.py").json()["imported_early"],
                      ask("/source/shop.py", BROWSER).text]))
""",
        {"shop.py": SHOP, ".coveragerc": "[run]\ninclude = */shop.py\n"},
    )

    assert f'<p class="warnings">{reason}</p>' in unescape(page)


def test_the_index_of_coverages_html_leaves_out_the_folder_that_absolute_names_share(
    run_script: RunScript,
) -> None:
    file, pages = run_script(
        """
    import os, sys
    sys.path.insert(0, os.getcwd())
    os.mkdir("elsewhere")
    os.chdir("elsewhere")
    with open(".coveragerc", "w") as file:
        file.write("[run]\\ninclude = */shop.py, */script.py")
"""
        + SERVED
        + """
    reported()
    [file] = [each for each in ask("/files").json() if each["file"].endswith("shop.py")]
    pages = [ask(f"/html/{name}").text for name in ("", "function_index.html", file["html"])]
    print(json.dumps([file["file"], pages]))
""",
        {"shop.py": SHOP},
    )

    index, functions, page = pages
    assert file.startswith("/")
    assert names_on(index) == {"script.py", "shop.py"}
    assert names_on(index) < names_on(functions)  # which has the functions' names, too
    assert file in plain(page)
