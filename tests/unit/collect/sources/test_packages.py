"""Packages of `source` that this process has not imported are found without an import."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

from wsgi_coverage.collect.sources.packages import not_imported

RAISES = "raise AssertionError('it was imported')\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Packages, a module, and a namespace, of which nothing can be imported."""
    for name in (
        "kiosk/__init__.py",
        "kiosk/stall/__init__.py",
        "kiosk/stall/shelf.py",
        "till.py",
        "market/hall/__init__.py",
    ):
        path = tmp_path / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(RAISES)
    monkeypatch.syspath_prepend(str(tmp_path / "src"))
    return tmp_path / "src"


def found(names: Sequence[str], executed: Sequence[str] = ()) -> list[str]:
    return list(not_imported(names, executed))


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("kiosk", "kiosk"),
        ("kiosk.stall", "kiosk/stall"),
        ("kiosk.stall.shelf", "kiosk/stall/shelf.py"),
        ("till", "till.py"),
        ("market.hall", "market/hall"),
    ],
)
def test_it_is_found_and_not_imported(folder: Path, name: str, place: str) -> None:
    before = {*sys.modules}

    assert found([name]) == [str(folder / place)]

    assert not {each for each in {*sys.modules} - before if each.startswith(("kiosk", "market"))}


@pytest.mark.parametrize("name", ["market", "nowhere", "till.drawer", "kiosk.nowhere", "", ".."])
def test_a_namespace_has_no_file_and_what_is_nowhere_has_no_place(folder: Path, name: str) -> None:
    assert found([name]) == []


def test_what_this_process_has_imported_is_left_to_coverage_py(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kiosk = ModuleType("kiosk")
    kiosk.__file__ = str(folder / "kiosk" / "__init__.py")
    monkeypatch.setitem(sys.modules, "kiosk", kiosk)

    assert found(["kiosk"]) == []


def test_what_another_process_has_executed_tells_where_it_is() -> None:
    executed = ["/other/stand/__init__.py", "/other/stand/x.py", "/other/till.py", "/y/xtill.py"]

    assert found(["stand", "till_", "till"], executed) == ["/other/stand", "/other/till.py"]
    assert found(["stand.x"], executed) == ["/other/stand/x.py"]


def test_finders_that_fail_are_passed_over_and_others_are_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fails:
        def find_spec(self, name: str, path: object, target: object) -> None:
            raise RuntimeError

    class Editable:
        def find_spec(self, name: str, path: object, target: object) -> object:
            if name != "elsewhere":
                return None
            from importlib.util import spec_from_file_location

            return spec_from_file_location(name, folder / "till.py")

    monkeypatch.setattr(sys, "meta_path", [Fails(), Editable(), object(), *sys.meta_path])

    assert found(["elsewhere", "till"]) == [str(folder / "till.py")] * 2
