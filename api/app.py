"""The web application: what it is made of."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import APIRoute

from api import document, problems
from api.deps import bearer, require_known
from api.door import Doorkeeper
from api.metrics import Metrics
from api.routes import (
    areas,
    audit,
    counts,
    events,
    forecasts,
    health,
    jobs,
    me,
    networks,
    plans,
    street,
    warnings,
)
from signals import __version__
from signals.settings import Settings
from signals.store.session import Store

DESCRIPTION = """Retime traffic signals, and prove each plan in simulation before it touches the street.

A network is uploaded, counts come in, forecasts and plans are asked for; long work is a job that can be watched
and cancelled. A plan is known by its hash, is compared in SUMO with the one in place, and is approved by a second
person, and pushed to controllers pilot first. Everything that is done is in the audit.

Times carry their offset from UTC. Lists come in pages: ask again with `cursor`. What is edited takes If-Match,
what creates takes Idempotency-Key. Errors are problem details (RFC 9457) that say what, where and what to do."""

ROUTERS: tuple[APIRouter, ...] = (
    me.router,
    areas.router,
    networks.router,
    counts.router,
    forecasts.router,
    warnings.router,
    plans.router,
    street.router,
    jobs.router,
    events.router,
    audit.router,
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application, for these settings or those of the environment."""
    settings = settings or Settings()
    store = Store(settings.database_url)
    metrics = Metrics(store)

    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
        yield
        store.close()

    app = FastAPI(
        title="Greensplit",
        version=__version__,
        summary="Traffic-signal plans, proven before they touch the street",
        description=DESCRIPTION,
        lifespan=life,
        redoc_url=None,
        generate_unique_id_function=_operation_id,
    )
    app.state.store, app.state.settings, app.state.metrics = store, settings, metrics
    app.add_middleware(
        Doorkeeper,
        store=store,
        rate_limit=settings.rate_limit,
        body_limit=settings.body_limit_kb << 10,
        metrics=metrics,
    )
    problems.install(app)
    app.include_router(health.router)
    v1 = APIRouter(prefix="/v1", dependencies=[Depends(bearer), Depends(require_known)])
    for router in ROUTERS:
        v1.include_router(router)
    app.include_router(v1)
    document.install(app)
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name
