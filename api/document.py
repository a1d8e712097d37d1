"""The API's document (OpenAPI 3.1): what FastAPI makes of the routes, and what it can't know.

That is: problems under their own media type, headers, what the doorkeeper and the reading of bodies may answer,
a summary out of each docstring, and an example of whatever is sent and answered, from the models of `signals.wire`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.problems import MEDIA_TYPE, described
from signals.wire.base import Problem

JSON = "application/json"
EVENTS = "text/event-stream"
PROBLEM = {"$ref": "#/components/schemas/Problem"}

HEADERS: dict[str, dict[str, Any]] = {
    "X-Request-ID": {
        "description": "The request's id, in the log and the audit: its own, or a new one.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    },
    "ETag": {
        "description": "The version of what is shown, for If-Match and If-None-Match.",
        "required": True,
        "schema": {"type": "string", "pattern": '^"[0-9a-f]+"$'},
    },
    "Location": {
        "description": "Where what was made is.",
        "required": True,
        "schema": {"type": "string", "pattern": "^/v1/"},
    },
    "Retry-After": {
        "description": "Seconds after which to ask again.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
    "WWW-Authenticate": {
        "description": "How to show a key.",
        "required": True,
        "schema": {"const": "Bearer"},
    },
}
OF_STATUS = {"401": ["WWW-Authenticate"], "429": ["Retry-After"], "503": ["Retry-After"]}

Part = dict[str, Any]


def install(app: FastAPI) -> None:
    """Give the application its document, made when it is first asked for."""

    def openapi() -> Part:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title,
                version=app.version,
                summary=app.summary,
                description=app.description,
                routes=app.routes,
            )
            app.openapi_schema = completed(made)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def completed(document: Part) -> Part:
    """The document of FastAPI with what is missing."""
    schemas = document["components"]["schemas"]
    schemas["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= schemas["Problem"].pop("$defs", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for schema in schemas.values():
        if "examples" in schema:
            schema["examples"] = [_with_nulls(example, schema, schemas) for example in schema["examples"]]
    for operation in operations_of(document):
        _complete(operation, schemas)
    return document


def operations_of(document: Part) -> Iterator[Part]:
    """Every operation."""
    for path in document["paths"].values():
        yield from path.values()


def first_sentence(text: str) -> str:
    """The first sentence of a docstring, on one line and without its full stop."""
    paragraph = " ".join(text.partition("\n\n")[0].split())
    return re.split(r"[.;](?:\s|$)", paragraph, maxsplit=1)[0]


def _complete(operation: Part, schemas: Part) -> None:
    operation["summary"] = first_sentence(operation["description"])
    parameters = {p["name"].lower(): p for p in operation.get("parameters", [])}
    for parameter in parameters.values():
        _never_null(parameter["schema"])
    answers = operation["responses"]
    if "requestBody" in operation:
        for content in operation["requestBody"]["content"].values():
            _show_example(content, schemas)
        for status in (413, 415):
            answers.setdefault(str(status), {"description": described(status)})
    if "if-none-match" in parameters:
        answers["304"] = {"description": "The caller has it already"}
    for status, answer in answers.items():
        headers = ["X-Request-ID", *OF_STATUS.get(status, [])]
        if status >= "400":
            answer["content"] = {MEDIA_TYPE: {"schema": PROBLEM, "example": _example_problem(int(status))}}
        elif {"if-match", "if-none-match"} & parameters.keys():
            headers.append("ETag")
        answer.setdefault("headers", {}).update({name: HEADERS[name] for name in headers})
        if status < "300":
            for media_type, content in answer.get("content", {}).items():
                _show_example(content, schemas, media_type)
    operation["responses"] = dict(sorted(answers.items()))


def _never_null(schema: Part) -> None:
    """A parameter is there or it isn't: null is for bodies."""
    kinds = [kind for kind in schema.get("anyOf", []) if kind != {"type": "null"}]
    if len(kinds) == 1:
        del schema["anyOf"]
        for key, value in kinds[0].items():
            schema.setdefault(key, value)


def _with_nulls(value: Any, schema: Part, schemas: Part) -> Any:
    """An example with what is null in it, which FastAPI leaves out."""
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    if isinstance(value, list):
        return [_with_nulls(item, schema.get("items", {}), schemas) for item in value]
    if not isinstance(value, dict) or "properties" not in schema:
        return value
    whole = dict.fromkeys(schema.get("required", ())) | value
    return {key: _with_nulls(part, schema["properties"].get(key, {}), schemas) for key, part in whole.items()}


def _show_example(content: Part, schemas: Part, media_type: str = JSON) -> None:
    if "example" in content or "examples" in content:
        return
    if media_type == EVENTS:
        job = json.dumps(schemas["JobShown"]["examples"][0])
        content["example"] = f"event: job\ndata: {job}\n\n"
        return
    found = _examples_of(content.get("schema", {}), schemas)
    if len(found) == 1:
        content["example"] = found[0]
    elif found:
        content["examples"] = {f"{k + 1}": {"value": value} for k, value in enumerate(found)}


def _examples_of(schema: Part, schemas: Part) -> list[Any]:
    """Examples of a model, of each of several models, or a page of one item."""
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    if "examples" in schema:
        return list(schema["examples"])
    kinds = schema.get("oneOf") or schema.get("anyOf") or []
    if kinds:
        return [example for kind in kinds for example in _examples_of(kind, schemas)]
    items = schema.get("properties", {}).get("items", {}).get("items")
    if items is None:
        return []
    return [{"items": _examples_of(items, schemas)[:1], "next_cursor": None}]


def _example_problem(status: int) -> Part:
    return {
        "type": "about:blank",
        "title": described(status),
        "status": status,
        "detail": described(status),
        "request_id": "0d6b4e2c9f1a",
    }
