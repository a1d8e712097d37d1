"""A night's plans on their way to the service's approval queue, and back as what is in force."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from signals.approval import ADOPT, DECIDABLE
from signals.model.network import Network
from signals.model.night import DayType, GroupNight
from signals.model.night_notes import ApprovalState
from signals.model.plan import PlanSet
from signals.model.states import Decision, JobKind, JobState, PlanState
from signals.nightly.approvals import IN_FORCE, delay_veh_h, read_approvals
from signals.nightly.approvals import Approval as Verdict
from signals.nightly.folder import (
    NightFolder,
    night_folder,
    plain,
    read_group,
    read_json,
    revived,
    write_json,
)
from signals.nightly.in_force import PlanOrigin, PlansInForce, design_of, kinds_of
from signals.store.areas import lowest_common
from signals.store.audit import Actor, record
from signals.store.nights import approved_nights, undecided_nights
from signals.store.people import add_person, find_person
from signals.store.plans import DOCUMENT, add_plan, find_plan, get_document, plan_hash, state_of
from signals.store.session import Store
from signals.store.tables import (
    Approval,
    Area,
    ComparisonRow,
    IntersectionRow,
    Job,
    NightPlan,
    Person,
    Plan,
    PlanDocument,
)

NIGHTLY = "nightly"
ACTOR = Actor(None, NIGHTLY)
KEEP = "keep the current plan"
"""The verdict on a plan that does no better in SUMO."""
PLAN_SET = "plan_set"
"""Key of the plans themselves in the document that a plan's hash is over."""
_QUEUED = IN_FORCE | {ApprovalState.WAITING}


@dataclass(frozen=True, slots=True)
class HandedOn:
    """What a night brought to the queue: plans, of which `new` weren't there, and new evidence of SUMO.

    `superseded` ones, of earlier nights or runs, were rejected: nobody had decided on them, and these take their place.
    """

    plans: int
    new: int
    comparisons: int
    superseded: int


def hand_on(store: Store, network_id: int, data: Path, day: date) -> HandedOn:
    """Put the plans of a night that has been run into the store, a transaction a group.

    Plans that are there already stay as they are, so this may be done again at any time. A plan that the night keeps
    from the street isn't handed on; where an earlier run had, what SUMO says against it is.
    """
    folder = night_folder(data, day)
    plans: dict[str, str] = {}
    new = comparisons = superseded = 0
    with folder.locked():
        found = read_approvals(folder)
        assert found is not None
        day_type, approvals = found
        for approval in approvals:
            night = read_group(folder.group(approval.group))
            if night is None or night.plans is None or night.plans.digest != approval.plan:
                continue
            made = _Made(network_id, day, day_type, approval, night, folder)
            with store.writing() as session:
                is_new = made.keep(session)
                if is_new is None:
                    continue
                new += is_new
                comparisons += made.keep_evidence(session)
                superseded += made.supersede(session)
            plans[approval.group] = made.hash
        write_json(folder.handed_on, {"plans": plans})
    return HandedOn(len(plans), new, comparisons, superseded)


@dataclass(frozen=True, eq=False)
class _Made:
    """A group's plan and what is known of it."""

    network_id: int
    day: date
    day_type: str
    approval: Verdict
    night: GroupNight
    folder: NightFolder

    @cached_property
    def _content(self) -> bytes:
        return plan_document(self.night, self.day, self.day_type)

    @cached_property
    def hash(self) -> str:
        """The plan's, in the service."""
        return plan_hash(self.network_id, self._content)

    def keep(self, session: Session) -> bool | None:
        """Keep the plan if it is to be decided on: whether it is new; None where it isn't in the store."""
        hash_ = self.hash
        if find_plan(session, hash_) is not None:
            return False
        if self.approval.state not in _QUEUED:
            return None
        assert self.night.plans is not None
        area = self._area(session)
        row = Plan(
            hash=hash_,
            network_id=self.network_id,
            area_id=area.id,
            digest=self.night.plans.digest,
            keeps_plan_in_place=False,
            created_at=datetime.now(UTC),
        )
        programs = self.folder.programs(self.approval.group).read_bytes()
        documents = [
            PlanDocument(plan_hash=hash_, kind=kind, name=name, media_type=media_type, content=file)
            for kind, name, media_type, file in (
                (DOCUMENT, "plan.json", "application/json", self._content),
                ("sumo", "plans.add.xml", "application/xml", programs),
            )
        ]
        add_plan(session, row, documents)
        session.add(
            NightPlan(
                plan_hash=hash_,
                network_id=self.network_id,
                night=self.day,
                day_type=self.day_type,
                group=self.approval.group,
                signals=list(self.approval.signals),
            )
        )
        session.flush()
        record(
            session,
            ACTOR,
            "plan.made",
            f"plans/{hash_}",
            area_id=area.id,
            night=self.day.isoformat(),
            group=self.approval.group,
            new=True,
        )
        return True

    def _area(self, session: Session) -> Area:
        rows = session.scalars(
            select(IntersectionRow)
            .where(
                IntersectionRow.network_id == self.network_id,
                IntersectionRow.signal.in_(self.approval.signals),
            )
            .order_by(IntersectionRow.id)
        )
        return lowest_common(session, [row.area for row in rows])

    def keep_evidence(self, session: Session) -> bool:
        """Keep what SUMO says of the plan as a comparison, unless it is there; whether it is new."""
        facts = (read_json(self.folder.validation(self.approval.group)) or {}).get("is")
        if not isinstance(facts, dict) or "outcome" not in facts:
            return False
        plan = find_plan(session, self.hash)
        assert plan is not None
        person = _nightly_person(session)
        earlier = select(ComparisonRow.figures).where(
            ComparisonRow.plan_hash == plan.hash, ComparisonRow.created_by == person.id
        )
        if any(figures == facts for figures in session.scalars(earlier)):
            return False
        _add_comparison(session, plan, person, facts)
        return True

    def supersede(self, session: Session) -> int:
        """Reject plans for the same signals and days on which nobody has decided so far; how many."""
        if state_of(session, self.hash) in (PlanState.REJECTED, PlanState.WITHDRAWN):
            return 0
        signals = set(self.approval.signals)
        earlier = undecided_nights(session, self.network_id, self.day, self.day_type)
        rows = [row for row in earlier if row.plan_hash != self.hash and signals.intersection(row.signals)]
        note = f"superseded by plan {self.hash} of {self.day}"
        return sum(_reject(session, row.plan_hash, note) for row in rows)


def _nightly_person(session: Session) -> Person:
    """Whom that belongs to which no person does."""
    return find_person(session, NIGHTLY) or add_person(session, ACTOR, NIGHTLY)


def _reject(session: Session, hash_: str, note: str) -> bool:
    """Take a plan out of the queue unless somebody has just decided; it may still be approved, on newer evidence."""
    # as every decision: the state must not change between the look and the deed
    plan = session.scalars(select(Plan).where(Plan.hash == hash_).with_for_update()).one()
    if state_of(session, hash_) not in DECIDABLE[Decision.REJECT]:
        return False
    session.add(
        Approval(
            plan_hash=hash_,
            area_id=plan.area_id,
            decision=Decision.REJECT,
            note=note,
            person_id=_nightly_person(session).id,
            created_at=datetime.now(UTC),
        )
    )
    session.flush()
    record(session, ACTOR, "plan.reject", f"plans/{hash_}", area_id=plan.area_id, note=note)
    return True


def _add_comparison(session: Session, plan: Plan, person: Person, facts: dict[str, Any]) -> None:
    """A comparison that is done, with the job that every comparison has."""
    now = datetime.now(UTC)
    verdict = ADOPT if facts["outcome"] == "better" else KEEP
    job = Job(
        kind=JobKind.COMPARE,
        area_id=plan.area_id,
        subject=f"plans/{plan.hash}",
        arguments={},
        state=JobState.DONE,
        created_by=person.id,
        created_at=now,
        finished_at=now,
    )
    session.add(job)
    session.flush()
    comparison = ComparisonRow(
        plan_hash=plan.hash,
        area_id=plan.area_id,
        job_id=job.id,
        seeds=list(facts["seeds"]),
        verdict=verdict,
        figures=facts,
        created_by=person.id,
        created_at=now,
    )
    session.add(comparison)
    session.flush()
    job.subject, job.arguments = f"comparisons/{comparison.id}", {"comparison_id": comparison.id}
    job.result = {"comparison": comparison.id, "verdict": verdict}
    subject = f"comparisons/{comparison.id}"
    record(session, ACTOR, "comparison.made", subject, area_id=plan.area_id, plan=plan.hash, verdict=verdict)


def plan_document(night: GroupNight, day: date, day_type: str) -> bytes:
    """A group's plans as the JSON that identifies them; None stands for what isn't finite."""
    plans = night.plans
    assert plans is not None
    before, after = delay_veh_h(night)
    found = plain(GroupNight, night)
    del found["plans"]
    facts = {
        "night": day.isoformat(),
        "day_type": day_type,
        "group": night.subarea.id,
        "plan": plans.digest,
        "version": plans.version,
        "seed": plans.seed,
        "inputs_sha256": plans.inputs_hash,
        "retimed": sorted(plans.periods[0]),
        "periods": len(plans.periods),
        "switch_times_s": {s: list(t) for s, t in sorted(plans.switch_times.items())},
        "delay_veh_h": {"before": before, "after": after},
        "timings": _timings(plans),
        "found": found,
        PLAN_SET: plain(PlanSet, plans),
    }
    text = json.dumps(_finite(facts), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def _timings(plans: PlanSet) -> list[dict[str, Any]]:
    """Each signal's cycle and offset by period, and when that begins [s of the day]."""
    return [
        {
            "signal": signal,
            "period": k,
            "from_s": plans.switch_times[signal][k - 1] if k else 0.0,
            "cycle_s": plan.program.cycle_s,
            "offset_s": plan.program.offset_s,
        }
        for k, row in enumerate(plans.periods)
        for signal, plan in sorted(row.items())
    ]


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return value if not isinstance(value, float) or math.isfinite(value) else None


# ----------------------------------------------------------------------------------------------- in force


@dataclass(frozen=True, slots=True)
class ApprovedInStore:
    """What is in force on a day by the decisions on the plans of a network's nights."""

    store: Store
    network_id: int

    def __call__(self, data: Path, day: date, day_type: DayType, network: Network) -> PlansInForce:
        """As `signals.nightly.in_force.plans_in_force`; `data` is where the nights' forecasts are."""
        sets: dict[str, PlanSet] = {}
        origin: dict[str, PlanOrigin] = {}
        missing = set(network.intersections)
        with self.store.reading() as session:
            for kind in kinds_of(day, day_type):
                for row in approved_nights(session, self.network_id, day, kind):
                    wanted = missing.intersection(row.signals)
                    if not wanted:
                        continue
                    plans = _plans_of(get_document(session, row.plan_hash, DOCUMENT))
                    sets |= dict.fromkeys(wanted, plans)
                    origin |= dict.fromkeys(wanted, PlanOrigin(row.night, row.group, plans.digest))
                    missing -= wanted
        return PlansInForce(sets, origin, design_of(data, network, origin))


def _plans_of(document: bytes) -> PlanSet:
    facts: Mapping[str, Any] = json.loads(document)
    plans: PlanSet = revived(PlanSet, facts[PLAN_SET])
    return plans
