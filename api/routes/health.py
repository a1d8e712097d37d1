"""Whether the service lives, is ready, and how it does."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from pydantic import ConfigDict

from api.deps import StoreDep
from signals import __version__
from signals.wire.base import Shown

router = APIRouter(tags=["health"])

METRICS = {"schema": {"type": "string"}, "example": "greensplit_store_up 1.0\n"}


class Health(Shown):
    """It lives."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ok", "version": __version__}]})
    status: str
    version: str


@router.get("/healthz")
def healthz() -> Health:
    """The web process answers; says nothing of the database."""
    return Health(status="ok", version=__version__)


@router.get("/readyz", responses={503: {"description": "Not ready"}})
def readyz(store: StoreDep) -> Health:
    """The database answers and has the tables that this release needs."""
    store.require_current()
    return Health(status="ok", version=__version__)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": METRICS}}})
def metrics(request: Request) -> Response:
    """Figures for Prometheus."""
    return Response(request.app.state.metrics.text(), media_type="text/plain; version=0.0.4")
