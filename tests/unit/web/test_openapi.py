"""The OpenAPI document has every endpoint, parameter, answer and error; what lacks is named.

That it is a valid document is checked where the packages for that are: tests/e2e/test_openapi.py.
"""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

import pytest

import wsgi_coverage
from wsgi_coverage import errors
from wsgi_coverage.client import Client
from wsgi_coverage.control import Control
from wsgi_coverage.errors import WsgiCoverageError
from wsgi_coverage.model import Operation, answers
from wsgi_coverage.settings import Settings
from wsgi_coverage.sideport import app as sideport
from wsgi_coverage.web import openapi
from wsgi_coverage.web.openapi import Access
from wsgi_coverage.web.route import Route
from wsgi_coverage.web.routes import ROUTES, URL_MAP
from wsgi_coverage.web.schemas import Schemas

WEB = Path(wsgi_coverage.__file__).parent / "web"
REFERENCE = Path(__file__).parents[3] / "docs" / "reference"
BY_CALLBACK = Access(by_callback=True, by_password=False, checks_host=True)
BY_PASSWORD = Access(by_callback=False, by_password=True, checks_host=False)
# Raised where the application is constructed, or the command line runs.
NOT_BY_VIEWS = {"settings", "auth-not-configured", "unsupported-python"}
# By view: what it catches, or does not cause.
NOT_RAISED = {
    "overview": {
        "NoReportError",
        "UnknownSnapshotError",
        "UnknownContextError",
        "BuildFailedError",
    },
    "snapshot_data": {"BadParameterError"},
}
READS_PARAMETER = re.compile(
    r'(?:args\.get\(|(?:flag|number|choice|compared)\(\s*request,\s*)"(\w+)"'
)


def described(
    access: Access = BY_CALLBACK,
    prefix: str = "/debug/coverage",
    routes: tuple[Route, ...] = ROUTES,
) -> dict[str, Any]:
    return openapi.document(routes, access, prefix, title="t", about="a.")


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for verb, operation in item.items():
            yield verb.upper(), path, operation


def slugs_of(operation: dict[str, Any], document: dict[str, Any]) -> set[str]:
    """The slugs of all answers of an operation that are errors."""
    found = set()
    for answer in operation["responses"].values():
        if "$ref" in answer:
            name = answer["$ref"].rpartition("/")[2]
            content = document["components"]["responses"][name]["content"]
            schema = content["application/json"]["schema"]
            found |= {*schema["properties"]["error"]["enum"]}
    return found


# Complete


def test_every_rule_of_the_url_map_is_a_route_that_is_described() -> None:
    found = {(verb, path) for verb, path, _ in operations(described())}

    for rule in URL_MAP.iter_rules():
        assert isinstance(rule, Route), f"{rule.rule}: make it a Route that says what it answers"
        for verb in rule.verbs:
            assert (verb, rule.template) in found, f"{verb} {rule.rule} is not in ROUTES"


def test_every_path_of_the_reference_is_described_and_the_other_way_round() -> None:
    text = (REFERENCE / "http.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([A-Z]+) \| `(/.*?)` \|", text, re.M)

    every = operations(described())
    found = {(verb, path.replace("{", "<").replace("}", ">")) for verb, path, _ in every}
    assert {*rows} == {each for each in found if not each[1].endswith("/html")}


def test_every_error_that_a_view_can_raise_is_an_answer_of_some_operation() -> None:
    listed: set[str] = set().union(
        *(
            slugs_of(operation, document)
            for document in (described(BY_CALLBACK), described(BY_PASSWORD))
            for _, _, operation in operations(document)
        )
    )

    every = {
        each.slug
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, WsgiCoverageError)
    }
    assert every - listed == NOT_BY_VIEWS, "no route in web/routes.py says that it raises these"
    assert listed <= every


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.verbs[0]} {route.rule}")
def test_what_the_methods_of_control_raise_is_what_their_routes_refuse(route: Route) -> None:
    document = described(routes=(route,))
    [(_, _, operation)] = operations(document)
    listed = slugs_of(operation, document)

    source = inspect.getsource(route.view)
    for name in re.findall(r"control\.(\w+)\(", source):
        named = re.findall(r"\b\w+Error\b", raises(getattr(Control, name)))
        for error in {*named} - NOT_RAISED.get(route.view.__name__, set()):
            assert getattr(errors, error).slug in listed, f"{route.rule}: Control.{name}: {error}"


def raises(method: Any) -> str:
    """What a docstring says that it raises."""
    return inspect.getdoc(method).partition("Raises:\n")[2]


def test_every_parameter_that_is_read_is_described_and_the_other_way_round() -> None:
    read = {
        name
        for path in WEB.rglob("*.py")
        for name in READS_PARAMETER.findall(path.read_text(encoding="utf-8"))
    }

    listed = {
        each["name"]
        for _, _, operation in operations(described())
        for each in operation["parameters"]
        if each["in"] == "query"
    }
    assert read | {*Operation} == listed  # these are read by their names


def test_every_method_of_the_client_is_an_operation() -> None:
    methods = {
        name
        for name, member in vars(Client).items()
        if inspect.isfunction(member) and not name.startswith("_")
    }

    names = [operation["operationId"] for _, _, operation in operations(described())]
    assert methods - {*names} == set(), "name the route of web/routes.py as the client's method"
    assert len(names) == len({*names})


def test_every_type_of_answers_is_described() -> None:
    kinds = {
        name
        for name, each in vars(answers).items()
        if hasattr(each, "__required_keys__") and each.__module__ == answers.__name__
    }

    side = openapi.document(
        sideport.ROUTES, BY_CALLBACK, "", title="t", about="a.", negotiates=False
    )
    used = {*described()["components"]["schemas"], *side["components"]["schemas"]}
    bases = {"AboutData", "AboutMeasuring", "Branches", "Combined", "LabelUse", "Phases", "Seen"}
    assert kinds - bases == used


def test_every_reference_leads_somewhere() -> None:
    document = described()

    for reference in re.findall(r"'\$ref': '#/(.*?)'", str(document)):
        at: Any = document
        for part in reference.split("/"):
            at = at[part]


# True


@pytest.mark.parametrize(
    ("verb", "path", "where"),
    [("post", "/snapshot", "/id"), ("post", "/snapshots", "/id"), ("get", "/snapshots", "/0/id")],
)
def test_the_id_of_a_snapshot_leads_to_all_that_can_be_asked_of_it(
    verb: str, path: str, where: str
) -> None:
    document = described()

    links = document["paths"][path][verb]["responses"]["200"]["links"]

    of_a_snapshot = {
        operation["operationId"]
        for _, path, operation in operations(document)
        if path.startswith("/snapshots/{id}")
    }
    assert {"delete_snapshot", "snapshot_data", "files_of_snapshot"} <= of_a_snapshot
    assert {each["operationId"] for each in links.values()} == of_a_snapshot
    assert [each["parameters"] for each in links.values()] == [
        {"id": f"$response.body#{where}"}
    ] * len(links)


def test_a_path_has_its_arguments_as_parameters() -> None:
    operation = described()["paths"]["/snapshots/{id}/contexts/{label}"]["get"]

    of_path = [each["name"] for each in operation["parameters"] if each["in"] == "path"]
    assert of_path == ["id", "label"]
    assert all(each["required"] for each in operation["parameters"][:2])


def test_a_change_is_json_or_leads_to_a_page() -> None:
    operation = described(BY_PASSWORD)["paths"]["/reset"]["post"]

    assert {*operation["responses"]} >= {"200", "303", "401", "403", "405", "409", "413", "503"}
    assert [each["name"] for each in operation["parameters"]] == ["wait", "back"]
    assert "Location" in operation["responses"]["303"]["headers"]


def test_a_read_leads_nowhere_else_and_is_no_cross_site_change() -> None:
    operation = described(BY_PASSWORD)["paths"]["/files"]["get"]

    assert not {"303", "403", "413"} & {*operation["responses"]}
    assert {*operation["responses"]["200"]["content"]} == {"application/json", "text/html"}


@pytest.mark.parametrize(
    ("keywords", "access"),
    [
        ({"password": "x"}, BY_PASSWORD),
        ({"password": "x", "trusted_hosts": ("a",)}, BY_PASSWORD._replace(checks_host=True)),
        ({"password": "x", "auth": bool}, Access(True, False, False)),
        ({"debug": True}, Access(False, False, True)),
    ],
)
def test_the_policy_of_the_application_is_what_is_described(
    keywords: dict[str, Any], access: Access
) -> None:
    assert Access.of(Settings(**keywords)) == access


def test_http_basic_is_named_where_a_password_is_what_is_asked_for() -> None:
    basic = {"basic": {"type": "http", "scheme": "basic"}}

    assert described(BY_PASSWORD)["components"]["securitySchemes"] == basic
    assert described(BY_PASSWORD)["security"] == [{"basic": []}]
    assert "securitySchemes" not in described(BY_CALLBACK)["components"]
    assert "default" in described(BY_CALLBACK)["paths"]["/files"]["get"]["responses"]


def test_debug_asks_for_nothing_and_serves_some_hosts_only() -> None:
    operation = described(Access(False, False, True))["paths"]["/files"]["get"]

    assert "401" not in operation["responses"]
    assert "403" in operation["responses"]


@pytest.mark.parametrize(
    ("prefix", "url"), [("", "/"), ("/shop/cov", "/shop/cov"), ("/caf\xc3\xa9 x", "/caf%C3%A9%20x")]
)
def test_the_server_is_where_the_dashboard_is_mounted(prefix: str, url: str) -> None:
    assert described(prefix=prefix)["servers"] == [{"url": url}]


def test_a_side_port_has_no_pages() -> None:
    document = openapi.document(
        sideport.ROUTES, BY_PASSWORD, "", title="t", about="a.", negotiates=False
    )

    assert "text/html" not in str(document)
    assert {*document["paths"]["/coverage/reset"]} == {"get", "post"}
    assert "403" in document["paths"]["/coverage/reset"]["get"]["responses"]
    assert document["paths"]["/"]["get"]["responses"].keys() >= {"303"}


# Schemas


class Inner(TypedDict):
    """Something inside."""

    lines: list[int]


class Outer(Inner):
    kind: Literal["a", "b"] | None
    inner: NotRequired[Inner | None]
    more: NotRequired[dict[str, Inner]]


def test_a_typed_dict_is_an_object_with_what_it_inherits() -> None:
    schemas = Schemas()

    assert schemas.of(list[Outer]) == {
        "type": "array",
        "items": {"$ref": "#/components/schemas/Outer"},
    }
    inner = {"$ref": "#/components/schemas/Inner"}
    assert schemas.components["Outer"]["required"] == ["lines", "kind"]
    assert schemas.components["Outer"]["properties"] == {
        "lines": {"type": "array", "items": {"type": "integer"}},
        "kind": {"anyOf": [{"enum": ["a", "b"]}, {"type": "null"}]},
        "inner": {"anyOf": [inner, {"type": "null"}]},
        "more": {"type": "object", "additionalProperties": inner},
    }
    assert schemas.components["Inner"]["description"] == "Something inside."


def test_a_union_of_plain_types_is_a_list_of_their_names() -> None:
    assert Schemas().of(int | None) == {"type": ["integer", "null"]}


def test_two_types_of_one_name_are_refused() -> None:
    schemas = Schemas()
    schemas.of(answers.File)

    with pytest.raises(TypeError, match="two types of answers have the name File"):
        schemas.of(TypedDict("File", {"file": str}))


def test_a_type_that_no_answer_has_is_refused() -> None:
    with pytest.raises(TypeError, match="no JSON Schema"):
        Schemas().of(set[int])
