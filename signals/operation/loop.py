"""The loop: every quarter hour count, forecast, decide, put in force, measure, and hold the measured against it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from signals.errors import InfeasiblePlan
from signals.formats.sumo.config import Scenario
from signals.formats.sumo.demand import read_demand
from signals.formats.sumo.network import read_network
from signals.model.demand import INTERVAL_S, Demand
from signals.model.network import Network
from signals.model.phasing import SignalProgram, StagePlan
from signals.model.plan import PlanRequest
from signals.operation.decide import Decision, Kind, decide
from signals.operation.expectation import Expectation
from signals.operation.outlook import Outlook, Table, look_ahead
from signals.operation.street import InForce, Observed, Street
from signals.operation.sumo_street import SumoStreet, entry_edges
from signals.planning.case import LEAD_IN_S
from signals.planning.scope import stage_plans
from signals.safety.check import check_plan
from signals.model.plan import TimingPlan
from signals.simulation.outputs import RunResult
from signals.demand.turning import turning_counts
from signals.timing.problem import Choice, Problem, Solution, pose
from signals.timing.search import search
from signals.timing.stretches import coordination_groups, movement_flows_vph

TYPICAL_SEED = 900_001
"""Seed of the typical day, which no measured run has."""
LIBRARY_PERIOD_S = 3600.0
"""A plan is made beforehand for each such part of the typical day."""


@dataclass(frozen=True)
class OperateSettings:
    """What an operator sets.

    `library_runs` is how much the queue simulator runs for each plan made beforehand, 0 for none. `cache` keeps
    recorded demand; none by default.
    """

    request: PlanRequest = field(default_factory=PlanRequest)
    slot_s: float = INTERVAL_S
    evaluations: int = 240
    margin: float = 0.03
    library_runs: int = 400
    cache: Path | None = None
    record: Path | None = None


@dataclass(frozen=True)
class Slot:
    """What was seen up to `now_s`, what was forecast for it, and what was decided for the time after.

    `wape`, `wape_naive` and `wape_typical` are the absolute errors of the forecast over what came, that of the last
    slot's counts taken for the next one's, and that of the typical day; NaN before there is any.
    """

    now_s: float
    observed: Observed
    wape: float
    wape_naive: float
    wape_typical: float
    predicted_delay_veh_s: float
    decision: Decision
    applied: Mapping[str, InForce]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The slot as plain data; None for what isn't known."""
        decision = self.decision
        return {
            "time_s": self.now_s,
            "entered": round(sum(self.observed.entered.values()), 1),
            "passed": round(sum(self.observed.passed.values()), 1),
            "present": None
            if self.observed.present is None
            else round(sum(self.observed.present.values()), 1),
            "wape": _known(self.wape),
            "wape_naive": _known(self.wape_naive),
            "wape_typical": _known(self.wape_typical),
            "delay_veh_h": _known(self.observed.delay_veh_s, 3600.0),
            "predicted_delay_veh_h": _known(self.predicted_delay_veh_s, 3600.0),
            "decision": str(decision.chosen.kind),
            "from": decision.chosen.name,
            "why": decision.why,
            "expected_gain": round(decision.gain, 4),
            "at_least": round(decision.surely, 4),
            "signals": {s: i.time_s for s, i in sorted(self.applied.items())},
        }


@dataclass(frozen=True)
class Operated:
    """The slots of a run of the loop, and its measures as `compare` gives them."""

    slots: tuple[Slot, ...]
    run: RunResult
    library: tuple[str, ...]

    @property
    def changes(self) -> int:
        """How often the plan was changed."""
        return sum(slot.decision.chosen.kind is not Kind.KEEP for slot in self.slots)


def operate(
    scenario: Scenario,
    settings: OperateSettings | None = None,
    *,
    seed: int,
    start: Path | None = None,
    extra: Sequence[Path] = (),
    typical: Scenario | None = None,
    on_slot: Callable[[Slot], None] | None = None,
) -> Operated:
    """Run a scenario in SUMO with the loop around it.

    Parameters
    ----------
    seed
        SUMO's seed of the day.
    start
        A plan to begin with, a SUMO additional file; the scenario's own programs by default.
    extra
        Further additional files, such as disturbances; the loop knows nothing of what is in them.
    typical
        The scenario whose demand is known as the typical day; the scenario's own by default. Its days are recorded
        under seeds of their own.
    on_slot
        Called after each decision.

    Raises
    ------
    InfeasiblePlan
        Where no signal can be planned.
    SimulationError
        Where SUMO can't run the scenario.
    """
    settings = settings or OperateSettings()
    plans = [start] if start is not None else []
    standing = replace(scenario, additional=(*scenario.additional, *(p.resolve() for p in plans)))
    network = read_network(standing)
    days = (read_demand(typical or scenario, seed=TYPICAL_SEED, cache=settings.cache),)
    knowledge = prepare(standing, network, days, settings)
    street = SumoStreet(
        scenario,
        network,
        knowledge.min_green_s,
        seed=seed,
        plans=[*plans, *extra],
        record=settings.record,
    )
    end_s = scenario.end_s if scenario.end_s is not None else days[0].end_s
    try:
        slots = run_loop(street, knowledge, end_s, on_slot)
    finally:
        street.close()
    assert street.result is not None
    return Operated(tuple(slots), street.result, tuple(knowledge.library))


@dataclass
class Knowledge:
    """What is known before the day: the problem, plans to choose from, and the typical day."""

    settings: OperateSettings
    problem: Problem
    expectation: Expectation
    current: Solution
    library: dict[str, Solution]
    min_green_s: dict[str, dict[str, float]]


def prepare(
    scenario: Scenario, network: Network, days: Sequence[Demand], settings: OperateSettings
) -> Knowledge:
    """Learn the typical day, and make plans for it."""
    request = settings.request
    base, reasons = stage_plans(network, request)
    if not base:
        raise InfeasiblePlan("no signal can be planned:\n  " + "\n  ".join(reasons.values()))
    counts = turning_counts(network, days[0])
    groups = coordination_groups(network, counts)
    problem = pose(network, days[0], counts, base, groups, {}, _in_order, request)
    current = {s: choice_of(p) for s, p in base.items()}
    library = made_beforehand(network, days[0], problem, current, settings)
    expectation = Expectation(days, entry_edges(network), settings.slot_s)
    least = {s: {stage.state: stage.min_s for stage in p.stages} for s, p in base.items()}
    return Knowledge(settings, problem, expectation, current, library, least)


def _in_order(_plan: StagePlan, order: tuple[int, ...]) -> bool:
    """Stages keep the order of the street: one that changes from slot to slot is learned by nobody."""
    return list(order) == sorted(order)


def made_beforehand(
    network: Network, day: Demand, problem: Problem, current: Solution, settings: OperateSettings
) -> dict[str, Solution]:
    """The plan in force at the start, and one for each part of the typical day, found near it."""
    library: dict[str, Solution] = {"the plan at the start": current}
    parts = max(1, round((day.end_s - day.begin_s) / LIBRARY_PERIOD_S)) if settings.library_runs else 0
    for k in range(parts):
        begin = day.begin_s + k * (day.end_s - day.begin_s) / parts
        end = day.begin_s + (k + 1) * (day.end_s - day.begin_s) / parts
        vehicles = tuple(v for v in day.vehicles if begin - LEAD_IN_S <= v.depart_s < end)
        part = replace(day, begin_s=max(day.begin_s, begin - LEAD_IN_S), end_s=end, vehicles=vehicles)
        if not vehicles:
            continue
        posed = pose(
            network,
            part,
            turning_counts(network, part),
            problem.base,
            problem.groups,
            {},
            problem.acceptable,
            problem.request,
        )
        found = search(posed, runs=settings.library_runs, near=current)
        library[f"the plan for {clock_text(begin)} to {clock_text(end)}"] = found[0].solution
    return library


def clock_text(time_s: float) -> str:
    """A time of the simulation's clock, hours and minutes."""
    return f"{int(time_s) // 3600}:{int(time_s) % 3600 // 60:02d}"


def choice_of(plan: StagePlan) -> Choice:
    """The choice that shows the stages of a program as it does, to the second."""
    rest = math.ceil(plan.fixed_s - 1e-9) - plan.fixed_s
    green = [round(s.duration_s - (rest if k == 0 else 0.0)) for k, s in enumerate(plan.stages)]
    return Choice(tuple(range(len(green))), tuple(green), round(plan.offset_s))


def run_loop(
    street: Street,
    knowledge: Knowledge,
    end_s: float,
    on_slot: Callable[[Slot], None] | None = None,
) -> list[Slot]:
    """Go round until the day ends; the street is anything that can be counted on and told programs."""
    settings, expectation = knowledge.settings, knowledge.expectation
    tables: dict[object, Table] = {}
    slots: list[Slot] = []
    current = knowledge.current
    expected = expectation.forecast(street.now_s, street.now_s + settings.slot_s)
    last: Mapping[str, float] = {}
    predicted = math.nan
    changed = False
    begin = street.now_s
    while (until := min(begin + settings.slot_s, end_s)) > begin:
        street.advance(until)
        started = time.process_time()
        observed = street.counts(begin, until)
        errors = [
            _wape(known, observed.entered)
            for known in (expected, last, expectation.typical(begin, until))
        ]
        expectation.learn(observed.entered, begin, until)
        if until >= end_s - 60.0:
            street.advance(end_s)
            break
        last, expected = observed.entered, expectation.forecast(until, until + settings.slot_s)
        outlook = look_ahead(
            replace(knowledge.problem, flows_vph=_flows(knowledge, until, expected)),
            street.in_force(),
            expectation,
            observed.present or {},
            until,
            end_s,
            settings.request.seed,
            tables,
        )
        decision = decide(
            outlook,
            current,
            knowledge.library,
            seed=settings.request.seed,
            evaluations=settings.evaluations,
            changed_lately=changed,
            margin=settings.margin,
        )
        applied: Mapping[str, InForce] = {}
        changed = decision.chosen.kind is not Kind.KEEP
        before = predicted
        predicted = _predicted(outlook, decision, min(until + settings.slot_s, end_s))
        if changed:
            _require_safe(knowledge, decision)
            applied = street.apply(decision.chosen.programs)
            current = {
                s: c if s not in applied or applied[s].time_s is not None else current[s]
                for s, c in decision.chosen.solution.items()
            }
        slot = Slot(until, observed, *errors, before, decision, applied, time.process_time() - started)
        slots.append(slot)
        if on_slot:
            on_slot(slot)
        begin = until
    return slots


def _flows(
    knowledge: Knowledge, now_s: float, expected: Mapping[str, float]
) -> Mapping[str, Mapping[str, float]]:
    """Expected flow of each movement [veh/h]: the typical one of the time, at the level of all entries."""
    counts = knowledge.problem.counts
    k = min(max(int((now_s - counts.begin_s) // counts.interval_s), 0), counts.n_intervals - 1)
    level = knowledge.expectation.level(None, 0.0)
    return {
        signal: {m: row[k] * level * 3600.0 / counts.interval_s for m, row in rows.items()}
        for signal, rows in counts.counts.items()
    }


def _predicted(outlook: Outlook, decision: Decision, end_s: float) -> float:
    """Delay of everybody by a time if the decision is put in force [veh-s], the mean over the fresh draws."""
    chosen = decision.chosen
    signals = outlook.showing(chosen.programs, chosen.starts)
    totals = [
        outlook.run(signals, traffic, end_s)[0] * traffic.depart.shape[0] for traffic in outlook.fresh
    ]
    return sum(totals) / len(totals)


def _require_safe(knowledge: Knowledge, decision: Decision) -> None:
    network, request = knowledge.problem.network, knowledge.settings.request
    for signal, program in decision.chosen.programs.items():
        findings = check_plan(
            network.intersections[signal], TimingPlan(program), request, connections=network.connections
        )
        assert not findings, findings


def _wape(forecast: Mapping[str, float], came: Mapping[str, float]) -> float:
    total = sum(came.values())
    if not forecast or total <= 0.0:
        return math.nan
    return sum(abs(forecast.get(edge, 0.0) - n) for edge, n in came.items()) / total


def _known(value: float | None, unit: float = 1.0) -> float | None:
    return None if value is None or math.isnan(value) else round(value / unit, 4)
