"""The doorkeeper: every request gets an id, shows a key, keeps within its rate, and is logged and counted.

All of that happens before a body is read or a route looked up, so that nobody without a key learns or costs
anything.
"""

from __future__ import annotations

import re
import time
import uuid

import structlog
from anyio import to_thread
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.metrics import Metrics
from api.problems import TooManyRequests, Unauthorised, of_error
from api.rates import Rates
from signals.access import Caller
from signals.errors import GreensplitError
from signals.store.people import find_holder
from signals.store.session import Store

OPEN = frozenset({"/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"})
"""What needs no key: it tells nothing about the city."""
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

log = structlog.get_logger("greensplit.api")


class Doorkeeper:
    """Middleware around the whole application."""

    def __init__(
        self, app: ASGIApp, store: Store, rate_limit: str, body_limit: int, metrics: Metrics
    ) -> None:
        self._app = app
        self._body_limit = body_limit
        self._store = store
        self._metrics = metrics
        self._rates = Rates(rate_limit)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = headers.get("x-request-id", "")
        if not REQUEST_ID.fullmatch(request_id):
            request_id = uuid.uuid4().hex[:16]
        scope.setdefault("state", {}).update(request_id=request_id, body_limit=self._body_limit)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        began, status = time.perf_counter(), 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            if scope["path"] not in OPEN:
                scope["state"]["caller"] = await self._caller(headers, request_id)
            await self._app(scope, _measured(scope, receive), answer)
        except GreensplitError as error:
            await of_error(request_id, error)(scope, receive, answer)
        finally:
            took_s = time.perf_counter() - began
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.request(scope["method"], route, status, took_s)
            caller = scope["state"].get("caller")
            log.info(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                took_ms=round(1000 * took_s, 1),
                person=caller.person_id if caller else None,
            )

    async def _caller(self, headers: Headers, request_id: str) -> Caller:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise Unauthorised(
                "give your key: Authorization: Bearer gsk_…; `greensplit keys create` makes one"
            )
        caller = await to_thread.run_sync(self._find, key.strip(), request_id)
        if caller is None:
            raise Unauthorised("the key is unknown, has expired or was revoked")
        structlog.contextvars.bind_contextvars(person=caller.person_id)
        exceeded = self._rates.exceeded(caller.key_id)
        if exceeded is not None:
            raise TooManyRequests(f"this key may make {exceeded[0]} requests", exceeded[1])
        return caller

    def _find(self, key: str, request_id: str) -> Caller | None:
        with self._store.reading() as session:
            found = find_holder(session, key)
        if found is None:
            return None
        return Caller(found.person_id, found.name, found.key_id, found.roles, request_id)


def _measured(scope: Scope, receive: Receive) -> Receive:
    """The body as it comes, up to the limit that holds for this request; uploads raise theirs."""
    taken = 0

    async def take() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        limit = scope["state"]["body_limit"]
        if taken > limit:
            raise HTTPException(413, f"the body is above {limit >> 10} KiB")
        return message

    return take
