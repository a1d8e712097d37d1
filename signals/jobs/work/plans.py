"""Making a plan, and running it in SUMO beside another one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from signals.demand.margins import flows_at_places
from signals.documents import Document, plan_documents
from signals.errors import InputError
from signals.formats.sumo.bundle import bundle_of, unpack_bundle
from signals.formats.sumo.config import Scenario
from signals.formats.sumo.network import read_network
from signals.formats.sumo.sampling import sample_demand
from signals.jobs.context import Context, Finish
from signals.jobs.work.counts import as_minutes, make_forecast, step_of
from signals.jobs.work.networks import RECORDINGS
from signals.model.plan import ClearancePolicy, ControllerPolicy, Objective, PlanRequest, StagePolicy
from signals.orders.plans import add_comparison
from signals.planning import plan_case, read_case
from signals.simulation.compare import compare
from signals.store.audit import Actor, record
from signals.store.plans import DOCUMENT, add_plan, find_document, find_plan, get_document, plan_hash
from signals.store.tables import ComparisonRow, Plan, PlanDocument, PlanRequestRow
from signals.store.uploads import unpack_upload

SCENARIO = "scenario"
"""Kind of the document that holds the scenario of a plan whose demand was forecast."""
WEEKS = 8
"""Of counts that a plan's forecast is learned from."""
UNLIMITED = 2**31
"""The comparison that belongs to a plan isn't refused because others wait."""


def make_plan(context: Context) -> Finish:
    """The work of `plan`: a safe plan on its demand, in all its forms; the comparison asked for follows."""
    with context.store.reading() as session:
        row = session.get_one(PlanRequestRow, int(context.arguments["plan_request_id"]))
        terms, signals, network_id = row.terms, row.signals, row.network_id
        whole = len(signals) == int(row.network.facts["signals"])
    scenario = unpack_upload(context.store, network_id, context.folder / "network").scenario
    cache = context.folder.parent / RECORDINGS
    extra: list[Document] = []
    remarks: tuple[str, ...] = ()
    if terms["demand"]["kind"] == "forecast":
        scenario, remarks = _forecast_demand(context, network_id, scenario, terms, cache)
        extra.append(Document(SCENARIO, "scenario.zip", "application/zip", bundle_of(scenario)))
    elif not (scenario.routes or scenario.additional):
        raise InputError(
            "the network was uploaded without traffic; upload a .sumocfg with routes, or send counts"
        )
    context.progress("reading network and demand", 0, 1)
    case = read_case(scenario, cache=cache)
    context.progress("reading network and demand", 1, 1)
    request = _request(terms, () if whole else tuple(signals))
    planned = plan_case(case, request, jobs_at_once=context.simulations, on_progress=context.progress)
    kept = None
    if request.stages is StagePolicy.DROP_PROTECTED:
        with_all = _request({**terms, "stages": StagePolicy.KEEP.value}, request.signals)
        kept = plan_case(case, with_all, jobs_at_once=context.simulations, on_progress=context.progress)
    context.progress("writing documents", 0, 1)
    documents = (*plan_documents(planned, kept), *extra)
    context.progress("writing documents", 1, 1)

    def finish(session: Session) -> dict[str, Any]:
        made = keep_plan(session, row.id, planned.plans.digest, planned.kept, documents)
        return {**made, "remarks": list(remarks)}

    return finish


def _request(terms: Mapping[str, Any], signals: tuple[str, ...]) -> PlanRequest:
    limits = terms["limits"]
    return PlanRequest(
        stages=StagePolicy(terms["stages"]),
        clearance=ClearancePolicy(terms["clearance"]),
        seed=int(terms["seed"]),
        signals=signals,
        objective=Objective(terms["objective"]),
        stop_weight_s=float(terms["stop_weight_s"]),
        controllers=ControllerPolicy(terms.get("controllers", ControllerPolicy.ANY)),
        min_green_s=limits["min_green_s"],
        min_cycle_s=limits["min_cycle_s"],
        max_cycle_s=limits["max_cycle_s"],
        walking_speed_mps=limits["walking_speed_mps"],
        walk_s=limits["walk_s"],
        ignore_durations=limits["ignore_durations"],
    )


def _forecast_demand(
    context: Context, network_id: int, scenario: Scenario, terms: Mapping[str, Any], cache: Path
) -> tuple[Scenario, tuple[str, ...]]:
    """The scenario with the traffic that is forecast for the period, and what was done to get it."""
    demand = terms["demand"]
    origin, begins, ends = (
        datetime.fromisoformat(demand[key]) for key in ("origin_at", "begins_at", "ends_at")
    )
    ahead_min = (ends - origin).total_seconds() / 60
    step_min = step_of(context.store, network_id)
    ahead = math.ceil(ahead_min / step_min)
    made = make_forecast(context, network_id, origin, horizon=ahead, weeks=WEEKS, levels=(), calendar=None)
    rows = np.flatnonzero((made.times_utc >= as_minutes(begins)) & (made.times_utc < as_minutes(ends)))
    network = read_network(scenario)
    names = made.forecast.names
    flows = flows_at_places(network, names, made.forecast.mean[rows])
    if not flows:
        raise InputError(
            f"none of the {len(names)} streams is named after an edge, a movement or the detectors of all lanes of an "
            f"edge ({', '.join(names[:3])}, …), so their forecast says nothing about the network's traffic"
        )
    context.progress("drawing traffic", 0, 1)
    sampled = sample_demand(
        scenario, network, flows, step_min, int(terms["seed"]), context.folder / "traffic", cache=cache
    )
    context.progress("drawing traffic", 1, 1)
    return sampled.scenario, sampled.remarks


def keep_plan(
    session: Session, request_id: int, digest: str, kept: bool, documents: Sequence[Document]
) -> dict[str, Any]:
    """Keep a plan with its documents, and ask for the comparison that belongs to the request."""
    row = session.get_one(PlanRequestRow, request_id)
    (main,) = (d.content for d in documents if d.kind == DOCUMENT)
    hash_ = plan_hash(row.network_id, main)
    plan = Plan(
        hash=hash_,
        network_id=row.network_id,
        area_id=row.area_id,
        digest=digest,
        keeps_plan_in_place=kept,
        created_at=datetime.now(UTC),
    )
    rows = [
        PlanDocument(plan_hash=hash_, kind=d.kind, name=d.name, media_type=d.media_type, content=d.content)
        for d in documents
    ]
    new = add_plan(session, plan, rows)
    row.plan_hash = hash_
    session.flush()
    actor = Actor(None, "jobs")
    record(session, actor, "plan.made", f"plans/{hash_}", area_id=row.area_id, request=row.id, new=new)
    comparison = None
    validation = row.terms["validation"]
    if validation is not None:
        first, count = int(validation["first_seed"]), int(validation["seeds"])
        found = find_plan(session, hash_)
        assert found is not None
        comparison = add_comparison(
            session,
            Actor(row.created_by, "jobs"),
            found,
            None,
            range(first, first + count),
            now=datetime.now(UTC),
            queue_limit=UNLIMITED,
        ).id
    return {"plan": hash_, "comparison": comparison}


def compare_plans(context: Context) -> Finish:
    """The work of `compare`: both plans in SUMO with the same seeds, on the traffic that the plan was made for."""
    with context.store.reading() as session:
        row = session.get_one(ComparisonRow, int(context.arguments["comparison_id"]))
        plan = find_plan(session, row.plan_hash)
        assert plan is not None
        contents = {
            key: get_document(session, key, "sumo")
            for key in (row.plan_hash, row.against_hash)
            if key is not None
        }
        own_traffic = find_document(session, row.plan_hash, SCENARIO)
    if own_traffic is None:
        scenario = unpack_upload(context.store, plan.network_id, context.folder / "network").scenario
    else:
        scenario = unpack_bundle(own_traffic, context.folder / "network").scenario
    files: dict[str, Path | None] = {"in place": None}
    for name, key in (("in place", row.against_hash), ("plan", row.plan_hash)):
        if key is not None:
            path = context.folder / f"{name.replace(' ', '-')}.add.xml"
            path.write_bytes(contents[key])
            files[name] = path
    runs, done = 2 * len(row.seeds), 0

    def count(_index: int, _result: object) -> None:
        nonlocal done
        done += 1
        context.progress("simulating", done, runs)

    context.progress("simulating", 0, runs)
    result = compare(
        scenario,
        files,
        seeds=row.seeds,
        jobs_at_once=context.simulations,
        movements=read_network(scenario),
        emissions=True,
        on_done=count,
    )
    verdict, figures = result.alternatives[0].verdict.value, result.to_json()
    for plan_figures, key in (
        (figures["current"], row.against_hash),
        (figures["alternatives"][0], row.plan_hash),
    ):
        plan_figures["plan"] = key
    return lambda session: keep_comparison(session, row.id, verdict, figures)


def keep_comparison(
    session: Session, comparison_id: int, verdict: str, figures: dict[str, Any]
) -> dict[str, Any]:
    """Keep what a comparison has found."""
    row = session.get_one(ComparisonRow, comparison_id)
    row.verdict, row.figures = verdict, figures
    subject = f"comparisons/{row.id}"
    record(session, Actor(None, "jobs"), "comparison.made", subject, area_id=row.area_id, verdict=verdict)
    return {"comparison": row.id, "verdict": verdict}
