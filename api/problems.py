"""Errors as answers: which error has which status, and how it is told (RFC 9457)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from signals.errors import (
    Conflict,
    Forbidden,
    GreensplitError,
    InfeasiblePlan,
    InputError,
    NotFound,
    QueueFull,
    StoreUnavailable,
    UnsafePlan,
)
from signals.store.audit import AuditBroken
from signals.wire.base import FieldProblem, Problem

MEDIA_TYPE = "application/problem+json"
RETRY_S = 5
"""When to come back after an outage of the database."""

log = structlog.get_logger("greensplit.api")


class PreconditionRequired(GreensplitError):
    """If-Match is missing."""


class PreconditionFailed(GreensplitError):
    """If-Match names a version that is no longer the current one."""


class Unauthorised(GreensplitError):
    """No key, or none that works."""


class TooManyRequests(GreensplitError):
    """The key has made more requests than it may."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class UnsupportedMediaType(GreensplitError):
    """The body is of a kind that the operation doesn't read."""


class TooLarge(GreensplitError):
    """The body, packed or unpacked, is larger than allowed."""


STATUS: Mapping[type[GreensplitError], tuple[int, str, str]] = {
    InputError: (422, "invalid", "Invalid request"),
    Unauthorised: (401, "unauthorised", "No valid key"),
    Forbidden: (403, "forbidden", "Not allowed"),
    NotFound: (404, "not-found", "Not found"),
    Conflict: (409, "conflict", "Conflict"),
    AuditBroken: (409, "audit-broken", "The audit does not hold"),
    InfeasiblePlan: (409, "infeasible", "No plan fits the constraints"),
    UnsafePlan: (409, "unsafe", "Unsafe plan refused"),
    PreconditionFailed: (412, "stale", "Changed meanwhile"),
    TooLarge: (413, "too-large", "Body too large"),
    UnsupportedMediaType: (415, "media-type", "Unsupported media type"),
    PreconditionRequired: (428, "precondition-required", "If-Match is missing"),
    TooManyRequests: (429, "rate-limit", "Too many requests"),
    QueueFull: (429, "queue-full", "The queue is full"),
    StoreUnavailable: (503, "unavailable", "The database is not available"),
}
"""The status of each error of ours, with its short name and title. This is the one table of them."""

TITLES = {404: "Not found", 405: "Method not allowed", 413: "Body too large"}


def problem(
    request_id: str,
    status: int,
    name: str,
    title: str,
    detail: str,
    *,
    errors: list[FieldProblem] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An answer that says what went wrong."""
    told = Problem(
        type=f"urn:greensplit:problem:{name}",
        title=title,
        status=status,
        detail=detail,
        request_id=request_id,
        errors=errors,
    )
    content = told.model_dump_json(exclude_none=True)
    return Response(content, status, media_type=MEDIA_TYPE, headers=dict(headers or {}))


def of_error(request_id: str, error: GreensplitError) -> Response:
    """The answer to an error of ours."""
    status, name, title = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    headers: dict[str, str] = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status == 503:
        headers["Retry-After"] = str(RETRY_S)
    if isinstance(error, TooManyRequests | QueueFull):
        headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    detail = str(error)
    if isinstance(error, StoreUnavailable):
        log.warning("store unavailable", error=detail)
        detail = "the database can't do its work now; nothing was changed, please try again"
    return problem(request_id, status, name, title, detail, headers=headers)


def install(app: FastAPI) -> None:
    """Answer every error of this application as a problem."""

    @app.exception_handler(GreensplitError)
    def _ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, GreensplitError)
        if not any(kind in STATUS for kind in type(error).__mro__):
            return _other(request, error)
        return of_error(request_id_of(request), error)

    @app.exception_handler(RequestValidationError)
    def _invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        found = [_told(e) for e in error.errors()]
        if any(e["type"] == "missing" and e["loc"] == ("header", "if-match") for e in error.errors()):
            missing = PreconditionRequired(
                "give the ETag of what you have seen as If-Match, so that nobody's change is overwritten"
            )
            return of_error(request_id_of(request), missing)
        shown = "; ".join(f"{f.where}: {f.problem}" for f in found[:3])
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        status, name, title = STATUS[InputError]
        return problem(request_id_of(request), status, name, title, shown + more, errors=found[:50])

    @app.exception_handler(HTTPException)
    def _http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 400:
            return of_error(request_id_of(request), InputError("the body can't be read: send JSON in UTF-8"))
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = ", ".join(_methods(request))
        title = TITLES.get(error.status_code, str(error.detail))
        return problem(
            request_id_of(request),
            error.status_code,
            title.lower().replace(" ", "-"),
            title,
            str(error.detail),
            headers=headers,
        )

    @app.exception_handler(Exception)
    def _other(request: Request, error: Exception) -> Response:
        incident = uuid.uuid4().hex[:12]
        log.error("fault", incident=incident, exc_info=error)
        detail = f"a fault in Greensplit; it is in the log as incident {incident}"
        return problem(request_id_of(request), 500, "fault", "Internal error", detail)


def request_id_of(request: Request) -> str:
    """The request's id."""
    return str(request.scope.get("state", {}).get("request_id", ""))


def _methods(request: Request) -> list[str]:
    """What this path can be asked for; the framework names the methods of one route only."""
    routes = [route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE]
    return sorted({method for route in routes for method in getattr(route, "methods", None) or ()})


def _told(error: Mapping[str, Any]) -> FieldProblem:
    where = ".".join(str(part) for part in error["loc"])
    text = str(error["msg"])
    if error["type"] == "extra_forbidden":
        text = f"{error['loc'][-1]} is no field of this request"
    return FieldProblem(where=where, problem=text)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What an operation may answer beside success, for the API's document; 401, 422, 429, 503 always."""
    return {status: {"description": described(status)} for status in sorted({401, 422, 429, 503, *statuses})}


def described(status: int) -> str:
    """What a status means here, in a few words: the titles of its problems."""
    return "; ".join(title for known, _, title in STATUS.values() if known == status)
