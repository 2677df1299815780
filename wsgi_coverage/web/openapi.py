"""Describe endpoints by an OpenAPI 3.1 document, made of their table and of the types of answers.

What depends on the access policy is said as it is for the application that answers.

Concurrency: functions without state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import quote

from wsgi_coverage import __version__, errors
from wsgi_coverage.model import JsonObject
from wsgi_coverage.model.answers import Problem, Snapshot, Taken
from wsgi_coverage.settings import Settings
from wsgi_coverage.web import route
from wsgi_coverage.web.parameters import BACK, OF_PATH, Parameter
from wsgi_coverage.web.route import JSON, PAGE, Content, Route
from wsgi_coverage.web.schemas import Schemas

OPENAPI = "3.1.0"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
FORM = "application/x-www-form-urlencoded"
BASIC = "basic"  # the name of the security scheme

ACCESS_BY_CALLBACK = """\
The application's own `auth` callback decides who is admitted: by its session, for instance."""
ACCESS_BY_PASSWORD = "A user name and a password are asked for by HTTP Basic."  # noqa: S105
ACCESS_BY_DEBUG = "No credentials are asked for; only local host names are served."
OF_CALLBACK = "Whatever response the application's `auth` callback returns instead of yes or no."

ID = "id"  # of a snapshot, in a path
# Where the id of a snapshot is in an answer, by the answer's type.
ID_IN: dict[object, str] = {Taken: "/id", list[Snapshot]: "/0/id"}

HEADERS = {  # by status
    303: ("Location", "The dashboard, or the page that `back` names."),
    308: ("Location", "The same with a slash at its end."),
    401: ("WWW-Authenticate", "How to ask again."),
    405: ("Allow", "The methods that apply."),
    429: ("Retry-After", "Seconds to wait before another try."),
    503: ("Retry-After", "Seconds to wait before another try."),
}


class Access(NamedTuple):
    """What of the access policy changes the document."""

    by_callback: bool
    by_password: bool
    checks_host: bool  # whether only some host names are served

    @classmethod
    def of(cls, settings: Settings) -> Access:
        """Return that of an application."""
        by_callback = settings.auth is not None
        by_password = not by_callback and settings.password is not None
        checks_host = settings.trusted_hosts is not None or not (by_callback or by_password)
        return cls(by_callback, by_password, checks_host)

    @property
    def about(self) -> str:
        """Who is admitted, as a sentence."""
        if self.by_callback:
            return ACCESS_BY_CALLBACK
        return ACCESS_BY_PASSWORD if self.by_password else ACCESS_BY_DEBUG

    def applies(self, error: type[errors.WsgiCoverageError]) -> bool:
        """Tell whether an error can be an answer under this policy."""
        if error is errors.UnauthorizedError:
            return self.by_callback or self.by_password
        if error is errors.TooManyAttemptsError:
            return self.by_password
        return error is not errors.UntrustedHostError or self.checks_host


def document(
    routes: Iterable[Route],
    access: Access,
    prefix: str,
    *,
    title: str,
    about: str,
    negotiates: bool = True,
) -> JsonObject:
    """Return the OpenAPI document of a table of endpoints.

    Args:
        routes: the table.
        access: the access policy.
        prefix: where the paths begin, as in environ: SCRIPT_NAME and the prefix.
        title: what answers.
        about: what it is for, and what holds for every path.
        negotiates: whether errors are pages for browsers, and a change leads them to one.
    """
    routes = tuple(routes)
    describing = _Describing(access, routes, negotiates=negotiates)
    paths: JsonObject = {}
    for each in routes:
        item = paths.setdefault(each.template, {})
        for verb in each.verbs:
            item[verb.lower()] = describing.operation(each, verb)
    components = describing.components()
    found: JsonObject = {
        "openapi": OPENAPI,
        "info": {
            "title": title,
            "version": __version__,
            "description": f"{about} {access.about}",
        },
        "jsonSchemaDialect": DIALECT,
        "servers": [{"url": quote(prefix.encode("latin-1")) or "/"}],
        "paths": paths,
        "components": components,
    }
    if access.by_password:
        components["securitySchemes"] = {BASIC: {"type": "http", "scheme": "basic"}}
        found["security"] = [{BASIC: []}]
    return found


class _Describing:
    """Describes operations, and collects what they refer to."""

    def __init__(self, access: Access, routes: Iterable[Route], *, negotiates: bool) -> None:
        self._access = access
        self._of_snapshots = [
            _operation_id(each, verb)
            for each in routes
            for verb in each.verbs
            if ID in each.arguments_of_path
        ]
        self._negotiates = negotiates
        self._schemas = Schemas()
        self._responses: JsonObject = {}

    def components(self) -> JsonObject:
        """Return what the operations refer to."""
        return {"schemas": self._schemas.components, "responses": self._responses}

    def operation(self, of: Route, verb: str) -> JsonObject:
        """Return the operation of one method of a route."""
        found: JsonObject = {
            "operationId": _operation_id(of, verb),
            "summary": of.about,
            "parameters": [*self._parameters(of)],
            "responses": self._answers(of),
        }
        if of.form and verb == "POST":
            properties = {each.name: _schema(each) for each in of.form}
            schema = {"type": "object", "properties": properties}
            found["requestBody"] = {"required": False, "content": {FORM: {"schema": schema}}}
        return found

    def _parameters(self, of: Route) -> Iterable[JsonObject]:
        for name in of.arguments_of_path:
            yield _parameter(OF_PATH[name], "path")
        for each in of.query:
            yield _parameter(each, "query")
        if self._leads_to_a_page(of):
            yield _parameter(BACK, "query")

    def _leads_to_a_page(self, of: Route) -> bool:
        return self._negotiates and of.changes

    def _answers(self, of: Route) -> JsonObject:
        answer = {"description": f"{of.about or of.name}.", **_headers(of.status)}
        if of.content:
            answer["content"] = self._content(of.content)
        if links := self._links(of.content):
            answer["links"] = links
        found: JsonObject = {str(of.status): answer}
        if self._leads_to_a_page(of):
            about = "To those who do not ask for JSON by `Accept`."
            found["303"] = {"description": about, **_headers(303)}
        for status, slugs in _by_status(self._errors(of)).items():
            found[str(status)] = self._problem(status, slugs)
        if self._access.by_callback:
            found["default"] = {"description": OF_CALLBACK}
        return dict(sorted(found.items()))

    def _links(self, content: Content) -> JsonObject:
        """Return how the id of a snapshot in an answer is that in the paths of other operations."""
        where = next((ID_IN[kind] for kind in content.values() if kind in ID_IN), None)
        if where is None:
            return {}
        parameters = {ID: f"$response.body#{where}"}
        return {
            each: {"operationId": each, "parameters": parameters} for each in self._of_snapshots
        }

    def _errors(self, of: Route) -> list[type[errors.WsgiCoverageError]]:
        found = [*route.ANY, *of.errors]
        if of.changes:
            found += route.CHANGES
        if of.query:
            found.append(errors.BadParameterError)
        if of.arguments_of_path:
            found.append(errors.NotFoundError)
        return [each for each in found if self._access.applies(each)]

    def _content(self, content: Content) -> JsonObject:
        return {
            media_type: {} if kind is bytes else {"schema": self._schemas.of(kind)}
            for media_type, kind in content.items()
        }

    def _problem(self, status: int, slugs: Mapping[str, str]) -> JsonObject:
        """Return a reference to the response of errors with a status."""
        name = f"{status}.{'.'.join(slugs)}"
        if name not in self._responses:
            problem = self._schemas.of(Problem)
            problem["properties"] = {"error": {"enum": [*slugs]}}
            content: JsonObject = {JSON: {"schema": problem}}
            if self._negotiates:
                content |= self._content(PAGE)
            self._responses[name] = {
                "description": " ".join(f"`{slug}`: {about}" for slug, about in slugs.items()),
                **_headers(status),
                "content": content,
            }
        return {"$ref": f"#/components/responses/{name}"}


def _operation_id(of: Route, verb: str) -> str:
    return of.name if verb == of.verbs[0] else f"{of.name}_by_{verb.lower()}"


def _by_status(
    raised: Iterable[type[errors.WsgiCoverageError]],
) -> dict[int, dict[str, str]]:
    """Return the slugs of errors, and what they mean, by status."""
    found: dict[int, dict[str, str]] = {}
    for each in sorted(set(raised), key=lambda error: error.slug):
        about = " ".join((each.__doc__ or HTTPStatus(each.status).phrase).split())
        found.setdefault(each.status, {})[each.slug] = about
    return found


def _headers(status: int) -> JsonObject:
    if status not in HEADERS:
        return {}
    name, about = HEADERS[status]
    header = {"description": about, "required": True, "schema": {"type": "string"}}
    return {"headers": {name: header}}


def _schema(of: Parameter) -> dict[str, Any]:
    return {"description": of.about, **of.schema}


def _parameter(of: Parameter, where: str) -> JsonObject:
    return {
        "name": of.name,
        "in": where,
        "description": of.about,
        "required": of.is_required,
        "schema": dict(of.schema),
    }
