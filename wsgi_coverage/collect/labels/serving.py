"""Label the requests of a program that nothing wraps, where its WSGI server takes the application.

`wsgi-coverage run` and `test` have the processes that they measure do so. Each server in `SERVERS`
has a method after which an attribute of it is the application. That method is replaced as soon as
the server's module has been imported, and then wraps the application in LabellingApplication.

Nothing is raised into the program: a server that is not as expected serves without labels, and
/health has a problem.

Concurrency: `begin` runs in the main thread, before the program's first line. Modules are imported,
and servers made, in any thread.
"""

from __future__ import annotations

import functools
import logging
import sys
from _thread import get_ident
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NamedTuple

from wsgi_coverage.collect import forks
from wsgi_coverage.collect.sources.imported_before import OURS
from wsgi_coverage.collect.worker import Worker

log: logging.Logger = logging.getLogger("wsgi_coverage")

OFF = "off"


class Labels(NamedTuple):
    """Which requests are labelled, as in the settings `contexts` and `contexts_include`."""

    which: str = OFF  # off, header or route
    include: tuple[str, ...] = ()  # patterns of installed sources that labels are for, too


class Taking(NamedTuple):
    """Where a server takes its application."""

    owner: str  # the class
    method: str  # the method that takes it
    attribute: str  # the attribute of an instance that is the application, once it is taken


# By module. Of gunicorn's workers, those that are named serve WSGI; others take ASGI applications.
SERVERS: Mapping[str, Taking] = {
    "cheroot.wsgi": Taking("Server", "__init__", "wsgi_app"),
    "gevent.pywsgi": Taking("WSGIServer", "__init__", "application"),
    "gunicorn.workers.base_async": Taking("AsyncWorker", "load_wsgi", "wsgi"),
    "gunicorn.workers.gthread": Taking("ThreadWorker", "load_wsgi", "wsgi"),
    "gunicorn.workers.sync": Taking("SyncWorker", "load_wsgi", "wsgi"),
    "waitress.server": Taking("BaseWSGIServer", "__init__", "application"),
    "werkzeug.serving": Taking("BaseWSGIServer", "__init__", "app"),
    "wsgiref.simple_server": Taking("WSGIServer", "set_app", "application"),
}

_labels: Labels | None = None


def begin(worker: Worker, labels: Labels) -> None:
    """Label requests of this program from now on. Raises nothing.

    Args:
        worker: this process's worker.
        labels: which requests.
    """
    global _labels
    if _labels is not None:
        return
    _labels = labels
    if labels.which == OFF:
        return
    worker.engine.labelled_too += labels.include
    for name in SERVERS:
        if name in sys.modules:
            _replace(name, sys.modules[name])
    sys.meta_path.insert(0, _Finder())


def labels() -> Labels | None:
    """Return which requests `run` or `test` has had labelled; None: in a process of neither."""
    return _labels


class _Finder:
    """Finds the modules of servers where other finders do."""

    def __init__(self) -> None:
        self._under_way: set[tuple[int, str]] = set()  # id of the thread, and the module's name

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a server's module, whose loader replaces the method; None: others."""
        if name not in SERVERS:
            return None
        search = get_ident(), name
        if search in self._under_way:  # another finder searches by all of them, as this one does
            return None
        self._under_way.add(search)
        try:
            spec = _found_by_others(self, name, path, target)
        finally:
            self._under_way.discard(search)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            loader: Any = _Loader(name, spec.loader)
            spec.loader = loader
        return spec


def _found_by_others(
    finder: _Finder, name: str, path: Sequence[str] | None, target: ModuleType | None
) -> ModuleSpec | None:
    others: list[Any] = [each for each in sys.meta_path if each is not finder]
    for each in others:
        if hasattr(each, "find_spec"):
            spec: ModuleSpec | None = each.find_spec(name, path, target)
            if spec is not None:
                return spec
    return None


class _Loader:
    """Loads a server's module by another loader, which is the module's own from then on.

    Args:
        name: the module's name.
        loader: the other loader.
    """

    def __init__(self, name: str, loader: Any) -> None:
        self._name = name
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        if name == "_loader":  # of a copy that is being made
            raise AttributeError(name)
        return getattr(self._loader, name)

    def exec_module(self, module: Any) -> None:
        """Execute the module; then replace the method that takes the application."""
        module.__loader__ = module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        _replace(self._name, module)


def _replace(name: str, module: Any) -> None:
    """Replace the method of a server by one that wraps the application that it takes."""
    owner, method, attribute = SERVERS[name]
    try:
        kind = getattr(module, owner)
        setattr(kind, method, _wrapping(getattr(kind, method), name, attribute))
    except Exception as error:  # noqa: BLE001  the program goes on
        _note(name, error)


def _wrapping(take: Callable[..., Any], name: str, attribute: str) -> Callable[..., Any]:
    @functools.wraps(take)
    def taking(server: Any, *arguments: Any, **keywords: Any) -> Any:
        result = take(server, *arguments, **keywords)
        try:
            _wrap(server, attribute)
        except Exception as error:  # noqa: BLE001  the server goes on
            _note(name, error)
        return result

    return taking


def _wrap(server: Any, attribute: str) -> None:
    app = getattr(server, attribute)
    if app is None or _is_ours(server) or _is_ours(app):
        return
    from wsgi_coverage.collect.labels.requests import LabellingApplication  # for servers alone

    by_route = _labels is not None and _labels.which == "route"
    setattr(server, attribute, LabellingApplication(app, forks.current, by_route=by_route))


def _is_ours(found: object) -> bool:
    """Tell the side port's server, and applications that label requests themselves."""
    return type(found).__module__.partition(".")[0] in OURS


def _note(name: str, error: Exception) -> None:
    problem = f"requests to {name} are not labelled: {type(error).__name__}: {error}"
    worker = forks.current()
    if worker is None:
        log.warning("%s", problem)
    else:
        worker.note_problem(problem)
