"""Data files from elsewhere as one about a checkout: paths, versions, contexts, modes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from coverage import CoverageData
from coverage.exceptions import CoverageWarning

from wsgi_coverage.checkout import reports
from wsgi_coverage.checkout.changes import Judged, judge
from wsgi_coverage.checkout.collected import Brought, Collected, combine
from wsgi_coverage.checkout.sources import Checkout
from wsgi_coverage.data import stamp
from wsgi_coverage.errors import ConfigurationError, NoDataError, SettingsError

CART = "def a():\n    return 'cart a'\n\ndef b():\n    return 'cart b'\n"
VIEWS = "from shop import cart\n\nvalue = (\n    cart.a(),\n    cart.b(),\n)\n"

Write = Callable[..., Brought]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "checkout"
    for name, text in {"cart.py": CART, "views.py": VIEWS, "__init__.py": ""}.items():
        (folder / "src/shop").mkdir(parents=True, exist_ok=True)
        (folder / "src/shop" / name).write_text(text)
    (folder / "other").mkdir()
    (folder / "other/__init__.py").touch()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    return folder


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a data file, as an instance exports it."""

    def writing(
        name: str,
        lines: Mapping[str, Any],
        *,
        sources: Mapping[str, str | None] | None = None,
        branch: bool = False,
        context: str = "",
    ) -> Brought:
        path = tmp_path / f"{name}.sqlite"
        data = CoverageData(basename=str(path))
        if context:
            data.set_context(context)
        if branch:
            data.add_arcs(lines)
        else:
            data.add_lines(lines)
        data.close(force=True)
        if sources is not None:
            fingerprints = {}
            for file, text in sources.items():
                there = tmp_path / "there"
                there.write_bytes((text or "").encode())
                fingerprints[file] = stamp.fingerprint(there) if text is not None else "changed"
            stamp.put_fingerprints(path, fingerprints)
        return Brought(name, path)

    return writing


def combined(
    brought: list[Brought], checkout: Path, target: Path, **more: Any
) -> tuple[Collected, dict[str, list[int]]]:
    """What became of it, and the executed lines by the names of the checkout."""
    workspace = target.parent / "workspace"
    workspace.mkdir(exist_ok=True)
    result = combine(brought, target, Checkout(checkout), workspace=workspace, **more)
    return result, lines_in(target, checkout)


def lines_in(target: Path, checkout: Path) -> dict[str, list[int]]:
    data = CoverageData(basename=str(target))
    data.read()
    out = {
        name.removeprefix(f"{checkout}/"): sorted(data.lines(name) or ())
        for name in data.measured_files()
    }
    data.close(force=True)
    return out


def test_instances_in_different_folders_come_together_in_the_checkouts_files(
    checkout: Path, tmp_path: Path, write: Write
) -> None:
    one = write("one", {"/srv/shop/cart.py": [1, 2], "/srv/shop/__init__.py": []})
    two = write("two", {"/opt/x/shop/cart.py": [1, 5], "/opt/x/shop/views.py": [1]})

    result, lines = combined([one, two], checkout, tmp_path / "out")

    assert lines == {
        "src/shop/cart.py": [1, 2, 5],
        "src/shop/views.py": [1],
        "src/shop/__init__.py": [],
    }
    assert result.combined == ["one", "two"]
    assert result.files == 3
    assert result.warnings == []


def test_the_same_path_of_two_instances_may_be_two_files(
    checkout: Path, tmp_path: Path, write: Write
) -> None:
    one = write("one", {"/app/x.py": [1]}, sources={"/app/x.py": CART})
    two = write("two", {"/app/x.py": [3]}, sources={"/app/x.py": VIEWS})
    (checkout / "src/shop/cart.py").rename(checkout / "src/shop/x.py")
    (checkout / "src/shop/views.py").rename(checkout / "other/x.py")

    _, lines = combined([one, two], checkout, tmp_path / "out")

    assert lines == {"src/shop/x.py": [1], "other/x.py": [3]}


def test_the_result_is_what_coverage_py_combines_under_paths(
    checkout: Path, tmp_path: Path, write: Write
) -> None:
    (checkout / ".coveragerc").write_text("[paths]\nshop =\n    src/shop\n    /x/y\n    */deep\n")
    files = [
        # Without `[paths]` the latter could be of `other`, too.
        write("one", {"/x/y/cart.py": [1, 2], "/x/y/__init__.py": [1]}, context="runtime"),
        write("two", {"/a/deep/cart.py": [4], "/a/deep/views.py": [1]}, context="load"),
    ]
    expected = tmp_path / "expected"
    subprocess.run(
        [sys.executable, "-m", "coverage", "combine", "-q", "--keep", f"--data-file={expected}"]
        + [str(each.path) for each in files],
        check=True,
    )

    _, lines = combined(files, checkout, tmp_path / "out")

    assert lines == lines_in(expected, checkout)
    assert lines == {
        "src/shop/cart.py": [1, 2, 4],
        "src/shop/views.py": [1],
        "src/shop/__init__.py": [1],
    }
    assert contexts_in(tmp_path / "out") == contexts_in(expected)


def contexts_in(target: Path) -> set[str]:
    data = CoverageData(basename=str(target))
    data.read()
    out = data.measured_contexts()
    data.close(force=True)
    return out


def test_a_label_is_a_context_before_those_that_there_are(
    checkout: Path, tmp_path: Path, write: Write
) -> None:
    one = write("one", {"/srv/shop/cart.py": [1]}, context="runtime")
    two = write("two", {"/srv/shop/cart.py": [2]})

    combined([one, two], checkout, tmp_path / "out", label="buy")

    assert contexts_in(tmp_path / "out") == {"buy|runtime", "buy"}


def test_what_is_there_keeps_its_contexts_when_more_is_appended(
    checkout: Path, tmp_path: Path, write: Write
) -> None:
    target = tmp_path / "out"
    combined([write("one", {"/srv/shop/cart.py": [1]})], checkout, target, label="first")

    own = Brought("out", target, is_own=True)
    two = write("two", {"/opt/shop/cart.py": [2]})
    _, lines = combined([own, two], checkout, target, label="second")

    assert lines == {"src/shop/cart.py": [1, 2]}
    assert contexts_in(target) == {"first", "second"}


def test_what_could_be_two_files_is_named_and_kept_under_its_own_name(
    checkout: Path, tmp_path: Path, write: Write
) -> None:
    result, lines = combined([write("one", {"/x/__init__.py": [1]})], checkout, tmp_path / "out")

    assert lines == {"/x/__init__.py": [1]}
    [warning] = result.warnings
    assert "may be other/__init__.py or src/shop/__init__.py: not guessed" in warning


def test_what_is_not_in_the_checkout_is_named(checkout: Path, tmp_path: Path, write: Write) -> None:
    paths = {f"/x/{number}.py": [1] for number in range(5)}

    result, _ = combined([write("one", paths)], checkout, tmp_path / "out")

    assert result.warnings == [
        "/x/0.py, /x/1.py, /x/2.py and 2 more, from one, are not in this checkout"
    ]


def test_relative_names_are_kept_where_the_configuration_says_so(
    checkout: Path, tmp_path: Path, write: Write
) -> None:
    (checkout / ".coveragerc").write_text("[run]\nrelative_files = true\n")

    one = write("one", {"shop/cart.py": [1], "src/shop/views.py": [1]})
    _, lines = combined([one], checkout, tmp_path / "out")

    assert lines == {"src/shop/cart.py": [1], "src/shop/views.py": [1]}


# Versions


def test_lines_of_another_version_are_left_out_and_named(
    checkout: Path, tmp_path: Path, write: Write
) -> None:
    sources = {"/srv/shop/cart.py": CART + "# older\n", "/srv/shop/views.py": VIEWS}
    one = write("one", {"/srv/shop/cart.py": [1, 5], "/srv/shop/views.py": [1]}, sources=sources)

    result, lines = combined([one], checkout, tmp_path / "out")

    assert lines == {"src/shop/views.py": [1]}
    cart = str(checkout / "src/shop/cart.py")
    assert result.warnings == [
        f"one measured another version of {cart}: what it recorded there is left out"
    ]
    assert result.unknown == {cart: "one measured another version of it"}


def test_of_two_versions_the_checkouts_counts(checkout: Path, tmp_path: Path, write: Write) -> None:
    path = "/srv/shop/cart.py"
    old = write("old", {path: [1, 5]}, sources={path: CART + "# older\n"})
    new = write("new", {path: [1, 2]}, sources={path: CART})

    result, lines = combined([old, new], checkout, tmp_path / "out")

    assert lines == {"src/shop/cart.py": [1, 2]}
    assert result.unknown == {}


def test_a_source_that_its_worker_had_in_another_version_is_unknown(
    checkout: Path, tmp_path: Path, write: Write
) -> None:
    sources = {"/srv/shop/cart.py": None, "/srv/shop/views.py": VIEWS}

    one = write("one", {"/srv/shop/views.py": [1]}, sources=sources)
    result, _ = combined([one], checkout, tmp_path / "out")

    assert set(result.unknown) == {str(checkout / "src/shop/cart.py")}


def test_line_ends_are_no_other_version(checkout: Path, tmp_path: Path, write: Write) -> None:
    path = "/srv/shop/cart.py"
    (checkout / "src/shop/cart.py").write_bytes(CART.replace("\n", "\r\n").encode())

    result, lines = combined(
        [write("one", {path: [1]}, sources={path: CART})], checkout, tmp_path / "out"
    )

    assert lines == {"src/shop/cart.py": [1]}
    assert result.unknown == {}


def test_an_instance_that_does_not_say_which_version_it_measured_counts_as_unknown(
    checkout: Path, tmp_path: Path, write: Write
) -> None:
    result, lines = combined([write("one", {"/a/shop/cart.py": [1]})], checkout, tmp_path / "out")

    assert lines == {"src/shop/cart.py": [1]}
    [why] = result.unknown.values()
    assert why == "one does not say which version it measured"


def test_of_what_one_does_not_say_and_another_says_is_not_known(
    checkout: Path, tmp_path: Path, write: Write
) -> None:
    path = "/srv/shop/cart.py"
    silent = write("silent", {path: [5]})
    saying = write("saying", {path: [1]}, sources={path: CART})

    result, lines = combined([silent, saying], checkout, tmp_path / "out")

    assert lines == {"src/shop/cart.py": [1, 5]}
    assert list(result.unknown.values()) == ["silent does not say which version it measured"]


def test_content_that_many_files_have_tells_nothing(
    checkout: Path, tmp_path: Path, write: Write
) -> None:
    (checkout / "other/__init__.py").unlink()
    sources = {"/app/shop/views.py": VIEWS, "/app/elsewhere/__init__.py": ""}

    one = write("one", {path: [1] for path in sources}, sources=sources)
    _, lines = combined([one], checkout, tmp_path / "out")

    assert lines == {"src/shop/views.py": [1], "/app/elsewhere/__init__.py": [1]}


def test_what_is_appended_to_is_of_the_present_version_too(
    checkout: Path, tmp_path: Path, write: Write
) -> None:
    path, target = "/srv/shop/cart.py", tmp_path / "out"
    combined([write("one", {path: [1, 5]}, sources={path: CART})], checkout, target)
    changed = CART.replace("cart b", "cart c")
    (checkout / "src/shop/cart.py").write_text(changed)

    own = Brought("out", target, is_own=True)
    two = write("two", {path: [1, 2]}, sources={path: changed})
    _, lines = combined([own, two], checkout, target)

    assert lines == {"src/shop/cart.py": [1, 2]}


# What cannot be combined


def test_a_file_of_the_other_mode_is_set_aside_by_name(
    checkout: Path, tmp_path: Path, write: Write
) -> None:
    one = write("one", {"/srv/shop/cart.py": [1]})
    two = write("two", {"/srv/shop/cart.py": [(-1, 1), (1, 4)]}, branch=True)

    result, lines = combined([one, two], checkout, tmp_path / "out")

    assert lines == {"src/shop/cart.py": [1]}
    assert result.combined == ["one"]
    assert "it holds branches" in result.set_aside["two"]


def test_branches_come_together(checkout: Path, tmp_path: Path, write: Write) -> None:
    one = write("one", {"/srv/shop/cart.py": [(-1, 1), (1, 4)]}, branch=True)
    two = write("two", {"/opt/shop/cart.py": [(4, -1)]}, branch=True)

    combined([one, two], checkout, tmp_path / "out")

    data = CoverageData(basename=str(tmp_path / "out"))
    data.read()
    arcs = data.arcs(str(checkout / "src/shop/cart.py"))
    data.close(force=True)
    assert set(arcs or ()) == {(-1, 1), (1, 4), (4, -1)}


def test_a_file_of_another_schema_is_set_aside_by_name(
    checkout: Path, tmp_path: Path, write: Write
) -> None:
    one = write("one", {"/srv/shop/cart.py": [1]})
    with stamp.changing(one.path) as connection:
        connection.execute("update coverage_schema set version = 99")

    result, _ = combined([write("two", {"/srv/shop/cart.py": [2]}), one], checkout, tmp_path / "o")

    assert result.set_aside == {"one": "wrong schema: 99 instead of 7"}
    assert result.combined == ["two"]


def test_nothing_is_written_where_nothing_can_be_combined(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"no data file")
    (tmp_path / "workspace").mkdir()
    target = tmp_path / "out"

    result = combine(
        [Brought("bad", tmp_path / "bad")],
        target,
        Checkout(checkout),
        workspace=tmp_path / "workspace",
    )

    assert set(result.set_aside) == {"bad"}
    assert not target.exists()


def test_a_configuration_that_cannot_be_read_is_said(checkout: Path) -> None:
    (checkout / ".coveragerc").write_text("[run\n")

    with pytest.raises(SettingsError, match=r"coverage\.py's configuration cannot be read"):
        Checkout(checkout)


def test_paths_that_coverage_refuses_are_said_by_its_own_sentence(
    checkout: Path, tmp_path: Path, write: Write
) -> None:
    (checkout / ".coveragerc").write_text("[paths]\nsource =\n    src\n    */releases/*/\n")

    with pytest.raises(ConfigurationError, match="Pattern must not end with wildcards"):
        combined([write("one", {"/srv/shop/cart.py": [1]})], checkout, tmp_path / "out")

    assert not (tmp_path / "out").exists()


# Reports on it


@pytest.mark.parametrize("wanted", ["text", "json", "xml", "lcov"])
def test_a_report_is_about_the_files_of_the_checkout(
    checkout: Path, tmp_path: Path, write: Write, wanted: str
) -> None:
    combined([write("one", {"/srv/shop/cart.py": [1, 2]})], checkout, tmp_path / "out")

    report = reports.text(tmp_path / "out", wanted)

    assert "src/shop/cart.py" in report
    assert "/srv" not in report


@pytest.mark.parametrize("wanted", ["text", "json", "xml", "lcov"])
def test_a_report_has_the_other_files_where_one_is_of_a_plugin_that_is_not_configured(
    checkout: Path, tmp_path: Path, wanted: str
) -> None:
    data = CoverageData(basename=str(tmp_path / "out"))
    data.add_lines({str(checkout / f"src/shop/{name}.py"): [1] for name in ("cart", "views")})
    data.add_file_tracers({str(checkout / "src/shop/views.py"): "gone.Plugin"})
    data.close(force=True)

    with pytest.warns(CoverageWarning, match="the plugin 'gone.Plugin' has measured it"):
        report = reports.text(tmp_path / "out", wanted)

    assert "cart.py" in report
    assert "views.py" not in report


def test_an_html_report_is_a_folder(checkout: Path, tmp_path: Path, write: Write) -> None:
    combined([write("one", {"/srv/shop/cart.py": [1, 2]})], checkout, tmp_path / "out")

    reports.html(tmp_path / "out", tmp_path / "site")

    assert "cart.py" in (tmp_path / "site/index.html").read_text()


def test_a_report_on_nothing_says_so(checkout: Path, tmp_path: Path) -> None:
    with pytest.raises(NoDataError):
        reports.text(tmp_path / "none", "text")


# Judging lines


def judged(
    changed: dict[str, set[int]], brought: list[Brought], checkout: Path, target: Path
) -> list[Judged]:
    result, _ = combined(brought, checkout, target)
    return judge(target, changed, Checkout(checkout), result.unknown)


def test_of_changed_lines_those_that_can_run_are_judged(
    checkout: Path, tmp_path: Path, write: Write
) -> None:
    path = "/srv/shop/cart.py"
    one = write("one", {path: [1, 2, 4]}, sources={path: CART})

    found = judged({"src/shop/cart.py": {2, 3, 5}}, [one], checkout, tmp_path / "out")

    assert found == [Judged(file="src/shop/cart.py", state="judged", statements=2, missing=(5,))]
    assert found[0].covered == 1


def test_a_line_inside_a_statement_counts_as_that_statement(
    checkout: Path, tmp_path: Path, write: Write
) -> None:
    path = "/srv/shop/views.py"
    one = write("one", {path: [1, 3]}, sources={path: VIEWS})

    [found] = judged({"src/shop/views.py": {4, 5}}, [one], checkout, tmp_path / "out")

    assert (found.statements, found.missing) == (1, ())


def test_what_is_of_another_version_is_unknown_and_not_uncovered(
    checkout: Path, tmp_path: Path, write: Write
) -> None:
    path = "/srv/shop/cart.py"
    one = write("one", {path: [1]}, sources={path: CART + "\n"})
    two = write("two", {"/srv/shop/views.py": [1]}, sources={"/srv/shop/views.py": VIEWS})

    [found] = judged({"src/shop/cart.py": {2}}, [one, two], checkout, tmp_path / "out")

    assert found.state == "unknown"
    assert found.statements == 0
    assert found.reason == "one measured another version of it"


def test_what_is_not_measured_and_what_is_no_python_does_not_count(
    checkout: Path, tmp_path: Path, write: Write
) -> None:
    one = write("one", {"/srv/shop/cart.py": [1]}, sources={"/srv/shop/cart.py": CART})
    (checkout / "tests.py").write_text("a = 1\n")

    found = judged({"tests.py": {1}, "README.md": {1}}, [one], checkout, tmp_path / "out")

    assert [(each.file, each.state) for each in found] == [("tests.py", "not measured")]


def test_excluded_lines_do_not_count(checkout: Path, tmp_path: Path, write: Write) -> None:
    (checkout / ".coveragerc").write_text("[report]\nexclude_also = def b\n")
    path = "/srv/shop/cart.py"

    one = write("one", {path: [1]}, sources={path: CART})
    [found] = judged({"src/shop/cart.py": {4, 5}}, [one], checkout, tmp_path / "out")

    assert (found.statements, found.missing) == (0, ())
