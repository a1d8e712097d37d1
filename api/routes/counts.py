"""Counts: delivered as files or pushed an interval at a time, read back, and how good they are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, cast

import numpy as np
from fastapi import APIRouter, Query, Response
from sqlalchemy import select

from api.deps import CallerDep, OnceDep, PagingDep, StoreDep, shown
from api.params import NetworkId
from api.problems import responses
from api.uploads import COUNT_TYPES, CountUpload, upload_body
from signals.access import Action, get_network
from signals.errors import Conflict, InputError
from signals.formats.counts.delivery import on_clock, pushed, read_delivery
from signals.orders.desk import require_timezone
from signals.store import counts
from signals.store.tables import CountBatch, RoadNetwork, Screening
from signals.wire.base import Day, Id, Minute, Page
from signals.wire.counts import (
    BatchShown,
    CountPush,
    CountsShown,
    Existing,
    Quality,
    Received,
    ScreeningShown,
    Step,
    StreamCoverage,
    StreamShown,
)
from signals.wire.networks import Timezone

router = APIRouter(tags=["counts"])

MOST_DAYS = 31
USUAL_DAYS = 7

ExistingQuery = Annotated[Existing, Query(description="What to do where a count differs from the one there.")]


@router.post(
    "/networks/{network_id}/counts",
    status_code=201,
    response_model=Received,
    responses=responses(403, 404, 409, 413, 415),
    openapi_extra=upload_body(COUNT_TYPES),
)
def receive_counts(
    network_id: NetworkId,
    caller: CallerDep,
    store: StoreDep,
    upload: CountUpload,
    timezone: Annotated[
        Timezone | None,
        Query(
            description="Clock of times without an offset, IANA name; the network's where none is given.",
            examples=["Europe/Amsterdam"],
        ),
    ] = None,
    step_min: Annotated[
        Step | None,
        Query(description="Length of an interval, min; as the times are apart where none is given."),
    ] = None,
    existing: ExistingQuery = Existing.REFUSE,
) -> Response:
    """Deliver counts of any number of streams and days: all of it is taken, or nothing.

    CSV and Parquet are wide (a time, then a column for each stream) or long (time, series, count); of NDJSON each
    line is an object with series, time and count. Streams that aren't known are made. Sending the same twice does
    no harm. Takes the role engineer or operator.
    """
    with store.reading() as session:
        network = get_network(session, caller, network_id, Action.SEND_COUNTS)
        if timezone is not None:
            require_timezone(timezone)
        clock = network.timezone if timezone is None else timezone
    table = read_delivery(upload.path, upload.media_type, timezone=clock, step_min=step_min)
    with store.writing() as session:

        def take() -> Response:
            network = get_network(session, caller, network_id, Action.SEND_COUNTS)
            received = counts.store_counts(
                session,
                network,
                caller.actor,
                table,
                existing=existing,
                now=datetime.now(UTC),
                sha256=upload.sha256,
            )
            return shown(_received(received, network, list(table.remarks)), status=201)

        return upload.once(session, take)


@router.post(
    "/networks/{network_id}/counts/pushes",
    status_code=201,
    response_model=Received,
    responses=responses(403, 404, 409, 413, 415),
)
def push_counts(
    network_id: NetworkId, body: CountPush, caller: CallerDep, store: StoreDep, once: OnceDep
) -> Response:
    """Send the counts of one interval as it ends. Takes the role engineer or operator."""
    with store.writing() as session, _fitting():

        def take() -> Response:
            network = get_network(session, caller, network_id, Action.SEND_COUNTS)
            received = counts.store_counts(
                session,
                network,
                caller.actor,
                pushed(body.time, body.counts, timezone=network.timezone, step_min=body.step_min),
                existing=body.existing,
                now=datetime.now(UTC),
                sha256=hashlib.sha256(body.model_dump_json().encode()).hexdigest(),
            )
            return shown(_received(received, network, []), status=201)

        return once(session, take)


@router.get("/networks/{network_id}/streams", responses=responses(404))
def list_streams(
    network_id: NetworkId, caller: CallerDep, store: StoreDep, paging: PagingDep
) -> Page[StreamShown]:
    """The network's streams, and the days of which each has counts."""
    with store.reading() as session:
        get_network(session, caller, network_id)
        found = counts.list_streams(session, network_id, after=paging.after, limit=paging.limit + 1)
        page = found[: paging.limit]
        more = str(page[-1].id) if len(found) > paging.limit else None
        return Page(items=[_show_stream(facts) for facts in page], next_cursor=more)


@router.get("/networks/{network_id}/counts", responses=responses(404, 409))
def read_counts(
    network_id: NetworkId,
    caller: CallerDep,
    store: StoreDep,
    stream_id: Annotated[Id, Query(examples=[7])],
    first: Annotated[
        Minute,
        Query(alias="from", description="Earliest start of an interval.", examples=["2026-11-25T06:00:00Z"]),
    ],
    last: Annotated[
        Minute,
        Query(
            alias="to",
            description="Latest start of an interval; up to 31 days on.",
            examples=["2026-11-25T08:45:00Z"],
        ),
    ],
) -> CountsShown:
    """Counts of one stream."""
    with store.reading() as session, _fitting():
        network = get_network(session, caller, network_id)
        begin, end = on_clock(first, network.timezone), on_clock(last, network.timezone)
        if not begin <= end <= begin + np.timedelta64(MOST_DAYS * 1440, "m"):
            raise Conflict(
                f"from {first.isoformat()} to {last.isoformat()}: up to {MOST_DAYS} days, from before to"
            )
        table = counts.read_counts(session, network_id, streams=[stream_id], first=begin, last=end)
        return CountsShown(
            stream_id=stream_id,
            name=table.names[0],
            step_min=table.step_min,
            timezone=network.timezone,
            first_at=_moment(table.start, network),
            counts=[None if np.isnan(count) else count for count in table.values[:, 0].tolist()],
        )


@router.get("/networks/{network_id}/counts/batches", responses=responses(404))
def list_batches(
    network_id: NetworkId, caller: CallerDep, store: StoreDep, paging: PagingDep
) -> Page[BatchShown]:
    """The deliveries to a network, the oldest first."""
    with store.reading() as session:
        network = get_network(session, caller, network_id)
        query = select(CountBatch).where(CountBatch.network_id == network_id)
        return paging.page(session, query, CountBatch.id, lambda batch: _show_batch(batch, network))


@router.get("/networks/{network_id}/quality", responses=responses(404, 409))
def read_quality(
    network_id: NetworkId,
    caller: CallerDep,
    store: StoreDep,
    paging: PagingDep,
    first: Annotated[
        Day | None,
        Query(
            alias="from",
            description="First day; a week up to `to` where none is given.",
            examples=["2026-11-24"],
        ),
    ] = None,
    last: Annotated[
        Day | None,
        Query(
            alias="to",
            description="Last day; that of the last count where none is given.",
            examples=["2026-11-25"],
        ),
    ] = None,
) -> Quality:
    """How good the network's counts are: what the latest screening found, and how complete they are now.

    Days are UTC days, or local ones where the network has no timezone. The screening comes with the first page.
    """
    with store.reading() as session:
        network = get_network(session, caller, network_id)
        screening = counts.latest_screening(session, network_id)
        latest = counts.last_count_at(session, network_id)
        if last is None:
            last = _day(latest) if latest is not None else first or datetime.now(UTC).date()
        if first is None:
            first = max(date.min + timedelta(days=USUAL_DAYS), last) - timedelta(days=USUAL_DAYS - 1)
        if not 0 <= (last - first).days < MOST_DAYS:
            raise Conflict(f"from {first} to {last}: up to {MOST_DAYS} days, from before to")
        found = counts.coverage(session, network_id, first, last)
        seen = _show_screening(screening, network) if screening is not None and not paging.after else None
    weights = found.slots / max(1, int(found.slots.sum()))
    begin = int(np.searchsorted(found.streams, paging.after, side="right")) if found.streams else 0
    end = begin + paging.limit
    part = zip(found.streams[begin:end], found.names[begin:end], found.share[begin:end].tolist(), strict=True)
    return Quality(
        screening=seen,
        days=list(found.days),
        share=(weights @ found.share).tolist(),
        streams=[StreamCoverage(stream_id=id_, name=name, share=share) for id_, name, share in part],
        next_cursor=str(found.streams[end - 1]) if end < len(found.streams) else None,
    )


@contextmanager
def _fitting() -> Iterator[None]:
    """Where a request is well formed and yet can't be followed, a conflict."""
    try:
        yield
    except InputError as error:
        raise Conflict(str(error)) from None


def _moment(time: np.datetime64, network: RoadNetwork) -> datetime:
    """UTC, or the local time without an offset where the network has no timezone."""
    plain = cast(datetime, time.astype("datetime64[s]").astype(datetime))
    return plain.replace(tzinfo=UTC) if network.timezone else plain


def _kept(time: datetime, network: RoadNetwork) -> datetime:
    """The same of a time in the database, which is a local one under the name of UTC there."""
    return time if network.timezone else time.replace(tzinfo=None)


def _day(time: np.datetime64) -> date:
    return cast(date, time.astype("datetime64[D]").astype(date))


def _received(received: counts.Received, network: RoadNetwork, remarks: list[str]) -> Received:
    return Received(
        batch_id=received.batch_id,
        streams=received.streams,
        counts=received.counts,
        new=received.new,
        corrected=received.corrected,
        kept=received.kept,
        unchanged=received.unchanged,
        late=received.late,
        first_at=_moment(received.first, network),
        last_at=_moment(received.last, network),
        remarks=remarks,
    )


def _show_stream(facts: counts.StreamFacts) -> StreamShown:
    return StreamShown(
        id=facts.id,
        name=facts.name,
        step_min=facts.step_min,
        first_day=facts.first_day,
        last_day=facts.last_day,
        days=facts.days,
    )


def _show_batch(batch: CountBatch, network: RoadNetwork) -> BatchShown:
    return BatchShown(
        id=batch.id,
        person_id=batch.person_id,
        received_at=batch.received_at,
        sha256=batch.sha256,
        streams=batch.streams,
        counts=batch.counts,
        new=batch.new,
        corrected=batch.corrected,
        late=batch.late,
        first_at=_kept(batch.first_at, network),
        last_at=_kept(batch.last_at, network),
        remarks=batch.remarks,
    )


def _show_screening(screening: Screening, network: RoadNetwork) -> ScreeningShown:
    return ScreeningShown(
        job_id=screening.job_id,
        made_at=screening.made_at,
        first_at=_kept(screening.first_at, network),
        last_at=_kept(screening.last_at, network),
        series=screening.series,
        findings=screening.findings,
    )
