"""Screenings and forecasts of counts."""

from __future__ import annotations

from datetime import UTC

from sqlalchemy import select
from sqlalchemy.orm import Session

from signals.access import Action, get_network
from signals.errors import NotFound
from signals.model.states import JobKind
from signals.orders.desk import Desk, last_count
from signals.store.tables import (
    Job,
    Stream,
)
from signals.wire.forecasts import NewForecast, NewScreening


def request_screening(session: Session, desk: Desk, network_id: int, given: NewScreening) -> Job:
    """The job that looks a network's counts through.

    Raises
    ------
    NotFound, Forbidden, Conflict, QueueFull
        Where there is no such network, it isn't the caller's to ask for, it has no counts, too many jobs wait.
    """
    network = get_network(session, desk.caller, network_id, Action.FORECAST)
    return desk.submit(
        session,
        JobKind.SCREEN,
        network.area_id,
        f"networks/{network.id}",
        network_id=network.id,
        origin_at=last_count(session, network).isoformat(),
        **given.model_dump(mode="json"),
    )


def request_forecast(session: Session, desk: Desk, network_id: int, given: NewForecast) -> Job:
    """The job that forecasts a network's counts, from the last one on unless another origin is given.

    Raises
    ------
    NotFound, Forbidden, Conflict, QueueFull
        As `request_screening`; NotFound as well where a stream isn't the network's.
    """
    network = get_network(session, desk.caller, network_id, Action.FORECAST)
    origin = given.origin_at or last_count(session, network)
    if given.streams is not None:
        own = set(session.scalars(select(Stream.id).where(Stream.network_id == network.id)))
        foreign = sorted(set(given.streams) - own)
        if foreign:
            raise NotFound(f"network {network.id} has no stream {foreign[0]}")
    return desk.submit(
        session,
        JobKind.FORECAST,
        network.area_id,
        f"networks/{network.id}",
        network_id=network.id,
        **{
            **given.model_dump(mode="json"),
            "origin_at": origin.astimezone(UTC).isoformat(),
            "levels": sorted(set(given.levels)),
        },
    )
