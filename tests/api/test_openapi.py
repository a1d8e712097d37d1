"""The API's document: complete, with examples that hold, and the same as what the service does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from fastapi.openapi.utils import get_openapi

from api.app import create_app
from api.document import first_sentence
from signals.settings import Settings
from tests.api.test_roles import OPEN, OPERATIONS, THERE

APP = create_app(Settings(data=Path("unused")))
DOCUMENT: dict[str, Any] = APP.openapi()
CALLS = {
    operation["operationId"]: (method, path, operation)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
}
operations = pytest.mark.parametrize("name", sorted(CALLS))
with_key = pytest.mark.parametrize("name", sorted(set(CALLS) - OPEN))


def validator(schema: dict[str, Any]) -> jsonschema_rs.Validator:
    """What holds a value against a schema of the document."""
    return jsonschema_rs.validator_for(
        {**schema, "components": DOCUMENT["components"]}, validate_formats=True
    )


def examples(content: dict[str, Any]) -> list[Any]:
    """The examples of a body or an answer."""
    several = [example["value"] for example in content.get("examples", {}).values()]
    return several or [content["example"]]


def answers(operation: dict[str, Any], *, good: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """The answers that say that all went well, or those that don't."""
    for status, answer in operation["responses"].items():
        if ("200" <= status < "300") is good and status != "304":
            yield status, answer


def test_the_document_is_of_openapi_3_1_and_valid_json_schema() -> None:
    assert DOCUMENT["openapi"].startswith("3.1")
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema_rs.meta.validate(schema)
    assert DOCUMENT["components"]["securitySchemes"]
    assert len(CALLS) == len(OPERATIONS) == sum(len(path) for path in DOCUMENT["paths"].values())


def test_every_route_of_the_service_is_in_the_document() -> None:
    made = get_openapi(title="", version="", routes=APP.routes)
    assert {path: set(methods) for path, methods in made["paths"].items()} == {
        path: set(methods) for path, methods in DOCUMENT["paths"].items()
    }
    hidden = {
        getattr(route, "path", "") for route in APP.routes if not getattr(route, "include_in_schema", True)
    }
    assert hidden <= {"/openapi.json", "/docs", "/docs/oauth2-redirect"}


@operations
def test_an_operation_says_what_it_is_for(name: str) -> None:
    _, _, operation = CALLS[name]
    assert operation["tags"]
    assert operation["description"].strip().endswith((".", ")"))
    assert operation["summary"] == first_sentence(operation["description"])
    assert 3 < len(operation["summary"]) <= 120
    assert operation["summary"][0].isupper()


@operations
def test_parameters_and_bodies_have_examples_that_hold(name: str) -> None:
    _, path, operation = CALLS[name]
    parameters = operation.get("parameters", [])
    assert {p["name"] for p in parameters if p["in"] == "path"} == {
        part[1:-1] for part in path.split("/") if part.startswith("{")
    }
    for parameter in parameters:
        shown = parameter["schema"].get("examples", [])
        assert shown or not parameter["required"], parameter["name"]
        for example in shown:
            validator(parameter["schema"]).validate(example)
    if operation["operationId"] in {"cancel_job"} or "requestBody" not in operation:
        return
    body = operation["requestBody"]
    assert body["required"]
    for media_type, content in body["content"].items():
        for example in examples(content):
            assert example
            if media_type == "application/json":
                validator(content["schema"]).validate(example)
            else:
                assert content["schema"] == {"type": "string", "format": "binary"}
                assert isinstance(example, str)


@operations
def test_what_changes_things_and_isnt_asked_by_path_alone_has_a_body(name: str) -> None:
    method, _, operation = CALLS[name]
    assert ("requestBody" in operation) == (method != "get" and name != "cancel_job")


@operations
def test_success_has_an_example_that_holds(name: str) -> None:
    found = list(answers(CALLS[name][2], good=True))
    assert len(found) == 1
    _, answer = found[0]
    assert answer["content"]
    for media_type, content in answer["content"].items():
        for example in examples(content):
            assert example
            if media_type == "application/json":
                validator(content["schema"]).validate(example)
            else:
                assert isinstance(example, str)


@with_key
def test_whatever_can_go_wrong_is_declared_as_a_problem(name: str) -> None:
    method, path, operation = CALLS[name]
    assert operation["security"] == [{"HTTPBearer": []}]
    expected = {"401", "422", "429", "503"}
    if name in THERE and THERE[name] != THERE["read_area"]:
        expected |= {"403"}
    if "{" in path or name in THERE:
        expected |= {"404"}
    if "requestBody" in operation:
        expected |= {"413", "415"}
    if any(parameter["name"] == "if-match" for parameter in operation.get("parameters", [])):
        expected |= {"412", "428"}
    if method != "get":
        expected |= {"409"}
    declared = dict(answers(operation, good=False))
    assert expected <= set(declared)
    assert set(declared) - expected <= {"403", "404", "409", "304"}
    for status, answer in declared.items():
        if status == "304":
            continue
        assert list(answer["content"]) == ["application/problem+json"]
        content = answer["content"]["application/problem+json"]
        assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
        validator(content["schema"]).validate(content["example"])
        assert content["example"]["status"] == int(status)
        assert answer["description"]


@operations
def test_answers_declare_their_headers(name: str) -> None:
    _, _, operation = CALLS[name]
    parameters = {parameter["name"] for parameter in operation.get("parameters", [])}
    for status, answer in operation["responses"].items():
        declared = set(answer["headers"])
        expected = {"X-Request-ID"}
        if status in ("429", "503"):
            expected |= {"Retry-After"}
        if status == "401":
            expected |= {"WWW-Authenticate"}
        if status < "400" and {"if-match", "if-none-match"} & parameters:
            expected |= {"ETag"}
        assert expected <= declared
    assert ("304" in operation["responses"]) == ("if-none-match" in parameters)


def test_every_model_is_described_and_refuses_what_it_doesnt_know_where_it_is_given() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    for name, schema in schemas.items():
        if not name.startswith("Page_"):
            assert schema.get("description"), name
    for _, _, operation in CALLS.values():
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content is None:
            continue
        kinds = content["schema"].get("oneOf") or [content["schema"]]
        for kind in kinds:
            given = schemas[kind["$ref"].rpartition("/")[2]]
            assert given["additionalProperties"] is False
