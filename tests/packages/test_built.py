"""The wheel and the source distribution: what is in them, and that they are built alike anywhere.

Two trees are built, at two places and at two times of their files; the session `packages` of nox
runs this.
"""

import os
import shutil
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

pytest.importorskip("build", reason="build is not installed")

ROOT = Path(__file__).parents[2]
PACKAGES = {"wsgi_coverage", "flask_coverage"}
BUILD = [sys.executable, "-m", "build", "--no-isolation", "--outdir"]
NOT_COPIED = shutil.ignore_patterns(".git", ".nox", ".venv", "build", "dist", "__pycache__")


def build(source: Path, target: Path, *options: str) -> None:
    done = subprocess.run(
        [*BUILD, str(target), *options, str(source)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is built of this tree: the wheel is made of the source distribution."""
    target = tmp_path_factory.mktemp("first")
    build(ROOT, target)
    return target


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is built of a copy elsewhere, with other times and modes; the wheel is made of it."""
    tree, target = tmp_path_factory.mktemp("tree") / "copy", tmp_path_factory.mktemp("second")
    shutil.copytree(ROOT, tree, ignore=NOT_COPIED)
    for path in tree.rglob("*"):
        if path.is_file():
            os.utime(path, (1, 1))
            path.chmod(path.stat().st_mode & ~(stat.S_IRWXG | stat.S_IRWXO))
    build(tree, target, "--sdist")
    build(tree, target, "--wheel")
    return target


def only(folder: Path, pattern: str) -> Path:
    [found] = folder.glob(pattern)
    return found


def in_wheel(folder: Path) -> set[str]:
    with zipfile.ZipFile(only(folder, "*.whl")) as archive:
        return {*archive.namelist()}


def in_sdist(folder: Path) -> set[str]:
    with tarfile.open(only(folder, "*.tar.gz")) as archive:
        return {str(PurePosixPath(*PurePosixPath(each).parts[1:])) for each in archive.getnames()}


def of_git() -> set[str]:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    return {*filter(None, done.stdout.decode().split("\0"))}


@pytest.mark.parametrize("pattern", ["*.whl", "*.tar.gz"])
def test_the_same_sources_give_the_same_bytes(first: Path, second: Path, pattern: str) -> None:
    one, other = only(first, pattern), only(second, pattern)

    assert one.name == other.name
    assert one.read_bytes() == other.read_bytes()


def test_the_wheel_has_both_packages_whole_and_what_python_reads_at_its_start(first: Path) -> None:
    tracked = of_git()
    expected = {each for each in tracked if each.startswith("wsgi_coverage/")}
    expected |= {
        each.removeprefix("adapters/") for each in tracked if each.startswith("adapters/flask_")
    }
    expected.remove("wsgi_coverage/children.pth")
    expected.add("wsgi_coverage_children.pth")

    found = {each for each in in_wheel(first) if ".dist-info/" not in each}

    assert found == expected
    assert {each.partition("/")[0] for each in found if "/" in each} == PACKAGES
    assert {"wsgi_coverage/py.typed", "flask_coverage/py.typed"} <= found


def test_the_wheel_has_the_licence_the_commands_and_the_entry_points(first: Path) -> None:
    with zipfile.ZipFile(only(first, "*.whl")) as archive:
        info = {
            name.rpartition("/")[2]: name for name in archive.namelist() if ".dist-info/" in name
        }
        points = archive.read(info["entry_points.txt"]).decode()

    assert "LICENSE" in info
    for line in (
        "wsgi-coverage = wsgi_coverage.command:main",
        "flask-coverage = flask_coverage.cli:main",
        "main = wsgi_coverage.paste:filter_factory",
        "wsgi-coverage = wsgi_coverage.testing.plugin",
    ):
        assert line in points


def test_the_source_distribution_has_all_that_is_tracked_and_its_metadata(first: Path) -> None:
    assert in_sdist(first) == of_git() | {"PKG-INFO"}
