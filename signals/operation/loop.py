"""The loop: every quarter hour count, forecast, decide, put in force, measure, and hold the measured against it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from signals.errors import UnsafePlan
from signals.formats.sumo.config import Scenario
from signals.formats.sumo.demand import read_demand
from signals.formats.sumo.network import read_network
from signals.model.plan import TimingPlan
from signals.operation.ahead import look_ahead, saturated
from signals.operation.decide import Decision, Kind, decide
from signals.operation.knowledge import Knowledge, OperateSettings, prepare
from signals.operation.street import Observed, Street, Taken
from signals.operation.sumo_street import SumoStreet
from signals.safety.check import check_plan
from signals.simulation.outputs import RunResult
from signals.timing.outlook import Foreseen, Table

TYPICAL_SEED = 900_001
"""Seed of the typical day, which no measured run has."""
LAST_SLOT_S = 300.0
"""So near to the end nothing is changed any more."""


@dataclass(frozen=True)
class Slot:
    """A decision at `now_s`, and what was seen and had been forecast of the time before it.

    `observed` is None at the begin of the day. `wape`, `wape_naive` and `wape_typical` are the absolute errors, over
    vehicles that entered, of the forecast, of the last slot's counts taken for this one's, and of the typical day; NaN
    where there was none. `forecast` is how many were to enter. `predicted_delay_veh_s` is what was foreseen of the
    time before, as feedback had it then.
    """

    now_s: float
    observed: Observed | None
    wape: float
    wape_naive: float
    wape_typical: float
    forecast: float
    predicted_delay_veh_s: float
    decision: Decision
    applied: Mapping[str, Taken] = field(default_factory=dict)
    saturation: float = 1.0

    def to_json(self) -> dict[str, Any]:
        """The slot as plain data; None for what isn't known."""
        decision, seen = self.decision, self.observed
        present = seen.present if seen is not None else None
        delay = seen.delay_veh_s if seen is not None else None
        return {
            "time_s": self.now_s,
            "entered": None if seen is None else round(sum(seen.entered.values()), 1),
            "forecast": _known(self.forecast),
            "passed": None if seen is None else round(sum(seen.passed.values()), 1),
            "present": None if present is None else round(sum(present.values()), 1),
            "silent_lanes": [] if seen is None else sorted(seen.silent),
            "wape": _known(self.wape),
            "wape_naive": _known(self.wape_naive),
            "wape_typical": _known(self.wape_typical),
            "delay_veh_h": _known(delay, 3600.0),
            "predicted_delay_veh_h": _known(self.predicted_delay_veh_s, 3600.0),
            "saturation": round(self.saturation, 4),
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
        The scenario whose demand is known as the typical day; the scenario's own by default, recorded under a seed
        that no measured run has.
    on_slot
        Called after each decision.

    Raises
    ------
    InfeasiblePlan
        Where no signal can be planned.
    UnsafePlan
        Where a change fails the safety check, which would be a fault of the search.
    UnmappablePlan
        Where it is for virtual controllers, and a signal's program can't be shown by phases.
    SimulationError
        Where SUMO can't run the scenario.
    """
    settings = settings or OperateSettings()
    plans = [start.resolve()] if start is not None else []
    network = read_network(replace(scenario, additional=(*scenario.additional, *plans)))
    day = read_demand(typical or scenario, seed=TYPICAL_SEED, cache=settings.cache)
    knowledge = prepare(network, day, settings)
    street_of = SumoStreet
    if settings.virtual_units:
        from signals.operation.unit_street import UnitStreet

        street_of = UnitStreet
    street = street_of(
        scenario,
        network,
        knowledge.min_green_s,
        seed=seed,
        plans=[*plans, *extra],
        record=settings.record,
    )
    try:
        slots = run_loop(
            street, knowledge, scenario.end_s if scenario.end_s is not None else day.end_s, on_slot
        )
    finally:
        street.close()
    assert street.result is not None
    return Operated(tuple(slots), street.result)


def run_loop(
    street: Street,
    knowledge: Knowledge,
    end_s: float,
    on_slot: Callable[[Slot], None] | None = None,
) -> list[Slot]:
    """Go round until the day ends; the street is anything that can be counted on and told programs."""
    loop = _Loop(street, knowledge, end_s)
    slots: list[Slot] = []
    while street.now_s < end_s - LAST_SLOT_S:
        slots.append(loop.turn())
        if on_slot:
            on_slot(slots[-1])
        street.advance(min(street.now_s + knowledge.settings.slot_s, end_s))
    street.advance(end_s)
    return slots


class _Loop:
    """What goes from one slot to the next."""

    def __init__(self, street: Street, knowledge: Knowledge, end_s: float) -> None:
        self.street = street
        self.knowledge = knowledge
        self.end_s = end_s
        self._tables: dict[object, Table] = {}
        self._observed: Observed | None = None
        self._expected: Mapping[str, float] = {}
        self._foreseen: Foreseen | None = None
        self._changed = False
        self._begin = street.now_s

    def turn(self) -> Slot:
        """Look back on the slot that ends now, and decide about the next."""
        now, knowledge = self.street.now_s, self.knowledge
        slot_s = knowledge.settings.slot_s
        expectation = knowledge.expectation
        errors = (math.nan, math.nan, math.nan)
        predicted = math.nan
        observed = None
        if now > self._begin:
            observed = self.street.counts(self._begin, now)
            last = self._observed.entered if self._observed is not None else {}
            known = (self._expected, last, expectation.typical(self._begin, now))
            errors = (_wape(known[0], observed), _wape(known[1], observed), _wape(known[2], observed))
            predicted = self._feed_back(observed)
            expectation.learn(observed.entered, self._begin, now)
        forecast = sum(self._expected.values()) if self._expected else math.nan
        self._observed, self._begin = observed, now
        self._expected = expectation.forecast(now, now + slot_s)
        settings = knowledge.settings
        outlook = look_ahead(knowledge, self.street.in_force(), observed, now, self.end_s, self._tables)
        decision = decide(
            outlook,
            knowledge.current,
            knowledge.library,
            seed=settings.request.seed,
            evaluations=settings.evaluations,
            changed_lately=self._changed,
            margin=settings.margin,
        )
        chosen = decision.chosen
        self._foreseen = outlook.foreseen(chosen.programs, chosen.starts, min(now + slot_s, self.end_s))
        self._changed = chosen.kind is not Kind.KEEP
        applied = self._apply(decision) if self._changed else {}
        return Slot(
            now,
            observed,
            *errors,
            forecast,
            predicted,
            decision,
            applied,
            knowledge.feedback.saturation.factor,
        )

    def _feed_back(self, observed: Observed) -> float:
        """Hold what was measured against what was foreseen; the delay as it was foreseen."""
        feedback, foreseen = self.knowledge.feedback, self._foreseen
        if foreseen is None:
            return math.nan
        predicted = foreseen.delay_veh_s * feedback.delay.factor
        if observed.delay_veh_s is not None:
            feedback.delay.learn(observed.delay_veh_s, predicted)
        if self._observed is not None:
            queued = saturated(self.knowledge.problem.network, self._observed, observed)
            feedback.learn_flows(observed.passed, foreseen.passed, queued)
        return predicted

    def _apply(self, decision: Decision) -> Mapping[str, Taken]:
        """Hand programs over once they have passed the safety check."""
        knowledge = self.knowledge
        network, request = knowledge.problem.network, knowledge.settings.request
        for signal, program in sorted(decision.chosen.programs.items()):
            findings = check_plan(
                network.intersections[signal], TimingPlan(program), request, connections=network.connections
            )
            if findings:
                raise UnsafePlan(f"signal {signal}: {findings[0].message}")
        applied = self.street.apply(decision.chosen.programs)
        knowledge.current = {
            signal: choice
            if signal not in applied or applied[signal].time_s is not None
            else knowledge.current[signal]
            for signal, choice in decision.chosen.solution.items()
        }
        return applied


def _wape(forecast: Mapping[str, float], observed: Observed) -> float:
    total = sum(observed.entered.values())
    if not forecast or total <= 0.0:
        return math.nan
    return sum(abs(forecast.get(edge, 0.0) - n) for edge, n in observed.entered.items()) / total


def _known(value: float | None, unit: float = 1.0) -> float | None:
    return None if value is None or math.isnan(value) else round(value / unit, 4)
