"""Servers take an application to be labelled, whatever they and other import hooks are like."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import inspect
import sys
import threading
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wsgi_coverage.collect.labels import serving
from wsgi_coverage.collect.labels.requests import LabellingApplication
from wsgi_coverage.collect.labels.serving import SERVERS, Labels, Taking
from wsgi_coverage.middleware import CoverageMiddleware

NAME = "kiosk_server"
TAKING = Taking("Server", "__init__", "app")
SERVER = """
class Server:
    def __init__(self, app=None, *, port=80):
        self.app = app
        self.port = port
"""


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"x"]


@pytest.fixture
def problems(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is noted for /health, of a process where nothing is labelled yet."""
    noted: list[str] = []
    worker = SimpleNamespace(
        note_problem=noted.append, engine=SimpleNamespace(labelled_too=("before",))
    )
    monkeypatch.setattr(serving, "_labels", None)
    monkeypatch.setattr(serving.forks, "current", lambda: worker)
    monkeypatch.setattr(serving, "SERVERS", {NAME: TAKING})
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    return noted


@pytest.fixture
def module(
    problems: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Import a server, once requests are labelled."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, NAME, sys)  # so that what was there is put back
    del sys.modules[NAME]

    def module(text: str = SERVER, *, which: str = "header") -> Any:
        (tmp_path / f"{NAME}.py").write_text(text)
        importlib.invalidate_caches()
        begin(which)
        return importlib.import_module(NAME)

    return module


def begin(which: str, *include: str) -> Any:
    worker: Any = serving.forks.current()
    serving.begin(worker, Labels(which, include))
    return worker


def test_the_application_that_a_server_takes_is_labelled(
    module: Callable[..., Any], problems: list[str]
) -> None:
    server = module().Server(application, port=81)

    assert type(server.app) is LabellingApplication
    assert server.app({}, lambda *_: None) == [b"x"]
    assert server.port == 81
    assert problems == []


def test_the_module_is_as_without(module: Callable[..., Any]) -> None:
    found = module()

    assert type(found.__loader__) is SourceFileLoader
    assert found.__spec__.loader is found.__loader__
    assert "port=80" in inspect.getsource(found)
    assert str(inspect.signature(found.Server)) == "(app=None, *, port=80)"
    assert found.Server.__init__.__qualname__ == "Server.__init__"


def test_a_server_that_was_imported_before_and_one_that_is_imported_anew_are_labelled(
    module: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = module(which="off")
    assert found.Server(application).app is application
    monkeypatch.setattr(serving, "_labels", None)

    begin("header")

    assert type(found.Server(application).app) is LabellingApplication
    assert type(importlib.reload(found).Server(application).app) is LabellingApplication


def test_without_labels_nothing_is_changed(module: Callable[..., Any]) -> None:
    before = [*sys.meta_path]

    found = module(which="off")

    assert sys.meta_path == before
    assert found.Server(application).app is application
    assert serving.labels() == Labels("off")


def test_what_has_begun_is_not_begun_again(module: Callable[..., Any]) -> None:
    module()
    before = [*sys.meta_path]

    begin("route")

    assert sys.meta_path == before
    assert serving.labels() == Labels("header")


def test_patterns_of_installed_sources_are_added(problems: list[str]) -> None:
    worker = begin("header", "*/shop/*")

    assert worker.engine.labelled_too == ("before", "*/shop/*")


@pytest.mark.parametrize(
    "app",
    [
        None,
        CoverageMiddleware(application, disabled=True),
        LabellingApplication(application, lambda: None, by_route=False),
    ],
    ids=["none", "CoverageMiddleware", "labelled"],
)
def test_what_labels_its_requests_itself_is_left_as_it_is(
    module: Callable[..., Any], app: Any
) -> None:
    assert module().Server(app).app is app


def test_a_server_of_this_project_serves_no_requests_of_the_program(
    module: Callable[..., Any],
) -> None:
    side_port = type("SidePort", (module().Server,), {"__module__": "wsgi_coverage.sideport"})

    assert side_port(application).app is application


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (SERVER.replace("Server", "Daemon"), "has no attribute 'Server'"),
        (SERVER.replace("self.app =", "self.application ="), "no attribute 'app'"),
        (SERVER.replace("self.app =", "__slots__ ="), "no attribute 'app'"),
        (
            f"{SERVER}\n    def __setattr__(self, name, value):\n"
            "        if name in vars(self):\n            raise ValueError('taken')\n"
            "        vars(self)[name] = value\n",
            "ValueError: taken",
        ),
    ],
    ids=["class", "attribute", "none", "fixed"],
)
def test_a_server_that_is_not_as_expected_works_and_it_is_said(
    module: Callable[..., Any], problems: list[str], text: str, why: str
) -> None:
    found = module(text)

    server = (getattr(found, "Server", None) or found.Daemon)(application, port=82)

    assert server.port == 82
    assert len(problems) == 1
    assert problems[0].startswith(f"requests to {NAME} are not labelled: ")
    assert why in problems[0]


def test_an_import_that_fails_fails_as_without_and_can_be_tried_again(
    module: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.raises(ZeroDivisionError):
        module("1 / 0")
    assert NAME not in sys.modules
    (tmp_path / f"{NAME}.py").write_text(SERVER + "\n\n")
    importlib.invalidate_caches()

    found = importlib.import_module(NAME)

    assert type(found.Server(application).app) is LabellingApplication


def test_a_server_that_is_not_installed_is_not_found(problems: list[str]) -> None:
    begin("header")

    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(NAME)


def test_a_finder_that_searches_by_all_others_is_not_searched_by_for_ever(
    module: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hook:
        def __init__(self) -> None:
            self.searching = False

        def find_spec(self, name: str, path: object, target: object) -> Any:
            if name != NAME or self.searching:
                return None
            self.searching = True
            try:
                return importlib.util.find_spec(name)
            finally:
                self.searching = False

    sys.meta_path.insert(0, Hook())
    first = module()
    server = first.Server(application)
    del sys.modules[NAME]
    sys.meta_path.insert(0, Hook())
    again = importlib.import_module(NAME).Server(application)

    assert type(server.app) is type(again.app) is LabellingApplication


def test_a_module_that_several_threads_import_is_labelled(
    module: Callable[..., Any], problems: list[str]
) -> None:
    module()
    del sys.modules[NAME]
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(importlib.import_module(NAME)))
        for _ in range(8)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert len({id(each) for each in found}) == 1
    assert type(found[0].Server(application).app) is LabellingApplication
    assert problems == []


def test_a_module_that_is_loaded_lazily_is_labelled_when_it_is_used(
    module: Callable[..., Any],
) -> None:
    module()
    spec = importlib.util.find_spec(NAME)
    del sys.modules[NAME]
    spec = importlib.util.find_spec(NAME)
    assert spec is not None
    assert spec.loader is not None
    spec.loader = importlib.util.LazyLoader(spec.loader)
    lazy: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(lazy)

    assert type(lazy.Server(application).app) is LabellingApplication
    assert type(lazy.__loader__) is SourceFileLoader


def test_what_is_found_and_not_imported_can_be_read_and_copied(module: Callable[..., Any]) -> None:
    module()
    del sys.modules[NAME]
    spec: Any = importlib.util.find_spec(NAME)

    assert spec.loader.get_source(NAME) == SERVER
    assert copy.copy(spec.loader).get_filename(NAME) == spec.origin


def test_attributes_of_the_application_are_there() -> None:
    app: Any = LabellingApplication(
        SimpleNamespace(config={"a": 1}),  # type: ignore[arg-type]
        lambda: None,
        by_route=False,
    )

    assert app.config == {"a": 1}
    assert copy.copy(app).config == {"a": 1}
    assert not hasattr(app, "routes")


@pytest.mark.parametrize("name", SERVERS)
def test_the_servers_are_as_expected(name: str) -> None:
    package = name.partition(".")[0]
    pytest.importorskip(package, reason=f"{package} is not installed")
    owner, method, attribute = SERVERS[name]

    kind = getattr(importlib.import_module(name), owner)

    assert callable(getattr(kind, method))
    assert any(f"self.{attribute} = " in inspect.getsource(each) for each in kind.__mro__[:-1])
