"""Who must approve what: where each group's plans stand after a night, and what people decided since.

A group's plans are approved within the bounds that the agency has set, wait for a person, are kept from the street
because the plans in place do as well, or are refused because they aren't safe. What is approved is in force on days of
the night's day type from the day of the night on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from signals.errors import Conflict, InputError, NotFound
from signals.formats.city import ApprovalBounds
from signals.model.network import Network
from signals.model.night import GroupNight
from signals.model.night_notes import ApprovalState
from signals.model.phasing import SignalProgram
from signals.model.plan import PlanSet
from signals.nightly.folder import NightFolder, plain, read_json, revived, write_json

MORE = 6
"""As many groups as a message names."""


IN_FORCE = frozenset({ApprovalState.AUTOMATIC, ApprovalState.APPROVED})
DECIDABLE = IN_FORCE | {ApprovalState.WAITING, ApprovalState.KEPT, ApprovalState.REJECTED}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What SUMO says of a group's plans: better, worse, no difference, or failed; and why."""

    outcome: str
    reason: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person decided on a group's plan, known by its digest; `at` is UTC, ISO 8601."""

    group: str
    plan: str
    approved: bool
    by: str
    at: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Approval:
    """Where the plans of a group stand, why, and who said so; `plan` is their digest, empty where there are none."""

    group: str
    state: ApprovalState
    reason: str
    plan: str
    signals: tuple[str, ...]
    by: str = ""
    at: str = ""
    note: str = ""


def judge(
    network: Network,
    night: GroupNight,
    in_place: PlanSet | None,
    evidence: Evidence | None,
    bounds: ApprovalBounds,
) -> Approval:
    """Where a group's plans stand before anybody looks at them; `evidence` is None where SUMO wasn't asked."""
    group = night.subarea.id
    plans = night.plans
    if night.failed or plans is None or not plans.periods:
        state = ApprovalState.REFUSED if night.findings else ApprovalState.FAILED
        return Approval(group, state, night.failed or "no plans", "", ())
    signals = tuple(sorted(plans.periods[0]))

    def stands(state: ApprovalState, reason: str) -> Approval:
        return Approval(group, state, reason, plans.digest, signals)

    before, after = delay_veh_h(night)
    if after >= before:
        return stands(
            ApprovalState.KEPT,
            f"expected delay doesn't fall ({before:.1f} to {after:.1f} veh·h); what is in place stays",
        )
    if evidence is not None and evidence.outcome in ("worse", "no difference"):
        return stands(
            ApprovalState.KEPT, f"SUMO: {evidence.outcome}; {evidence.reason}; what is in place stays"
        )
    why_not = _why_not_automatic(network, night, in_place, evidence, bounds)
    if why_not:
        return stands(ApprovalState.WAITING, why_not)
    return stands(ApprovalState.AUTOMATIC, "within the agency's bounds")


def _why_not_automatic(
    network: Network,
    night: GroupNight,
    in_place: PlanSet | None,
    evidence: Evidence | None,
    bounds: ApprovalBounds,
) -> str:
    if not bounds.automatic:
        return "a person approves each plan here"
    if evidence is None:
        return "not validated in SUMO"
    if evidence.outcome != "better":
        return evidence.reason
    moved = changes_of(network, night, in_place)
    for what, seconds, most in (
        ("a green", moved.split_s, bounds.max_split_change_s),
        ("a cycle", moved.cycle_s, bounds.max_cycle_change_s),
        ("an offset", moved.offset_s, bounds.max_offset_change_s),
    ):
        if seconds > most:
            return f"{what} changes by {seconds:g} s, more than {most:g} s"
    return ""


@dataclass(frozen=True, slots=True)
class Moved:
    """The most that anything of a group's plans moves against those in place [s], over signals and periods."""

    cycle_s: float
    split_s: float
    offset_s: float


def changes_of(network: Network, night: GroupNight, in_place: PlanSet | None) -> Moved:
    """How far a group's plans are from those in place, each period held against the plan of its middle."""
    cycle_s = offset_s = split_s = 0.0
    assert night.schedule is not None
    for signal, rows in (night.signals or {}).items():
        for period, row in zip(night.schedule.periods, rows, strict=True):
            split_s = max((split_s, *(abs(c.to_s - c.from_s) for c in row.changes)))
            program = program_at(network, in_place, signal, 30.0 * (period.begin_min + period.end_min))
            if program is None:
                continue
            cycle_s = max(cycle_s, abs(row.cycle_s - program.cycle_s))
            away_s = (row.offset_s - program.offset_s) % row.cycle_s
            offset_s = max(offset_s, min(away_s, row.cycle_s - away_s))
    return Moved(cycle_s, split_s, offset_s)


def program_at(
    network: Network, in_place: PlanSet | None, signal: str, time_s: float
) -> SignalProgram | None:
    """The program that a signal has in place at a time of the day: its plan's, or the network's."""
    if in_place is None or not in_place.periods or signal not in in_place.periods[0]:
        return network.intersections[signal].program
    period = sum(time_s >= switch_s for switch_s in in_place.switch_times.get(signal, ()))
    return in_place.periods[period][signal].program


def delay_veh_h(night: GroupNight) -> tuple[float, float]:
    """Expected delay of the whole day before and after [veh·h]."""
    rows = [row for rows in (night.signals or {}).values() for row in rows]
    before = sum(row.vehicles * row.before.mean_s for row in rows) / 3600.0
    return before, sum(row.vehicles * row.after.mean_s for row in rows) / 3600.0


# ----------------------------------------------------------------------------------------------- decisions


def with_decisions(approvals: Sequence[Approval], decisions: Sequence[Decision]) -> list[Approval]:
    """Approvals as people left them: the last decision on the very plan counts; those on earlier plans are void."""
    last = {(d.group, d.plan): d for d in decisions}
    shown = []
    for approval in approvals:
        decision = last.get((approval.group, approval.plan))
        if decision is not None and approval.state in DECIDABLE:
            state = ApprovalState.APPROVED if decision.approved else ApprovalState.REJECTED
            approval = replace(approval, state=state, by=decision.by, at=decision.at, note=decision.note)
        shown.append(approval)
    return shown


def read_decisions(folder: NightFolder) -> list[Decision]:
    """What people decided on a night.

    Raises
    ------
    InputError
        Where the file is there and broken: what people decided isn't overwritten.
    """
    if not folder.decisions.exists():
        return []
    try:
        return list(revived(list[Decision], read_json(folder.decisions)["decisions"]))
    except (TypeError, KeyError, ValueError):
        raise InputError(f"{folder.decisions}: is broken; mend it, or move it away to decide anew") from None


def write_approvals(folder: NightFolder, day_type: str, approvals: Sequence[Approval]) -> None:
    """Write where each group's plans stand."""
    facts: dict[str, Any] = {a.group: _facts(a) for a in approvals}
    write_json(folder.approvals, {"day_type": day_type, "groups": facts})


def _facts(approval: Approval) -> Mapping[str, Any]:
    facts = asdict(approval)
    del facts["group"]
    return {**facts, "signals": list(approval.signals)}


def read_approvals(folder: NightFolder) -> tuple[str, list[Approval]] | None:
    """The day type of a night and where its plans stand; None where the night hasn't come so far."""
    found = read_json(folder.approvals)
    if not isinstance(found, dict):
        return None
    try:
        approvals = [revived(Approval, {"group": g, **facts}) for g, facts in found["groups"].items()]
    except (KeyError, TypeError, ValueError):
        return None
    return str(found["day_type"]), approvals


def decide(
    folder: NightFolder, groups: Sequence[str], *, approved: bool, by: str, at: datetime, note: str = ""
) -> list[Approval]:
    """Approve or reject the plans of groups, all of a night's waiting ones where none is named.

    Raises
    ------
    NotFound
        Where the night hasn't been run, or has no such group.
    Conflict
        Where a group has no plans to decide on, or the night is being worked on.
    InputError
        Where nobody is named.
    """
    if not by.strip():
        raise InputError("--by: say who decides; a plan's history names them")
    if not folder.approvals.exists():
        raise NotFound(f"{folder.path}: holds no finished night; run `greensplit nightly` for that day first")
    with folder.locked():
        found = read_approvals(folder)
        if found is None:
            raise NotFound(f"{folder.approvals}: is broken; run `greensplit nightly` for that day again")
        day_type, approvals = found
        by_group = {a.group: a for a in approvals}
        named = list(groups) or [a.group for a in approvals if a.state is ApprovalState.WAITING]
        _check_named(named, by_group)
        stamp = at.isoformat(timespec="seconds")
        made = [Decision(g, by_group[g].plan, approved, by.strip(), stamp, note) for g in named]
        decisions = [*read_decisions(folder), *made]
        write_json(folder.decisions, {"decisions": plain(list[Decision], decisions)})
        approvals = with_decisions(approvals, decisions)
        write_approvals(folder, day_type, approvals)
    return [a for a in approvals if a.group in named]


def _check_named(named: Sequence[str], by_group: Mapping[str, Approval]) -> None:
    unknown = [g for g in named if g not in by_group]
    if unknown:
        raise NotFound(
            f"no group {', '.join(unknown[:MORE])} in this night; `greensplit night queue` lists them"
        )
    closed = [by_group[g] for g in named if by_group[g].state not in DECIDABLE]
    if closed:
        first = closed[0]
        raise Conflict(f"group {first.group} is {first.state}, there is nothing to decide: {first.reason}")
