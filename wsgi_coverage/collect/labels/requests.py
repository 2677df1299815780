"""Label requests: by a header that they have, or by their route.

Concurrency: functions without state, and an application whose requests are independent.
"""

from __future__ import annotations

import io
import logging
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, NamedTuple

from wsgi_coverage.collect.labels.labelling import Labelled, Labelling, is_labelled
from wsgi_coverage.collect.worker import Worker
from wsgi_coverage.data.phases import JOIN, can_be_label
from wsgi_coverage.settings import Environ

log: logging.Logger = logging.getLogger("wsgi_coverage")

HEADER = "X-Coverage-Context"
IN_ENVIRON, BAGGAGE = "HTTP_X_COVERAGE_CONTEXT", "HTTP_BAGGAGE"
KEY = "coverage.context"  # in the header `baggage` of W3C
MOST = 200  # characters of a label
# coverage.py's HTML report, up to 7.17.4, puts contexts into a script as they are.
UNSAFE = ("</", "<!")
UNSUPPORTED = "unsupported"
SEGMENTS = 2  # of a path, where a framework tells no route
WsgiApplication = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


class Asked(NamedTuple):
    """The label that a request asks for."""

    label: str | None
    why_not: str = ""  # what is wrong with the one that it has


NONE = Asked(None)


def asked(environ: Environ) -> Asked:
    """Return the label that the headers of a request ask for."""
    raw = environ.get(IN_ENVIRON)
    if raw is None:
        baggage = environ.get(BAGGAGE)
        raw = None if baggage is None else _in_baggage(baggage)
        if raw is None:
            return NONE
    try:
        label = raw.encode("latin-1").decode()
    except (UnicodeError, AttributeError):
        return Asked(None, "it is not UTF-8")
    label = label.strip(" \t")
    why_not = why_no_label(label)
    return Asked(label) if why_not is None else Asked(None, why_not)


def why_no_label(label: str) -> str | None:
    """Return why a text cannot be a label; None: it can."""
    if not label:
        return "it is empty"
    if len(label) > MOST:
        return f"it has more than {MOST} characters"
    if any(_is_control(each) for each in label):
        return "it has control characters"
    if not can_be_label(label):
        return "it ends with the name of a phase, load or runtime"
    if any(each in label for each in UNSAFE):
        return f"it has {' or '.join(UNSAFE)}"
    return None


def opened(worker: Worker | None, label: str) -> tuple[Labelled | None, str]:
    """Return an open request of this process; or None, and what to say of the label."""
    if worker is None:
        return None, UNSUPPORTED
    try:
        return worker.engine.open_labelled(label), "ignored: there are too many labels"
    except RuntimeError:  # there are no labels here
        return None, UNSUPPORTED
    except Exception:
        log.exception("what runs for a label cannot be recorded; it runs without one")
        return None, UNSUPPORTED


def _in_baggage(baggage: str) -> str | None:
    """Return the label in a header `baggage`, as the bytes of its UTF-8; None: it has none."""
    for member in baggage.split(","):
        name, is_there, value = member.partition(";")[0].partition("=")
        if is_there and name.strip() == KEY:
            return urllib.parse.unquote(value.strip(), encoding="latin-1")
    return None


def _is_control(character: str) -> bool:
    return character < " " or "\x7f" <= character <= "\x9f" or character in "\u2028\u2029"


def route_of(environ: Environ) -> str:
    """Return the method and the route of a request that has been answered."""
    rule = getattr(getattr(environ.get("werkzeug.request"), "url_rule", None), "rule", None)
    if not isinstance(rule, str):
        path = (
            str(environ.get("PATH_INFO", "")).encode("latin-1", "replace").decode(errors="replace")
        )
        rule = "/" + "/".join(path.strip("/").split("/")[:SEGMENTS])
    label = f"{environ.get('REQUEST_METHOD', '')} {rule}"
    for each in (*UNSAFE, JOIN):
        label = label.replace(each, "?")
    return "".join("?" if _is_control(each) else each for each in label)[:MOST]


class LabellingApplication:
    """A WSGI application that records labelled requests of another one.

    Args:
        app: the application.
        worker: returns the worker of this process; None: it is not measured.
        by_route: whether every request is labelled by its route; else those that ask for a label.
    """

    def __init__(
        self, app: WsgiApplication, worker: Callable[[], Worker | None], *, by_route: bool
    ) -> None:
        self._app = app
        self._worker = worker
        self._by_route = by_route

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Pass a request on; record what runs for it, if it has a label.

        An error of the application is raised as without: its traceback shows no line of this file.
        """
        try:
            if not self._by_route and IN_ENVIRON not in environ and BAGGAGE not in environ:
                return self._app(environ, start_response)
            return self._respond(environ, start_response)
        except BaseException as error:
            error.__traceback__ = _of_the_application(error.__traceback__)
            raise  # which adds no line for this function again

    def _respond(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        label: str | None = ""  # of a route, it is known at the end
        if not self._by_route:
            label, why_not = asked(environ)
            if label is None:
                if why_not:
                    start_response = _saying(start_response, f"ignored: {why_not}")
                return self._app(environ, start_response)
        if is_labelled():  # by an application around this one
            return self._app(environ, start_response)
        assert label is not None  # noqa: S101  for the type checkers
        labelled, why_not = opened(self._worker(), label)
        if labelled is None:
            if not self._by_route:
                start_response = _saying(start_response, why_not)
            return self._app(environ, start_response)
        return self._run(labelled, environ, start_response)

    def __repr__(self) -> str:
        return repr(self._app)

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the application, for whoever looks at what a server serves."""
        if name == "_app":  # of a copy that is being made
            raise AttributeError(name)
        return getattr(self._app, name)

    def _run(
        self, labelled: Labelled, environ: Environ, start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        token = Labelling.enter(labelled)
        try:
            result = self._app(environ, start_response)
        except BaseException:
            self._end(labelled, environ)
            raise
        finally:
            Labelling.leave(token)
        kind = type(result)
        if kind in (list, tuple) or _is_for_the_server(result, environ):
            self._end(labelled, environ)
            return result
        made = _SizedResult if hasattr(kind, "__len__") else _Result
        return made(
            result,
            labelled,
            lambda: self._end(labelled, environ, is_over=False),
            lambda: self._end(labelled, environ),
            lambda: self._abandon(labelled),
        )

    def _end(self, labelled: Labelled, environ: Environ, *, is_over: bool = True) -> None:
        if not labelled.is_open:  # in a forked child: the request goes on in its parent
            return
        worker = self._worker()
        try:
            if self._by_route:
                labelled.label = route_of(environ)
            if worker is not None and is_over:
                worker.engine.close_labelled(labelled)
            elif worker is not None:
                worker.engine.store_labelled(labelled)
        except Exception:
            log.exception("what ran for a labelled request could not be stored")
            self._abandon(labelled)

    def _abandon(self, labelled: Labelled) -> None:
        worker = self._worker()
        if labelled.is_open and worker is not None:
            worker.engine.abandon_labelled(labelled)


def _of_the_application(trace: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the lines of this file that it begins with."""
    at = trace
    while at is not None and at.tb_frame.f_code.co_filename == __file__:
        at = at.tb_next
    return at or trace


def _is_for_the_server(result: Any, environ: Environ) -> bool:
    """Tell whether a server sends a result in a way of its own, or refuses it.

    That is what its `wsgi.file_wrapper` has returned: uWSGI's is the file itself.
    """
    kind = type(result)
    wrapper = environ.get("wsgi.file_wrapper")
    if isinstance(result, io.IOBase) or (isinstance(wrapper, type) and isinstance(result, wrapper)):
        return True
    return not (hasattr(kind, "__iter__") or hasattr(kind, "__getitem__"))


class _Result:
    """The result of an application, of which each step runs for a labelled request.

    Args:
        result: the result.
        labelled: the request.
        store: called when the result has ended, for servers that do not close it.
        end: called when it was closed.
        abandon: called when it was freed without that.
    """

    def __init__(
        self,
        result: Iterable[bytes],
        labelled: Labelled,
        store: Callable[[], None],
        end: Callable[[], None],
        abandon: Callable[[], None],
    ) -> None:
        self._result = result
        self._labelled = labelled
        self._store = store
        self._end: Callable[[], None] | None = end
        self._abandon = abandon
        self._iterator: Iterator[bytes] | None = None

    def __iter__(self) -> _Result:
        self._iterator = self._labelled_call(lambda: iter(self._result))
        return self

    def __next__(self) -> bytes:
        if self._iterator is None:
            iter(self)
        assert self._iterator is not None  # noqa: S101  for the type checkers
        token = Labelling.enter(self._labelled)
        try:
            return next(self._iterator)
        except StopIteration:
            self._store()
            raise
        finally:
            Labelling.leave(token)

    def close(self) -> None:
        """Close the application's result, and end the request."""
        try:
            close = getattr(self._result, "close", None)
            if close is not None:
                self._labelled_call(close)
        finally:
            end, self._end = self._end, None
            if end is not None:
                end()

    def _labelled_call(self, call: Callable[[], Any]) -> Any:
        token = Labelling.enter(self._labelled)
        try:
            return call()
        finally:
            Labelling.leave(token)

    def __del__(self) -> None:
        if self._end is not None:  # the server has not closed it
            self._abandon()


class _SizedResult(_Result):
    """Such a result of known length, of which servers tell the content's length."""

    def __len__(self) -> int:
        return len(self._result)  # type: ignore[arg-type]


def _saying(start_response: Callable[..., Any], what: str) -> Callable[..., Any]:
    """Return a `start_response` that adds the header."""

    def start(status: str, headers: list[tuple[str, str]], *more: Any, **named: Any) -> Any:
        return start_response(status, [*headers, (HEADER, what)], *more, **named)

    return start
