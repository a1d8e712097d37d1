"""What routes are given: the store, the caller, a page of a list, a version to match, an answer given only once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Header, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from sqlalchemy import Select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import QueryableAttribute, Session

from api.problems import PreconditionFailed, UnsupportedMediaType
from signals.access import Caller
from signals.errors import Conflict
from signals.orders.desk import Desk
from signals.settings import Settings
from signals.store.session import Store
from signals.store.tables import Answered
from signals.wire.base import Page

JSON = "application/json"
Row = TypeVar("Row")
Out = TypeVar("Out")

bearer = HTTPBearer(auto_error=False, description="A key made by `greensplit keys create`.")
"""Only says in the API's document that a key is needed; the doorkeeper has looked at it already."""


# these are coroutines because FastAPI calls plain functions in a thread, which takes longer than they do


async def _store(request: Request) -> Store:
    store: Store = request.app.state.store
    return store


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


async def _desk(request: Request) -> Desk:
    settings: Settings = request.app.state.settings
    return Desk(request.state.caller, settings.queue_limit, datetime.now(UTC))


StoreDep = Annotated[Store, Depends(_store)]
SettingsDep = Annotated[Settings, Depends(_settings)]
CallerDep = Annotated[Caller, Depends(_caller)]
DeskDep = Annotated[Desk, Depends(_desk)]

IfMatch = Annotated[
    str,
    Header(
        pattern=r'^"[0-9]{1,15}"$',
        description="ETag of what was seen; 412 where it has changed since, 428 without it.",
        examples=['"1"'],
    ),
]
IfNoneMatch = Annotated[
    str | None,
    Header(max_length=200, description="ETag of what the caller has; 304 where it is still the same."),
]


async def require_known(request: Request) -> None:
    """Query parameters that the operation doesn't know are refused by name, bodies that aren't JSON by their type.

    Raises
    ------
    RequestValidationError, UnsupportedMediaType
        Where there are such.
    """
    route = request.scope["route"]
    known = {field.alias for field in _query_fields(route.dependant)}
    unknown = sorted(set(request.query_params) - known)
    if unknown:
        raise RequestValidationError(
            [
                {
                    "type": "unknown_parameter",
                    "loc": ("query", name),
                    "msg": f"{name} is no parameter of this operation",
                    "input": None,
                }
                for name in unknown
            ]
        )
    kind = media_type_of(request)
    if route.body_field is not None and kind != JSON:
        raise UnsupportedMediaType(f"{kind or 'no Content-Type'}: send {JSON}")


def media_type_of(request: Request) -> str:
    """What kind of body a request says that it brings; empty where it says nothing."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _query_fields(dependant: Any) -> Iterable[Any]:
    yield from dependant.query_params
    for inner in dependant.dependencies:
        yield from _query_fields(inner)


# -------------------------------------------------------------------------------------------------- lists


class Paging:
    """Which part of a list is wanted."""

    def __init__(self, limit: int, after: int) -> None:
        self.limit = limit
        self.after = after

    def page(
        self, session: Session, query: Select[Row], key: QueryableAttribute[int], show: Callable[[Row], Out]
    ) -> Page[Out]:
        """The rows that follow the cursor by `key`, a whole number that rises and is never used again."""
        rows = session.scalars(query.where(key > self.after).order_by(key).limit(self.limit + 1)).all()
        last = rows[: self.limit]
        more = str(getattr(last[-1], key.key)) if len(rows) > self.limit else None
        return Page(items=[show(row) for row in last], next_cursor=more)


async def _paging(
    limit: Annotated[int, Query(ge=1, le=500, description="Items at most.")] = 100,
    cursor: Annotated[
        str | None,
        Query(pattern=r"^[0-9]{1,15}$", description="`next_cursor` of the page before.", examples=["100"]),
    ] = None,
) -> Paging:
    return Paging(limit, int(cursor) if cursor else 0)


PagingDep = Annotated[Paging, Depends(_paging)]


# --------------------------------------------------------------------------------------------- versions


def etag(version: int | str) -> str:
    """The ETag of a version or a hash."""
    return f'"{version}"'


def require_version(given: str, version: int) -> None:
    """Nothing where the caller has seen the current version.

    Raises
    ------
    PreconditionFailed
        Where somebody has changed the thing since.
    """
    if given != etag(version):
        raise PreconditionFailed(
            f"it is at version {version} now, not {given}: read it again, then change it"
        )


def unchanged(if_none_match: str | None, tag: str) -> bool:
    """Whether the caller has it already."""
    return if_none_match is not None and tag in (part.strip() for part in if_none_match.split(","))


def shown(
    model: BaseModel, *, status: int = 200, version: int | str | None = None, location: str | None = None
) -> Response:
    """A thing as JSON, with its ETag and, where it is new, its address."""
    headers = {}
    if version is not None:
        headers["ETag"] = etag(version)
    if location is not None:
        headers["Location"] = location
    return Response(model.model_dump_json(), status, media_type="application/json", headers=headers)


# ----------------------------------------------------------------------------------------- only once


class Once:
    """Does what a request asks for once, however often it is sent with the same Idempotency-Key.

    The answer is kept in the transaction of the deed itself, so there is never one without the other.
    """

    def __init__(self, caller: Caller, key: str | None, fingerprint: str) -> None:
        self._caller = caller
        self._key = key
        self._fingerprint = fingerprint

    def __call__(self, session: Session, deed: Callable[[], Response]) -> Response:
        """The answer of the deed, or the one that it was given the first time.

        Raises
        ------
        Conflict
            Where the key came with another request, or the first one is still at work.
        """
        if self._key is None:
            return deed()
        before = session.get(Answered, (self._caller.key_id, self._key))
        if before is None:
            return self._first(session, self._key, deed)
        if before.fingerprint != self._fingerprint:
            raise Conflict(f"Idempotency-Key {self._key!r} was used with another request; take a new one")
        headers = {**before.headers, "Idempotent-Replayed": "true"}
        return Response(before.body, before.status, headers=headers)

    def _first(self, session: Session, key: str, deed: Callable[[], Response]) -> Response:
        row = Answered(
            api_key_id=self._caller.key_id,
            idempotency_key=key,
            fingerprint=self._fingerprint,
            status=0,
            headers={},
            body=b"",
            at=datetime.now(UTC),
        )
        try:
            with session.begin_nested():
                session.add(row)
                session.flush()
        except IntegrityError:
            raise Conflict(f"the first request with Idempotency-Key {key!r} is at work; try again") from None
        answer = deed()
        row.status, row.body = answer.status_code, bytes(answer.body)
        row.headers = {
            name: value
            for name, value in answer.headers.items()
            if name in ("content-type", "etag", "location")
        }
        return answer


async def _once(
    request: Request,
    caller: CallerDep,
    idempotency_key: Annotated[
        str | None,
        Header(
            pattern=r"^[!-~]{1,200}$",
            description="A word of the caller's own: what is sent again with it is done only once.",
            examples=["c0ffee-1"],
        ),
    ] = None,
) -> Once:
    return Once(caller, idempotency_key, fingerprint_of(request, await request.body()))


def fingerprint_of(request: Request, body: bytes) -> str:
    """What makes a request the same one; of an upload the hash stands for the body."""
    digest = hashlib.sha256(f"{request.method} {request.url.path}?{request.url.query}\n".encode())
    digest.update(body)
    return digest.hexdigest()


OnceDep = Annotated[Once, Depends(_once)]
