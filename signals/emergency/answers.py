"""Plans for an ambulance on the wire: a request in, the plan out."""

from __future__ import annotations

from collections.abc import Mapping

from signals.emergency.corridor import CorridorPlan, CorridorPlanner, Position, SignalPart
from signals.emergency.holds import Hold
from signals.errors import InputError, UnsafePlan
from signals.model.network import Network
from signals.model.phasing import SignalProgram
from signals.wire.emergency import (
    Departure,
    EmergencyPlanShown,
    HoldShown,
    MovementCost,
    NewEmergencyPlan,
    SignalHeldShown,
    StepShown,
)

LONGEST_AWAY_S = 7200.0
"""From the first hold of a drive to the last one's end."""


def answer(
    network: Network,
    asked: NewEmergencyPlan,
    *,
    programs: Mapping[str, SignalProgram] | None = None,
    flows_vph: Mapping[str, Mapping[str, float]] | None = None,
) -> EmergencyPlanShown:
    """The plan for a drive, or from a reported position on; arguments as for `plan_corridor`.

    Raises
    ------
    InputError
        Where the route isn't one, the position isn't on it, or holds can't be those of its last plan.
    UnsafePlan
        Where the given holds fail the safety check.
    """
    planner = CorridorPlanner(network, asked.route, programs=programs, flows_vph=flows_vph)
    drive = asked.drive
    if isinstance(drive, Departure):
        return shown(planner.plan(drive.departs_s, now_s=drive.known_at_s, queues=asked.queues))
    foreign = sorted(set(drive.holds) - {p.signal for p in planner.route.passages})
    if foreign:
        raise InputError(
            f"holds: signal {', '.join(foreign[:5])} isn't on the route; send those of its last plan"
        )
    holds = {signal: tuple(_hold(h) for h in rows) for signal, rows in drive.holds.items()}
    _require_safe(planner, holds)
    position = Position(drive.edge, drive.along_m, drive.at_s)
    return shown(planner.update(position, holds, queues=asked.queues))


def _require_safe(planner: CorridorPlanner, holds: Mapping[str, tuple[Hold, ...]]) -> None:
    """Holds that a caller sends back are kept only if they are whole and safe: they may come from anywhere."""
    for signal, rows in holds.items():
        if not rows:
            continue
        if signal not in planner.keepers:
            raise InputError(f"holds: signal {signal} can't be led, so its last plan had none")
        times = [t for h in rows for t in (h.leaves_s, h.begins_s, h.ends_s, h.back_s)]
        own = all(h.steps[0][0] == h.leaves_s and h.steps[-1][0] <= h.back_s for h in rows)
        rising = all(list(h.steps) == sorted(h.steps, key=lambda step: step[0]) for h in rows)
        if times != sorted(times) or not own or not rising or times[-1] - times[0] > LONGEST_AWAY_S:
            raise InputError(f"holds: those of signal {signal} don't follow each other; send the last plan's")
    findings = [f for signal, rows in holds.items() if rows for f in planner.keepers[signal].findings(rows)]
    if findings:
        raise UnsafePlan([f.message for f in findings])


def shown(plan: CorridorPlan) -> EmergencyPlanShown:
    """A plan as it is answered."""
    return EmergencyPlanShown(
        route=list(plan.route.edges),
        planned_at_s=plan.now_s,
        driven_m=round(plan.driven_m, 1),
        length_m=round(plan.route.length_m, 1),
        travel_s=round(plan.travel_s, 1),
        travel_without_s=round(plan.travel_without_s, 1),
        saved_s=round(plan.saved_s, 1),
        cross_delay_s=round(plan.cross_delay_s, 1),
        signals=[_signal(part) for part in plan.signals],
        skipped=dict(plan.skipped),
        computed_in_s=round(plan.computed_in_s, 3),
    )


def _signal(part: SignalPart) -> SignalHeldShown:
    return SignalHeldShown(
        signal=part.passage.signal,
        movement=part.movement,
        links=list(part.passage.links),
        phases=list(part.phases),
        distance_m=round(part.passage.distance_m, 1),
        eta_early_s=round(part.eta_early_s, 1),
        eta_late_s=round(part.eta_late_s, 1),
        passed=part.passed,
        queue_veh=round(part.queue_veh, 1),
        holds=[_hold_shown(hold) for hold in part.holds],
        longest_red_s=part.longest_red_s,
        red_added_s=part.red_added_s,
        cross_delay_s=round(part.cross_delay_s, 1),
        costs=[
            MovementCost(movement=c.movement, red_added_s=c.red_added_s, delay_added_s=c.delay_added_s)
            for c in part.costs
        ],
    )


def _hold_shown(hold: Hold) -> HoldShown:
    return HoldShown(
        leaves_s=hold.leaves_s,
        begins_s=hold.begins_s,
        ends_s=hold.ends_s,
        back_s=hold.back_s,
        stage=hold.stage,
        steps=[StepShown(at_s=round(at, 3), state=state) for at, state in hold.steps],
    )


def _hold(given: HoldShown) -> Hold:
    steps = tuple((s.at_s, s.state) for s in given.steps)
    return Hold(given.leaves_s, given.begins_s, given.ends_s, given.back_s, given.stage, steps)
