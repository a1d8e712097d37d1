"""The way through for an ambulance, on the plans in force and the traffic as it is known."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from signals.emergency.answers import answer
from signals.formats.sumo.network import read_network
from signals.formats.sumo.programs import read_plans
from signals.jobs.context import Context, Finish
from signals.jobs.work.networks import RECORDINGS
from signals.model.phasing import SignalProgram
from signals.planning import read_case
from signals.store.audit import Actor, record
from signals.store.plans import get_document
from signals.store.street import plans_in_force
from signals.store.tables import Job, RoadNetwork
from signals.store.uploads import unpack_upload
from signals.wire.emergency import Departure, NewEmergencyPlan

STEP = "planning the way"


def plan_emergency(context: Context) -> Finish:
    """The work of `emergency`: what each signal on the route does. Nothing is sent to a controller."""
    network_id = int(context.arguments["network_id"])
    asked = NewEmergencyPlan.model_validate(context.arguments["asked"])
    context.progress(STEP, 0, 2)
    scenario = unpack_upload(context.store, network_id, context.folder / "network").scenario
    flows: Mapping[str, Mapping[str, float]] | None = None
    if scenario.routes or scenario.additional:
        case = read_case(scenario, cache=context.folder.parent / RECORDINGS)
        network, drive = case.network, asked.drive
        flows = case.flows_vph(drive.departs_s if isinstance(drive, Departure) else drive.at_s)
    else:
        network = read_network(scenario)
    context.progress(STEP, 1, 2)
    begun = time.perf_counter()
    made = answer(network, asked, programs=_in_force(context, network_id), flows_vph=flows)
    took_s = time.perf_counter() - begun
    context.progress(STEP, 2, 2)

    def finish(session: Session) -> dict[str, Any]:
        row, job = session.get_one(RoadNetwork, network_id), session.get_one(Job, context.job_id)
        record(
            session,
            Actor(job.created_by, "jobs"),
            "emergency.plan",
            f"networks/{network_id}",
            area_id=row.area_id,
            signals=[part.signal for part in made.signals],
            saved_s=round(made.saved_s, 1),
            took_s=round(took_s, 3),
        )
        return made.model_dump(mode="json")

    return finish


def _in_force(context: Context, network_id: int) -> dict[str, SignalProgram]:
    """The programs that deployments keep the signals at; the others run the network's own."""
    programs: dict[str, SignalProgram] = {}
    with context.store.reading() as session:
        held = plans_in_force(session, network_id)
        contents = {hash_: get_document(session, hash_, "sumo") for hash_ in set(held.values())}
    for hash_, content in contents.items():
        path = context.folder / f"{hash_[:16]}.add.xml"
        path.write_bytes(content)
        of_plan = read_plans([path])
        programs |= {s: of_plan[s] for s, by in held.items() if by == hash_ and s in of_plan}
    return programs
