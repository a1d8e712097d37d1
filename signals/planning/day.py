"""A group of signals planned through a day: when plans change, splits, offsets, safe changes, and what it is worth.

A plain function, fit to be sent to another process: the night gives it one group at a time.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from signals import __version__
from signals.demand.day import slot_flows_vph, turning_of
from signals.demand.onward import Onward
from signals.errors import GreensplitError, InfeasiblePlan
from signals.model.counts import Floats
from signals.model.demand import TurningCounts
from signals.model.network import Intersection, Network
from signals.model.night import (
    Change,
    DayDemand,
    DaySchedule,
    Expected,
    GroupNight,
    Offsets,
    ScheduledPeriod,
    SignalPeriod,
    Subarea,
)
from signals.model.phasing import GREEN, SignalProgram
from signals.model.plan import PlanRequest, PlanSet, TimingPlan
from signals.planning.scope import stage_plans
from signals.planning.sets import switch_times
from signals.safety.check import check_plan_set
from signals.timing.coordination import Coordinated, coordinate
from signals.timing.day_measures import DayMeasures, measure_day, with_flow
from signals.timing.measures import level_of_service
from signals.timing.schedule import ScheduleRequest, schedule_day
from signals.timing.signal_day import SignalDay, signal_day
from signals.timing.stages import program_of, stage_plan, with_greens

LEAST_COMPARED_VPH = 20.0
"""Of less demand no percentage is told: it would be noise."""


@dataclass(frozen=True, eq=False)
class GroupCase:
    """What is known of a group before it is planned.

    `network` holds the group's signals alone (`parts.NetworkParts`). `in_place` are the day's plans in force, on the
    clock of the day; None where the programs of the network are. `design_vph` is the demand that those were made
    for, float64[n_slot] by movement, where it is known.
    """

    network: Network
    subarea: Subarea
    demand: DayDemand
    request: PlanRequest
    schedule: ScheduleRequest
    inputs_hash: str
    in_place: PlanSet | None = None
    design_vph: Mapping[str, Floats] | None = None


def plan_day(case: GroupCase) -> GroupNight:
    """The plans of a group through a day, checked; or the reason why there are none."""
    try:
        return _Planning(case).night()
    except GreensplitError as error:
        return GroupNight(case.subarea, None, None, failed=str(error))


class _Planning:
    """One group on its way to its plans."""

    def __init__(self, case: GroupCase) -> None:
        self.case = case
        self.base, self.unplanned = stage_plans(case.network, case.request)
        if not self.base:
            raise InfeasiblePlan("; ".join(self.unplanned.values()))
        self.days = {s: self._signal_day(s, (None,)) for s in self.base}

    def night(self) -> GroupNight:
        case = self.case
        # plans for the mean alone lose on days that differ: they are made for what is likely
        likely = [self._signal_day(s, case.demand.forecast.levels) for s in self.base]
        schedule = schedule_day(likely, case.subarea.cycles_s, case.schedule)
        periods, offsets = self._coordinated(schedule)
        breaks = [60.0 * p.begin_min for p in schedule.periods[1:]]
        switches = switch_times(periods, breaks, self.base)
        plans = PlanSet(
            tuple(periods),
            switches,
            self.unplanned,
            case.request.seed,
            __version__,
            case.inputs_hash,
        )
        plans, findings = self._checked(plans)
        if not plans.periods[0]:
            reason = f"no signal's plans passed the safety check: {findings[0]}"
            return GroupNight(case.subarea, None, schedule, offsets, findings=findings, failed=reason)
        signals = {s: self._told(s, plans, schedule) for s in plans.periods[0]}
        return GroupNight(
            case.subarea,
            plans,
            schedule,
            offsets,
            signals,
            self._whole([[row.before for row in rows] for rows in signals.values()], signals),
            self._whole([[row.after for row in rows] for rows in signals.values()], signals),
            findings,
        )

    def _signal_day(self, signal: str, levels: Sequence[float | None]) -> SignalDay:
        """A signal's day at its expected demand (None), or at several quantiles of it as equally likely ones."""
        intersection, request = self.case.network.intersections[signal], self.case.request
        program = intersection.program
        assert program is not None
        names = [m.id for m in intersection.movements]
        flows = np.stack([slot_flows_vph(self.case.demand, names, level) for level in levels], axis=2)
        return signal_day(
            self.case.network,
            intersection,
            self.base[signal],
            dict(zip(names, flows.reshape(len(names), -1), strict=True)),
            min_cycle_s=math.ceil(min(request.min_cycle_s, program.cycle_s)),
            max_cycle_s=int(max(request.max_cycle_s, program.cycle_s)),
            demands=len(levels),
        )

    # ------------------------------------------------------------------------------------------ offsets

    def _coordinated(
        self, schedule: DaySchedule
    ) -> tuple[list[dict[str, TimingPlan]], tuple[tuple[Offsets, ...], ...]]:
        """Programs of each period with their offsets; periods that share a plan have the same."""
        alike: dict[str, list[int]] = defaultdict(list)
        for k, period in enumerate(schedule.periods):
            alike[repr((period.cycle_s, sorted(period.green_s.items())))].append(k)
        onward = Onward.of(self.case.network)
        periods: list[dict[str, TimingPlan]] = [{} for _ in schedule.periods]
        offsets: list[tuple[Offsets, ...]] = [() for _ in schedule.periods]
        for of_plan in alike.values():
            first = schedule.periods[of_plan[0]]
            programs = {s: self._program(s, green) for s, green in first.green_s.items()}
            counts = _joined([self._counts(schedule.periods[k], onward) for k in of_plan])
            found = coordinate(self.case.network, programs, counts, groups=[self.case.subarea.signals])
            for done in found:
                for signal, offset_s in done.offsets_s.items():
                    programs[signal] = replace(programs[signal], offset_s=offset_s)
            for k in of_plan:
                periods[k] = {s: TimingPlan(p) for s, p in programs.items()}
                offsets[k] = tuple(_offsets(done) for done in found)
        return periods, tuple(offsets)

    def _program(self, signal: str, green_s: Sequence[int]) -> SignalProgram:
        return program_of(with_greens(self.base[signal], green_s), "greensplit")

    def _counts(self, period: ScheduledPeriod, onward: Onward) -> TurningCounts:
        step = self.case.demand.forecast.step_min
        first, last = period.begin_min // step, period.end_min // step
        return turning_of(
            self.case.network, self.case.demand, self.case.subarea.signals, first, last, onward=onward
        )

    # ------------------------------------------------------------------------------------------- safety

    def _checked(self, plans: PlanSet) -> tuple[PlanSet, tuple[str, ...]]:
        """Plans without those of signals that fail the check, and everything that it found."""
        findings = check_plan_set(self.case.network, plans, self.case.request)
        bad = {f.intersection for f in findings}
        if bad:
            first = {f.intersection: f.message for f in reversed(findings)}
            reasons = {
                s: f"keeps its program: the plan failed the safety check ({first[s]})" for s in sorted(bad)
            }
            plans = replace(
                plans,
                periods=tuple({s: p for s, p in row.items() if s not in bad} for row in plans.periods),
                switch_times={s: t for s, t in plans.switch_times.items() if s not in bad},
                unplanned={**plans.unplanned, **reasons},
            )
        return plans, tuple(f"{f.intersection}: {f.message}" for f in findings)

    # ---------------------------------------------------------------------------------------- its worth

    def _told(self, signal: str, plans: PlanSet, schedule: DaySchedule) -> tuple[SignalPeriod, ...]:
        """What a signal shows in each period, and what HCM says of it before and after."""
        step = self.case.demand.forecast.step_min
        field = self._in_place(signal)
        before_s = [_greens(self.case.network.intersections[signal], p, self.case.request) for _, p in field]
        fields = [
            self._measured(signal, p.cycle_s, green) for (_, p), green in zip(field, before_s, strict=True)
        ]
        rows = []
        for k, period in enumerate(schedule.periods):
            program = plans.periods[k][signal].program
            first, last = period.begin_min // step, period.end_min // step
            green = np.array(period.green_s[signal], np.float64)
            after = self._measured(signal, program.cycle_s, green)
            parts = _pieces([begin_s / 60.0 / step for begin_s, _ in field], first, last)
            middle = max(parts, key=lambda part: part[2] - part[1])[0]
            before = [_joined_slots([fields[at][level] for at, _, _ in parts], parts) for level in range(3)]
            flows = before[0].flow_vph
            rows.append(
                SignalPeriod(
                    program.cycle_s,
                    program.offset_s,
                    _expected(before, 0, last - first),
                    _expected(after, first, last),
                    float(before[0].vc.max(initial=0.0)),
                    float(after[0].vc[first:last].max(initial=0.0)),
                    level_of_service(before[0].delay_s(0, last - first)),
                    level_of_service(after[0].delay_s(first, last)),
                    float(flows.sum()) * step / 60.0,
                    self._changes(signal, before_s[middle], green, first, last),
                )
            )
        return tuple(rows)

    def _in_place(self, signal: str) -> list[tuple[float, SignalProgram]]:
        """The programs that are in force through the day, and from when on [s]."""
        program = self.case.network.intersections[signal].program
        assert program is not None
        plans = self.case.in_place
        if plans is None or signal not in plans.periods[0]:
            return [(0.0, program)]
        starts = (0.0, *plans.switch_times.get(signal, ()))
        return [(s, row[signal].program) for s, row in zip(starts, plans.periods, strict=True)]

    def _measured(self, signal: str, cycle_s: float, green_s: Floats) -> tuple[DayMeasures, ...]:
        """At the expected demand, and at its lowest and highest quantile."""
        day, demand = self.days[signal], self.case.demand
        names = [m.id for m in self.case.network.intersections[signal].movements]
        mean = slot_flows_vph(demand, names).sum(axis=0)
        levels = demand.forecast.levels
        found = [measure_day(day, cycle_s, green_s)]
        for level in (min(levels), max(levels)):
            quantile = slot_flows_vph(demand, names, level).sum(axis=0)
            factor = np.divide(quantile, mean, out=np.ones_like(mean), where=mean > 0.0)
            found.append(measure_day(with_flow(day, factor), cycle_s, green_s))
        return tuple(found)

    def _changes(
        self, signal: str, before_s: Floats, after_s: Floats, first: int, last: int
    ) -> tuple[Change, ...]:
        """Stages that gain or lose, with what their movements' demand did."""
        intersection = self.case.network.intersections[signal]
        links = {link: m.id for m in intersection.movements for link in m.links}
        found = []
        for k, stage in enumerate(self.base[signal].stages):
            if abs(after_s[k] - before_s[k]) < 0.5:
                continue
            green = sorted(
                {links[i] for i, letter in enumerate(stage.state) if letter in GREEN and i in links}
            )
            percent = self._demand_percent(green, first, last)
            found.append(Change(k + 1, tuple(green), float(before_s[k]), float(after_s[k]), percent))
        return tuple(found)

    def _demand_percent(self, movements: Sequence[str], first: int, last: int) -> float | None:
        design = self.case.design_vph
        if design is None or not all(m in design for m in movements):
            return None
        then = sum(float(design[m][first:last].mean()) for m in movements)
        now = float(slot_flows_vph(self.case.demand, movements)[:, first:last].mean(axis=1).sum())
        return 100.0 * (now / then - 1.0) if then >= LEAST_COMPARED_VPH else None

    def _whole(
        self, rows: Sequence[Sequence[Expected]], signals: Mapping[str, Sequence[SignalPeriod]]
    ) -> tuple[Expected, ...]:
        """Means over the vehicles of all signals, by period."""
        vehicles = np.array([[row.vehicles for row in told] for told in signals.values()])
        total = np.maximum(vehicles.sum(axis=0), 1e-9)
        found = []
        for name in ("mean_s", "low_s", "high_s"):
            values = np.array([[getattr(e, name) for e in row] for row in rows])
            found.append((values * vehicles).sum(axis=0) / total)
        return tuple(Expected(float(m), float(low), float(high)) for m, low, high in zip(*found, strict=True))


def _greens(intersection: Intersection, program: SignalProgram, request: PlanRequest) -> Floats:
    """Seconds of each stage in a program with the stages of the one in place."""
    plan = stage_plan(replace(intersection, program=program), request)
    return np.array([s.duration_s for s in plan.stages])


def _offsets(done: Coordinated) -> Offsets:
    return Offsets(len(done.offsets_s), done.given, done.climbed, done.gap)


def _pieces(starts: Sequence[float], first: int, last: int) -> list[tuple[int, int, int]]:
    """Which of several programs is in force in which slots of first … last − 1, by the start of each slot."""
    at = [max(k for k, start in enumerate(starts) if start <= slot or k == 0) for slot in range(first, last)]
    pieces: list[tuple[int, int, int]] = []
    for slot, k in enumerate(at, first):
        if pieces and pieces[-1][0] == k:
            pieces[-1] = (k, pieces[-1][1], slot + 1)
        else:
            pieces.append((k, slot, slot + 1))
    return pieces


def _joined_slots(measured: Sequence[DayMeasures], pieces: Sequence[tuple[int, int, int]]) -> DayMeasures:
    def row(name: str) -> Floats:
        return np.concatenate([getattr(m, name)[a:b] for m, (_, a, b) in zip(measured, pieces, strict=True)])

    return DayMeasures(row("waiting_veh"), row("flow_vph"), row("vc"))


def _expected(measured: Sequence[DayMeasures], first: int, last: int) -> Expected:
    mean, low, high = (m.delay_s(first, last) for m in measured)
    return Expected(mean, min(mean, low), max(mean, high))


def _joined(counts: Sequence[TurningCounts]) -> TurningCounts:
    """Counts of several parts of the day as if they followed on each other."""
    if len(counts) == 1:
        return counts[0]
    first = counts[0]
    return replace(
        first,
        n_intervals=sum(c.n_intervals for c in counts),
        counts={
            s: {m: tuple(x for c in counts for x in c.counts[s][m]) for m in rows}
            for s, rows in first.counts.items()
        },
        link_flows={
            pair: tuple(x for c in counts for x in c.link_flows.get(pair, (0.0,) * c.n_intervals))
            for pair in sorted({p for c in counts for p in c.link_flows})
        },
    )
