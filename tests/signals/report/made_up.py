"""A night made up on a shipped network: every figure is drawn or worked out here, none is planned."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np

from signals.formats.sumo.config import read_scenario
from signals.formats.sumo.network import read_network
from signals.model.network import Network
from signals.model.night import (
    Change,
    DaySchedule,
    DayType,
    Expected,
    GroupNight,
    Offsets,
    ScheduledPeriod,
    SignalPeriod,
    Subarea,
)
from signals.model.night_notes import AgeingAlarm, ApprovalLine, ApprovalState, DataProblem
from signals.model.phasing import SignalProgram
from signals.model.plan import PlanSet, TimingPlan
from signals.report.night import Made, NightReport, night_report
from signals.timing.measures import level_of_service
from sumo_nets import find_network

DAY = date(2026, 11, 27)
BOUNDS_MIN = (0, 390, 570, 900, 1140, 1440)
MADE = Made("0.1.0", 7, "5f2c" * 8)


def read_arterial() -> Network:
    return read_network(read_scenario(find_network("arterial")))


def lengthened(program: SignalProgram, longer_s: int) -> SignalProgram:
    """The program with its first interval this much longer, and started 5 s later."""
    first, *rest = program.intervals
    grown = replace(first, duration_s=first.duration_s + longer_s, min_s=None, max_s=None)
    return replace(program, intervals=(grown, *rest), offset_s=program.offset_s + 5.0)


def expected(mean_s: float) -> Expected:
    return Expected(mean_s, 0.9 * mean_s, 1.3 * mean_s)


def make_group(
    network: Network, name: str, signals: tuple[str, ...], random: np.random.Generator
) -> GroupNight:
    """Five periods; stage 1 of each signal gains 6 s, its demand having risen, and the others stay."""
    periods = tuple(itertools.pairwise(BOUNDS_MIN))
    rows: dict[str, tuple[SignalPeriod, ...]] = {}
    plans: list[dict[str, TimingPlan]] = [{} for _ in periods]
    for signal in signals:
        program = network.intersections[signal].program
        assert program is not None
        longer = lengthened(program, 6)
        movements = tuple(m.id for m in network.intersections[signal].movements)[:2]
        of_signal = []
        for k, (begin, end) in enumerate(periods):
            plans[k][signal] = TimingPlan(longer)
            before_s = float(random.uniform(15.0, 60.0))
            after_s = before_s * float(random.uniform(0.7, 1.05))
            vc = float(random.uniform(0.4, 1.0))
            of_signal.append(
                SignalPeriod(
                    cycle_s=longer.cycle_s,
                    offset_s=longer.offset_s,
                    before=expected(before_s),
                    after=expected(after_s),
                    vc_before=vc,
                    vc_after=0.95 * vc,
                    los_before=level_of_service(before_s),
                    los_after=level_of_service(after_s),
                    vehicles=float(random.integers(10, 30) * (end - begin)),
                    changes=(
                        Change(1, movements, 20.0, 26.0, 12.4),
                        Change(2, movements[:1], 14.0, 14.0, -3.0),
                    ),
                )
            )
        rows[signal] = tuple(of_signal)
    plan_set = PlanSet(
        periods=tuple(plans),
        switch_times={s: tuple(60.0 * b for b in BOUNDS_MIN[1:-1]) for s in signals},
        unplanned={},
        seed=MADE.seed,
        version=MADE.version,
        inputs_hash=MADE.inputs_hash,
    )
    schedule = DaySchedule(
        tuple(ScheduledPeriod(b, e, 96, dict.fromkeys(signals, (26, 14))) for b, e in periods),
        delay_veh_h=100.0,
        transition_veh_h=1.5,
        one_plan_veh_h=112.0,
        wait_and_see_veh_h=97.0,
        by_plans=(112.0, 106.0, 103.0, 102.0, 101.5),
    )
    offsets = tuple((Offsets(len(signals), 12.0, 9.0, 0.031),) for _ in periods) if len(signals) > 1 else ()
    return GroupNight(
        subarea=Subarea(name, signals, (90, 96), 1.7 if len(signals) > 1 else None),
        plans=plan_set,
        schedule=schedule,
        offsets=offsets,
        signals=rows,
        before=tuple(_mean(rows, k, "before") for k in range(len(periods))),
        after=tuple(_mean(rows, k, "after") for k in range(len(periods))),
    )


def _mean(rows: dict[str, tuple[SignalPeriod, ...]], k: int, which: str) -> Expected:
    vehicles = [r[k].vehicles for r in rows.values()]
    delays = [getattr(r[k], which) for r in rows.values()]
    return Expected(
        *(
            float(np.average([getattr(d, f) for d in delays], weights=vehicles))
            for f in ("mean_s", "low_s", "high_s")
        )
    )


def failed_group(name: str, signals: tuple[str, ...], reason: str) -> GroupNight:
    return GroupNight(Subarea(name, signals, (90,)), None, None, failed=reason)


def make_report(network: Network, groups: list[GroupNight], **given: Any) -> NightReport:
    """A report of these groups: the first waits unless said otherwise, the rest are automatic."""
    approvals = {
        g.subarea.id: ApprovalLine(
            ApprovalState.WAITING if k == 0 else ApprovalState.AUTOMATIC,
            "saves more than 10 % of delay" if k == 0 else "within bounds",
            by="approver of North" if k == 0 else "rule",
        )
        for k, g in enumerate(groups)
        if not g.failed
    }
    facts: dict[str, Any] = {
        "city": "Ridgewater",
        "day": DAY,
        "day_type": DayType.WEEKDAY,
        "network": network,
        "groups": groups,
        "approvals": approvals,
        "validations": {},
        "data_problems": [
            DataProblem("edge-17", "the same value again and again", 0.4, True, "its weekly profile", ("J1",))
        ],
        "alarms": [AgeingAlarm(groups[0].subarea.id, 30.0, 39.0, date(2026, 11, 20), 6)],
        "remarks": ["Friday follows a holiday."],
        "made": MADE,
    }
    return night_report(**(facts | given))
