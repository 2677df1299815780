"""A line of the table of endpoints: a URL rule, and all that `GET /openapi.json` says of it.

Concurrency: made at the import; read by any thread after that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeAlias

from werkzeug.routing import Rule
from werkzeug.wrappers import Response

from wsgi_coverage import errors
from wsgi_coverage.web.parameters import FORMAT, Parameter

# By media type: the type of the body, as wsgi_coverage.web.schemas takes it; str of a text, bytes
# of anything else.
Content: TypeAlias = Mapping[str, object]
Errors: TypeAlias = Sequence[type[errors.WsgiCoverageError]]

JSON = "application/json"
PAGE: Content = {"text/html": str}
NOTHING: Content = {}  # of a redirect

ARGUMENT = re.compile(r"<(?:\w+:)?(\w+)>")
NAMES = {"identity": "id"}  # of arguments, where views have another name than the documentation

STORAGE: Errors = (errors.StorageError, *errors.StorageError.__subclasses__())
# Of every request; which of them apply depends on the access policy, too.
ANY: Errors = (
    errors.RequestError,
    errors.UnauthorizedError,
    errors.TooManyAttemptsError,
    errors.UntrustedHostError,
    errors.MethodNotAllowedError,
    errors.WsgiCoverageError,
    errors.CoverageChangedError,
    errors.NotMeasuringError,
    *STORAGE,
)
CHANGES: Errors = (errors.CrossSiteError, errors.BodyTooLargeError)  # of every POST and DELETE
# Of those that read the published report, or a snapshot.
READS: Errors = (errors.NoReportError, errors.RefusedReportError, errors.DamagedReportError)
READS_SNAPSHOT: Errors = (
    errors.UnknownSnapshotError,
    errors.DamagedReportError,
    errors.RefusedReportError,
    errors.ConfigurationError,  # flask-coverage's snapshots are opened when they are first read
    errors.BuildFailedError,
    errors.RefreshBusyError,
    errors.StoreUnavailableError,
)
# Of those that render a format when it is first asked for.
RENDERS: Errors = (
    errors.NoDataError,
    errors.NoSourceError,
    errors.ConfigurationError,
    errors.BuildFailedError,
)
# Of those that wait for the other workers, or for a build of another process.
GATHERS: Errors = (errors.RefreshBusyError, errors.StoreUnavailableError)
RESETS: Errors = (*GATHERS, errors.NotOursError)
BUILDS: Errors = (*GATHERS, errors.ConfigurationError, errors.BuildFailedError)


def json_of(body: object) -> Content:
    """Return the content of an answer that is always JSON."""
    return {JSON: body}


def json_or_page(body: object) -> Content:
    """Return the content of an answer that is JSON, or a page for browsers."""
    return {JSON: body, **PAGE}


class Route(Rule):
    """A rule that says what its view answers.

    Args:
        methods: one method, or several, with commas between.
        path: as werkzeug takes it.
        view: called with the request, `Control` and the arguments of the path.
        content: what its answer has.
        status: that of its answer.
        name: the operation's: the name of the client's method, where there is one.
        query: parameters, beside those that all endpoints of this kind have.
        form: of these, those that may stand in the body's form instead.
        errors: errors that the view raises, beside those that all endpoints of this kind do.
        changes: whether it changes something by a GET, too.
    """

    def __init__(
        self,
        methods: str,
        path: str,
        view: Callable[..., Any],
        content: Content,
        *,
        status: int = 200,
        name: str = "",
        query: Sequence[Parameter] = (),
        form: Sequence[Parameter] = (),
        errors: Errors = (),
        changes: bool = False,
    ) -> None:
        super().__init__(path, endpoint=view, methods=methods.split(", "))
        self.view = view
        self.name: str = name or view.__name__.lstrip("_")
        self.content = content
        self.status = status
        self.query: tuple[Parameter, ...] = (
            *query,
            *((FORMAT,) if _negotiates(content, query) else ()),
        )
        self.form = form
        self.errors = errors
        self.changes: bool = changes or methods != "GET"

    @property
    def verbs(self) -> list[str]:
        """The methods, without HEAD and OPTIONS, which work everywhere."""
        return sorted((self.methods or set()) - {"HEAD", "OPTIONS"})

    @property
    def template(self) -> str:
        """The path as OpenAPI has it: /snapshots/{id}."""
        return ARGUMENT.sub(lambda found: f"{{{NAMES.get(found[1], found[1])}}}", self.rule)

    @property
    def arguments_of_path(self) -> list[str]:
        """The names in the path, in its order."""
        return re.findall(r"{(\w+)}", self.template)

    @property
    def about(self) -> str:
        """What it does, by the first sentence of its view's docstring; empty under python -OO."""
        sentence = " ".join((self.view.__doc__ or "").partition("\n\n")[0].split())
        return re.sub(r"^[A-Z]+ .*?: ", "", sentence).rstrip(".")


def _negotiates(content: Content, query: Collection[Parameter]) -> bool:
    names = {each.name for each in query}
    return content.keys() == {JSON, *PAGE} and FORMAT.name not in names


def of_report(
    path: str,
    view: Callable[..., Response],
    content: Content,
    *,
    status: int = 200,
    name: str = "",
    query: Sequence[Parameter] = (),
    errors: Errors = (),
) -> tuple[Route, Route]:
    """Return the routes to the same of the published report, and of a snapshot."""
    name = name or view.__name__
    return (
        Route(
            "GET",
            path,
            view,
            content,
            status=status,
            name=name,
            query=query,
            errors=[*READS, *errors],
        ),
        Route(
            "GET",
            f"/snapshots/<identity>{path}",
            view,
            content,
            status=status,
            name=f"{name}_of_snapshot",
            query=query,
            errors=[*READS_SNAPSHOT, *errors],
        ),
    )
