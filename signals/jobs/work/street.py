"""Deployments: an approved plan pushed to its units wave by wave, and given back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import Session

from signals.controllers.base import Slot
from signals.controllers.credentials import credentials_of, read_credentials
from signals.controllers.mapping import cabinet_of, pattern_of, states_of
from signals.controllers.snmp import V3Engines
from signals.controllers.units import open_unit
from signals.deployment.push import Found, Order, Watch
from signals.deployment.rollout import Halted, Refused, Step, Target, dry_run, give_all_back, roll_out
from signals.errors import (
    Conflict,
    ControllerError,
    GreensplitError,
    InputError,
    Stopped,
    UnmappablePlan,
    UnsafePlan,
)
from signals.formats.sumo.network import read_network
from signals.formats.sumo.programs import read_plans
from signals.jobs.context import Context, Finish
from signals.model.controller import AUTOMATIC, Cabinet, Pattern, UnitClock
from signals.model.network import Network
from signals.model.plan import PlanRequest, StagePolicy, TimingPlan
from signals.model.states import DeploymentState, StepState
from signals.orders.street import require_approved
from signals.safety.check import Rule, check_plan
from signals.store.audit import Actor, record
from signals.store.plans import DOCUMENT, get_document
from signals.store.street import HELD, controllers_of, held_patterns
from signals.store.tables import Deployment, DeploymentStep
from signals.store.uploads import unpack_upload

POLL_S: Mapping[UnitClock, float] = {UnitClock.SYSTEM: 2.0, UnitClock.SIMULATED: 0.2}
"""How often a unit is looked at while it is watched; a simulation's clock may run many times as fast."""
ACTOR = Actor(None, "jobs")


def deploy(context: Context) -> Finish:
    """The work of `deploy`: look at all units, then write, command and watch them wave by wave.

    A deployment that was refused or halted is a job that has failed; its state says which.
    """
    case = _Case(context)
    try:
        _begin(case)
        targets = case.targets()
        if case.terms["dry_run"]:
            found = asyncio.run(case.with_units(targets, dry_run))
            return lambda session: _keep_checked(session, case.id, found)
        asyncio.run(case.with_units(targets, case.roll_out))
    except Stopped as error:
        if not error.hands_off:
            _end(case, DeploymentState.HALTED, str(error))
        raise
    except (Refused, UnmappablePlan, UnsafePlan, ControllerError, InputError, Conflict) as error:
        _end(case, DeploymentState.REFUSED, str(error))
        raise
    except Halted as error:
        _end(case, DeploymentState.HALTED, str(error))
        raise

    def finish(session: Session) -> dict[str, Any]:
        row = session.get_one(Deployment, case.id)
        _set_state(session, row, DeploymentState.IN_FORCE)
        return {"deployment": row.id, "state": row.state}

    return finish


def _begin(case: _Case) -> None:
    with case.context.store.writing() as session:
        case.context.hold(session)
        row = session.get_one(Deployment, case.id)
        require_approved(session, row.plan_hash, row.approval_id)
        if row.state == DeploymentState.WAITING and not case.terms["dry_run"]:
            _set_state(session, row, DeploymentState.ROLLING_OUT)


def roll_back(context: Context) -> Finish:
    """The work of `roll-back`: every unit that the deployment holds gets the command that it had before.

    That is the pattern of an earlier deployment that is in force still, or none: the unit's own time base.
    """
    case = _Case(context)
    reason = str(context.arguments["reason"])

    async def back(targets: Sequence[Target]) -> list[str]:
        return await give_all_back(targets, case.journal, reason)

    lost = asyncio.run(case.with_units(case.targets(only_held=True), back))

    def finish(session: Session) -> dict[str, Any]:
        row = session.get_one(Deployment, case.id)
        row.ended_at = datetime.now(UTC)
        if row.state != DeploymentState.HALTED:
            _set_state(session, row, DeploymentState.ROLLED_BACK, lost=lost)
        if lost:
            row.problem = (
                f"no answer from {', '.join(lost)}: each goes back to its own plan after its backup time"
            )
        return {"deployment": row.id, "state": row.state, "lost": lost}

    return finish


def _set_state(session: Session, row: Deployment, state: DeploymentState, **details: Any) -> None:
    row.state = state
    session.flush()
    action = f"deployment.{state.value.replace(' ', '-')}"
    record(session, ACTOR, action, f"deployments/{row.id}", area_id=row.area_id, **details)


def _end(case: _Case, state: DeploymentState, problem: str) -> None:
    with case.context.store.writing() as session:
        case.context.hold(session)
        row = session.get_one(Deployment, case.id)
        row.problem, row.ended_at = problem, datetime.now(UTC)
        _set_state(session, row, state, problem=problem)


def _keep_checked(session: Session, deployment_id: int, found: Mapping[str, Found | str]) -> dict[str, Any]:
    row = session.get_one(Deployment, deployment_id)
    now = datetime.now(UTC)
    refused = []
    for step in row.steps:
        answer = found[step.intersection.signal]
        step.changed_at = now
        if isinstance(answer, str):
            step.state, step.problem = StepState.REFUSED, answer
            refused.append(step.intersection.signal)
        else:
            step.slot = _slot(answer.slot)
            step.facts = {
                "differences": list(answer.differences),
                "command": answer.status.system_pattern,
                "pattern": answer.status.pattern,
                "backup_time_s": answer.capabilities.backup_time_s,
                "transactions": answer.capabilities.transactions,
            }
    row.ended_at = now
    row.problem = f"{len(refused)} unit(s) can't take the plan: {', '.join(refused)}" if refused else ""
    _set_state(session, row, DeploymentState.CHECKED, refused=refused)
    return {"deployment": row.id, "state": row.state, "refused": refused}


def _slot(slot: Slot) -> list[int]:
    return [slot.pattern, slot.split, slot.sequence]


# ------------------------------------------------------------------------------------------------ the case


class _Case:
    """A deployment as its job sees it: what goes where, how far each unit is, and how to talk to it."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.id = int(context.arguments["deployment_id"])
        with context.store.reading() as session:
            row = session.get_one(Deployment, self.id)
            self.network_id, self.terms = row.network_id, row.terms
            self.plan = get_document(session, row.plan_hash, "sumo")
            self.periods = _periods(get_document(session, row.plan_hash, DOCUMENT))
            self.steps = {step.intersection.signal: step for step in row.steps}
            ids = [step.intersection_id for step in row.steps]
            self.units = controllers_of(session, ids)
            others = {
                key: step
                for key, step in held_patterns(session, ids).items()
                if step.deployment_id != self.id
            }
            self.expected = {key: int(step.slot[0]) for key, step in others.items() if step.slot}
        self.journal = _Journal(context, self.id, {s: step.id for s, step in self.steps.items()})

    def targets(self, *, only_held: bool = False) -> list[tuple[DeploymentStep, Order]]:
        """The steps with their orders.

        Raises
        ------
        UnmappablePlan
            Where a signal's program can't be shown by a controller's phases; names all of them.
        """
        if self.periods > 1:
            raise UnmappablePlan(
                f"the plan has {self.periods} periods, and a command is for one pattern; request one with "
                "controllers nema"
            )
        steps = {s: t for s, t in self.steps.items() if not only_held or t.state in HELD}
        network = read_network(
            unpack_upload(self.context.store, self.network_id, self.context.folder / "net").scenario
        )
        file = self.context.folder / "plans.add.xml"
        file.write_bytes(self.plan)
        programs = read_plans([file])
        orders, problems = [], []
        for signal, step in steps.items():
            clock = UnitClock(self.units[step.intersection_id].clock)
            try:
                cabinet = cabinet_of(network.intersections[signal], network)
                pattern = pattern_of(cabinet, programs[signal])
                _require_safe(network, cabinet, pattern)
            except (UnmappablePlan, KeyError) as error:
                why = (
                    str(error)
                    if isinstance(error, UnmappablePlan)
                    else f"signal {signal}: the plan has no program"
                )
                problems.append(why)
                continue
            orders.append((step, Order(signal, cabinet.record, pattern, clock)))
        if problems:
            raise UnmappablePlan(f"{'; '.join(problems)}. Request a plan with controllers nema")
        self.journal.patterns = {order.signal: asdict(order.pattern) for _, order in orders}
        return orders

    async def with_units(
        self, orders: Sequence[tuple[DeploymentStep, Order]], deed: Callable[[Sequence[Target]], Any]
    ) -> Any:
        """What a deed on all units gives, with a connection to each."""
        known = read_credentials(self.context.credentials)
        async with AsyncExitStack() as stack:
            engines = V3Engines()
            stack.callback(engines.close)
            targets = []
            for step, order in orders:
                unit = self.units[step.intersection_id]
                opened = open_unit(
                    unit.host,
                    unit.port,
                    credentials_of(known, unit.credentials),
                    engines,
                    # an attempt of ours that died while writing has left it
                    discard_stale=step.state == StepState.WRITING,
                )
                controller = await stack.enter_async_context(opened)
                expected = self.expected.get(step.intersection_id, AUTOMATIC)
                targets.append(Target(order, controller, step.wave, expected, _step(step, expected)))
            return await deed(targets)

    async def roll_out(self, targets: Sequence[Target]) -> None:
        """The rollout on these terms."""
        clocks = {t.order.clock for t in targets}
        terms = Watch(cycles=self.terms["watch_cycles"], poll_s=min(POLL_S[clock] for clock in clocks))
        await roll_out(targets, terms, self.journal, go_on=self._go_on, on_progress=self.context.progress)

    def _go_on(self) -> None:
        closes_at = self.terms["closes_at"]
        if closes_at is not None and datetime.now(UTC) >= datetime.fromisoformat(closes_at):
            raise GreensplitError(f"the change window closed at {closes_at}")


def _step(row: DeploymentStep, expected: int) -> Step:
    """How far a unit is. What it goes back to is what we keep it at elsewhere, if anything."""
    slot = Slot(*row.slot) if row.slot else None
    return Step(StepState(row.state), slot, expected, row.problem)


def _require_safe(network: Network, cabinet: Cabinet, pattern: Pattern) -> None:
    """Nothing where what the unit will show, its own walks included, passes the check that the plan has passed.

    Which stages may be left out and how long the cycle may be was settled with the plan; the rest is looked at anew.

    Raises
    ------
    UnsafePlan
        Where it doesn't.
    """
    shown = TimingPlan(states_of(cabinet, pattern))
    request = PlanRequest(stages=StagePolicy.DROP_PROTECTED, ignore_durations=True)
    intersection = network.intersections[cabinet.intersection]
    findings = check_plan(intersection, shown, request, connections=network.connections)
    unsafe = [f.message for f in findings if f.rule not in (Rule.PROTECTION, Rule.CYCLE, Rule.SERVED)]
    if unsafe:
        raise UnsafePlan(unsafe)


def _periods(document: bytes) -> int:
    timings = json.loads(document).get("timings", [])
    return len({row["period"] for row in timings})


class _Journal:
    """Writes each step to the store and the audit, as long as the job is ours."""

    def __init__(self, context: Context, deployment_id: int, steps: Mapping[str, int]) -> None:
        self.patterns: Mapping[str, dict[str, Any]] = {}
        self._context, self._deployment_id, self._steps = context, deployment_id, steps

    def note(self, signal: str, step: Step, **details: Any) -> None:
        """A unit is in this state from now on."""
        with self._context.store.writing() as session:
            self._context.hold(session)
            row = session.get_one(DeploymentStep, self._steps[signal])
            row.state, row.problem, row.previous = step.state, step.problem, step.previous
            row.slot = _slot(step.slot) if step.slot else None
            row.pattern = self.patterns.get(signal, row.pattern)
            if "backup_time_s" in details:
                row.facts = {**row.facts, "backup_time_s": details["backup_time_s"]}
            row.changed_at = datetime.now(UTC)
            if step.problem:
                details["problem"] = step.problem
            record(
                session,
                ACTOR,
                f"deployment.unit-{step.state}",
                f"deployments/{self._deployment_id}",
                area_id=row.intersection.area_id,
                signal=signal,
                slot=row.slot,
                **details,
            )
