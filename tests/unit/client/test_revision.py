"""The lines that changed since a revision, in real repositories of Git."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from wsgi_coverage.client import revision
from wsgi_coverage.client.revision import RevisionError, changed_lines, changes, top_of

Git = Callable[..., str]


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Git:
    """Git in the folder `checkout`, where `a.py` with ten lines is committed to `main`."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, "/dev/null")
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "somebody")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "somebody@example.org")

    def run(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", folder, *arguments], check=True, capture_output=True, text=True
        ).stdout

    run("init", "-q", "-b", "main")
    (folder / "a.py").write_text(numbered(10))
    run("add", ".")
    run("commit", "-qm", "one")
    return run


@pytest.fixture
def checkout(git: Git, tmp_path: Path) -> Path:
    return tmp_path / "checkout"


def numbered(count: int, **changed: str) -> str:
    lines = [changed.get(f"_{number}", f"x{number} = {number}") for number in range(1, count + 1)]
    return "".join(f"{line}\n" for line in lines)


def test_nothing_has_changed_where_nothing_has(checkout: Path) -> None:
    assert changed_lines(checkout, "main") == {}


def test_lines_that_were_changed_and_added_count_and_those_taken_away_do_not(
    checkout: Path,
) -> None:
    text = (
        numbered(10, _3="y = 3")
        .replace("x5 = 5\n", "")
        .replace("x8 = 8\n", "x8 = 8\nz = 1\nz = 2\n")
    )
    (checkout / "a.py").write_text(text)

    assert changed_lines(checkout, "main") == {"a.py": {3, 8, 9}}


def test_what_is_committed_staged_and_neither_counts_alike(checkout: Path, git: Git) -> None:
    git("checkout", "-qb", "topic")
    (checkout / "a.py").write_text(numbered(10, _1="y = 1"))
    git("commit", "-qam", "two")
    (checkout / "a.py").write_text(numbered(10, _1="y = 1", _5="y = 5"))
    git("add", "a.py")
    (checkout / "a.py").write_text(numbered(10, _1="y = 1", _5="y = 5", _9="y = 9"))

    assert changed_lines(checkout, "main") == {"a.py": {1, 5, 9}}


def test_a_source_that_git_does_not_know_yet_counts_unless_it_is_ignored(checkout: Path) -> None:
    (checkout / "new.py").write_text("a = 1\nb = 2")
    (checkout / "ignored.py").write_text("a = 1\n")
    (checkout / "data.bin").write_text("a = 1\n")
    (checkout / ".gitignore").write_text("ignored.py\n")

    assert changed_lines(checkout, "main") == {"new.py": {1, 2}}


def test_what_the_base_got_meanwhile_does_not_count(checkout: Path, git: Git) -> None:
    git("checkout", "-qb", "topic")
    (checkout / "b.py").write_text("b = 1\n")
    git("add", ".")
    git("commit", "-qm", "topic")
    git("checkout", "-q", "main")
    (checkout / "a.py").write_text(numbered(10, _1="main = 1"))
    git("commit", "-qam", "main goes on")
    git("checkout", "-q", "topic")

    assert changed_lines(checkout, "main") == {"b.py": {1}}


def test_a_file_that_was_moved_counts_with_what_was_changed_in_it(checkout: Path, git: Git) -> None:
    git("mv", "a.py", "moved.py")
    assert changed_lines(checkout, "main") == {}

    (checkout / "moved.py").write_text(numbered(10, _4="y = 4"))
    assert changed_lines(checkout, "main") == {"moved.py": {4}}


@pytest.mark.parametrize("name", ["ä b.py", 'q"uo\\te.py', "tab\t.py", "-rf.py", "b/b/c.py"])
def test_any_name_is_read_as_it_is(checkout: Path, git: Git, name: str) -> None:
    file = checkout / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("a = 1\n")
    git("add", ".")

    assert changed_lines(checkout, "main") == {name: {1}}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("diff.noprefix", "true"),
        ("diff.mnemonicPrefix", "true"),
        ("diff.external", "false"),
        ("color.ui", "always"),
        ("diff.context", "7"),
        ("diff.renames", "false"),
        ("core.pager", "false"),
        ("diff.interHunkContext", "9"),
    ],
)
def test_the_users_configuration_of_git_changes_nothing(
    checkout: Path, git: Git, key: str, value: str
) -> None:
    (checkout / "moved.py").write_text(numbered(20))
    git("add", ".")
    git("commit", "-qm", "two")
    git("mv", "moved.py", "now.py")
    git("config", key, value)
    (checkout / "a.py").write_text(numbered(10, _2="y = 2", _6="y = 6"))

    assert changed_lines(checkout, "main") == {"a.py": {2, 6}}


def test_lines_that_look_like_a_patch_are_lines(checkout: Path, git: Git) -> None:
    (checkout / "a.py").write_text("-- x\n++ b/other.py\n")
    git("commit", "-qam", "strange")
    (checkout / "a.py").write_text("++ b/evil.py\n@@ -1 +1,9 @@\ndiff --git a/x b/x\n")

    assert changed_lines(checkout, "HEAD") == {"a.py": {1, 2, 3}}


def test_below_a_folder_names_are_relative_to_it(checkout: Path, git: Git) -> None:
    for name in ("one/x.py", "two/x.py"):
        (checkout / name).parent.mkdir()
        (checkout / name).write_text("a = 1\n")
    git("add", ".")

    assert changed_lines(checkout / "one", "main") == {"x.py": {1}}


@pytest.mark.parametrize("base", ["nowhere", "--output=evil", "-h", "main:a.py", ""])
def test_a_revision_that_there_is_not_is_one_line(checkout: Path, base: str) -> None:
    with pytest.raises(RevisionError, match="no revision") as raised:
        changed_lines(checkout, base)

    assert "\n" not in str(raised.value)
    assert not (checkout / "evil").exists()


def test_no_repository_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    with pytest.raises(RevisionError, match="not a git repository"):
        changed_lines(tmp_path, "main")


def test_no_git_is_one_line(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")

    with pytest.raises(RevisionError, match="git is not installed"):
        changed_lines(checkout, "main")


def test_git_that_hangs_is_not_waited_for_for_ever(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "bin" / "git"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\nexec tail -f /dev/null\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:/usr/bin:/bin")
    monkeypatch.setattr(revision, "TIMEOUT", 0.2)

    with pytest.raises(RevisionError, match="cannot tell which lines have changed"):
        changed_lines(checkout, "main")


def test_changes_are_told_with_both_versions(git: Git, checkout: Path) -> None:
    (checkout / ".gitattributes").write_text("*.py -diff\n")
    (checkout / "gone.txt").write_text("x")
    git("add", ".")
    git("commit", "-qm", "two")
    (checkout / "a.py").write_text(numbered(10, _3="y = 3").replace("x5 = 5\n", ""))
    (checkout / "gone.txt").unlink()
    (checkout / "new é.py").write_text("z = 1\n")
    for name in (
        ".coverage",
        ".coverage.host.1",
        ".wsgi-coverage-cache/x",
        ".flask-coverage-cache/y",
    ):
        (checkout / name).parent.mkdir(exist_ok=True)
        (checkout / name).write_text("ours")
    git("add", "a.py")

    found = {each.file: each for each in changes(checkout, "main")}

    assert found.keys() == {"a.py", "gone.txt", "new é.py"}
    assert found["a.py"].old == numbered(10).encode()
    assert found["a.py"].new == (checkout / "a.py").read_bytes()
    assert found["a.py"].hunks == [(3, 1, 3, 1), (5, 1, 4, 0)]
    assert (found["gone.txt"].new, found["new é.py"].old) == (None, None)
    assert top_of(checkout) == checkout.resolve()


def test_a_submodule_that_has_changed_is_named(git: Git, checkout: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    git("clone", "-q", str(checkout), str(other))
    git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other), "sub")
    git("commit", "-qm", "two")
    assert changes(checkout, "main") == []

    (checkout / "sub" / "a.py").write_text("y = 1\n")
    assert [each.file for each in changes(checkout, "main")] == ["sub"]
