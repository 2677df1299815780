"""Where a file that was measured elsewhere is in a checkout, and when that is not guessed."""

import subprocess
import time
from pathlib import Path

import pytest

from wsgi_coverage.checkout.remap import files_of, remap

SHOP = [
    "src/shop/__init__.py",
    "src/shop/views.py",
    "src/shop/cart/__init__.py",
    "other/__init__.py",
    "docs/conf.py",
    "app.py",
    "svc/app.py",
    "a/models.py",
    "b/models.py",
    "a/only.py",
    "b/alone.py",
    "hello.py",
]


def unknown(path: str) -> list[str]:
    return []


def found(*paths: str) -> dict[str, str]:
    return remap(paths, SHOP, unknown).files


@pytest.mark.parametrize("root", ["/srv", "/opt/x/y/z", "/usr/lib/python3.12/site-packages", "C:"])
def test_a_file_is_found_by_the_longest_tail(root: str) -> None:
    separator = "\\" if root == "C:" else "/"
    path = separator.join([root, "shop", "views.py"])

    assert found(path) == {path: "src/shop/views.py"}


def test_a_relative_path_is_found_too() -> None:
    assert found("shop/views.py") == {"shop/views.py": "src/shop/views.py"}


def test_a_name_that_there_is_once_is_enough_where_nothing_speaks_against_it() -> None:
    assert found("/x/hello.py") == {"/x/hello.py": "hello.py"}


def test_a_name_is_not_enough_below_a_folder_that_is_known_to_be_elsewhere() -> None:
    mapped = found("/app/shop/views.py", "/app/shop/conf.py")

    assert mapped == {"/app/shop/views.py": "src/shop/views.py"}


def test_what_could_be_two_files_is_not_guessed() -> None:
    result = remap(["/x/app.py"], SHOP, unknown)

    assert result.files == {}
    assert result.ambiguous == {"/x/app.py": ["app.py", "svc/app.py"]}


def test_the_other_files_of_the_same_place_decide() -> None:
    assert found("/x/app.py", "/x/hello.py")["/x/app.py"] == "app.py"
    assert found("/y/models.py", "/y/only.py")["/y/models.py"] == "a/models.py"
    assert found("/y/models.py", "/y/alone.py")["/y/models.py"] == "b/models.py"


def test_where_the_others_disagree_nothing_is_guessed() -> None:
    paths = ["/y/models.py", "/y/only.py", "/y/alone.py"]

    result = remap(paths, SHOP, unknown)

    assert result.files == {}
    assert set(result.ambiguous) == set(paths)


def test_the_content_decides_where_it_is_known() -> None:
    result = remap(["/x/app.py"], SHOP, lambda path: ["svc/app.py"])

    assert result.files == {"/x/app.py": "svc/app.py"}


def test_files_with_no_content_of_their_own_follow_their_neighbours() -> None:
    paths = ["/app/shop/__init__.py", "/app/shop/cart/__init__.py", "/app/shop/views.py"]

    mapped = found(*paths)

    assert mapped == {path: f"src{path.removeprefix('/app')}" for path in paths}


@pytest.mark.parametrize(
    "path",
    [
        "/usr/lib/python3.11/site-packages/flask/views.py",
        "/usr/lib/python3/dist-packages/hello/app2.py",
        "/usr/lib/python3.13/hello/hello.py",
        "/app/nowhere.py",
        "",
    ],
)
def test_what_is_not_in_the_checkout_is_not_found(path: str) -> None:
    result = remap([path], SHOP, unknown)

    assert (result.files, result.ambiguous) == ({}, {})


def test_an_installed_package_is_found_by_its_whole_path() -> None:
    path = "/venv/lib/python3.12/site-packages/shop/cart/__init__.py"

    assert found(path) == {path: "src/shop/cart/__init__.py"}


def test_a_large_checkout_takes_no_time() -> None:
    files = [f"src/p{n}/{name}.py" for n in range(800) for name in ("__init__", "a", "b", "c")]
    paths = [file.replace("src", "/app") for file in files]
    started = time.process_time()

    result = remap(paths, files, unknown)

    assert time.process_time() - started < 2  # seconds; comparing all with all takes ten
    assert result.files == dict(zip(paths, files, strict=True))


# The files of a checkout


def test_what_git_ignores_is_no_file_of_the_checkout(tmp_path: Path) -> None:
    for name in ("a.py", "new.py", "build/a.py", ".gitignore"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("build\n")
    subprocess.run(["git", "-C", tmp_path, "init", "-q"], check=True)
    subprocess.run(["git", "-C", tmp_path, "add", "a.py"], check=True)

    assert sorted(files_of(tmp_path)) == [".gitignore", "a.py", "new.py"]


def test_without_git_environments_and_caches_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    for name in ("a.py", "sub/b.py", ".tox/c.py", "venv/pyvenv.cfg", "venv/d.py", "node_modules/e"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    assert sorted(files_of(tmp_path)) == ["a.py", "sub/b.py"]
