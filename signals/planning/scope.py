"""What may be planned, and what may be changed about it: signals, stages, orders, controllers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from signals.controllers.mapping import cabinet_of, pattern_of
from signals.errors import InfeasiblePlan, InputError, UnmappablePlan
from signals.model.controller import Cabinet
from signals.model.network import Network
from signals.model.phasing import StagePlan
from signals.model.plan import PlanRequest, StagePolicy, TimingPlan
from signals.safety.check import Rule, check_plan
from signals.timing.stages import (
    droppable,
    omitted_stages,
    program_of,
    stage_plan,
    strands_turns,
    without_stages,
)

SIGNALS_NAMED = 8
"""As many ids as a message of an unknown signal gives."""


def in_scope(network: Network, request: PlanRequest) -> Network:
    """The network with none but the signals to be retimed, as the safety check of a plan set needs it.

    Raises
    ------
    InputError
        Where the request names a signal that the network doesn't have.
    """
    if not request.signals:
        return network
    unknown = [s for s in request.signals if s not in network.intersections]
    if unknown:
        some = ", ".join(sorted(network.intersections)[:SIGNALS_NAMED])
        more = ", …" if len(network.intersections) > SIGNALS_NAMED else ""
        raise InputError(
            f"signals to be retimed: {network.source} has no signal {', '.join(unknown[:SIGNALS_NAMED])}; "
            f"it has {some}{more}"
        )
    return replace(network, intersections={s: network.intersections[s] for s in request.signals})


def stage_plans(network: Network, request: PlanRequest) -> tuple[dict[str, StagePlan], dict[str, str]]:
    """Stages of each signal that can be planned, and the reason for each that can't."""
    plans: dict[str, StagePlan] = {}
    reasons: dict[str, str] = {}
    for signal, intersection in network.intersections.items():
        try:
            plans[signal] = stage_plan(intersection, request, network.connections)
        except InfeasiblePlan as reason:
            reasons[signal] = str(reason)
    return plans, reasons


def cabinets_of(network: Network, base: Mapping[str, StagePlan]) -> tuple[dict[str, Cabinet], dict[str, str]]:
    """The controller of each signal whose program phases can show, and the reason for each other one."""
    cabinets: dict[str, Cabinet] = {}
    reasons: dict[str, str] = {}
    for signal in base:
        try:
            cabinets[signal] = cabinet_of(network.intersections[signal], network)
        except UnmappablePlan as reason:
            reasons[signal] = str(reason)
    return cabinets, reasons


def is_showable(cabinet: Cabinet, base: StagePlan, plan: StagePlan) -> bool:
    """Whether a controller's phases can show stages in an order, at the lengths that the field gives them."""
    field_s = {s.state: s.duration_s for s in base.stages}
    stages = [replace(s, duration_s=max(s.min_s, field_s.get(s.state, 0.0))) for s in plan.stages]
    try:
        pattern_of(cabinet, program_of(replace(plan, stages=tuple(stages)), "trial"))
    except UnmappablePlan:
        return False
    return True


def is_safe_order(
    network: Network, base: StagePlan, plan: StagePlan, order: tuple[int, ...], request: PlanRequest
) -> bool:
    """Whether stages in an order strand no turns and, with their changes, pass the safety check; the cycle aside."""
    intersection = network.intersections[plan.intersection]
    if strands_turns(intersection, network.connections, base, order):
        return False
    left_out = [k for k in range(len(base.stages)) if k not in order]
    trial = TimingPlan(program_of(plan, "trial"), omitted_stages(intersection, base, left_out))
    findings = check_plan(intersection, trial, request, connections=network.connections)
    return all(f.rule is Rule.CYCLE for f in findings)


def safe_drops(network: Network, plan: StagePlan, request: PlanRequest) -> tuple[int, ...]:
    """Stages that may be left out as far as the safety check is concerned, each judged alone."""
    n = len(plan.stages)
    # leaving stages out is what is asked about, whatever the request's own policy is
    allowed = replace(request, stages=StagePolicy.DROP_PROTECTED)
    return tuple(
        k
        for k in droppable(plan)
        if is_safe_order(
            network, plan, without_stages(plan, [k]), tuple(s for s in range(n) if s != k), allowed
        )
    )
