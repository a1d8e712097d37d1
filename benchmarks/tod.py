"""Time-of-day schedules on real counts, three weeks to plan and a fourth to judge: `python -m benchmarks.tod [--json]`.

Counts of Boroondara, October 2006 (`benchmarks.boroondara` says what is counted and what is assumed). Plans are made
for 1-21 October, for each type of day (weekday, Saturday, Sunday): mean counts of each slot and their deviation, as
three equally likely demands. They are judged on every day of 22-28 October by HCM's delay in that day's counts, slot by
slot, changes included (`benchmarks.tod_judge`). All methods have the same demands, cycles, bounds of greens and exact
splits:

* **one plan**: the best there is for the day;
* **k-means**: whole hours clustered by their volumes at each approach, as many clusters as the schedule has plans, the
  best plan for each, changes at the same price;
* **schedule**: `signals.timing.schedule` with its defaults;
* **wait and see**: the best plan for each slot of the judged day itself, changes free: a bound that no plan reaches.

With `--mean` all plans are made for the mean of each slot alone.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.boroondara import DEMANDS, FOLDER, JUDGED, SLOTS, Boroondara, Site, day_type_of
from benchmarks.tod_judge import Worth, clustered_plans, judge, plans_of
from signals.errors import InputError
from signals.model.night import DayType
from signals.timing.schedule import ScheduleRequest, schedule_day

CYCLES_S = tuple(range(60, 141, 10))
DAY_TYPES = (DayType.WEEKDAY, DayType.SATURDAY, DayType.SUNDAY)


@dataclass(frozen=True)
class Result:
    """One intersection on the judged days of a type: veh·h a day on average."""

    site: str
    day_type: str
    plans: int
    clusters: int
    periods: int
    vehicles: float
    one_plan: Worth
    k_means: Worth
    schedule: Worth
    wait_and_see: float
    cpu_s: float


def results(
    data: Boroondara, day_type: DayType, request: ScheduleRequest, *, spread: bool = True
) -> list[Result]:
    """All intersections on the days of a type; plans for three likely demands a slot, or for their mean alone."""
    return [_result(data, site, day_type, request, spread) for site in data.sites]


def _result(
    data: Boroondara, site: Site, day_type: DayType, request: ScheduleRequest, spread: bool
) -> Result:
    mean = data.mean_counts(site, day_type)
    signal = site.day(data.likely_counts(site, day_type), DEMANDS) if spread else site.day(mean)
    began = time.process_time()
    schedule = schedule_day([signal], CYCLES_S, request)
    cpu_s = time.process_time() - began
    single = schedule_day([signal], CYCLES_S, replace(request, max_plans=1))
    scheduled, one = plans_of(schedule, site.name, SLOTS), plans_of(single, site.name, SLOTS)
    n_plan = len(set(scheduled))
    clustered, clusters = clustered_plans(
        signal, np.stack([mean[a] for a in sorted(mean)], axis=1), n_plan, CYCLES_S
    )
    days = [site.day(data.counts(site, day)) for day in JUDGED if day_type_of(day) is day_type]
    bound = [schedule_day([day], CYCLES_S, replace(request, max_plans=1)).wait_and_see_veh_h for day in days]
    return Result(
        site.name,
        str(day_type),
        n_plan,
        clusters,
        len(schedule.periods),
        float(np.mean([day.flow.sum() * 900.0 for day in days])),
        *(_mean([judge(day, plans) for day in days]) for plans in (one, clustered, scheduled)),
        wait_and_see=float(np.mean(bound)),
        cpu_s=cpu_s,
    )


def _mean(worths: Sequence[Worth]) -> Worth:
    return Worth(
        *(float(np.mean([getattr(w, name) for w in worths])) for name in ("delay", "carried", "changes"))
    )


def summary(found: Sequence[Result]) -> dict[str, float]:
    """All intersections of a day type together, veh·h a day, and in how many of them the schedule is the better."""
    one, k_means, schedule = (
        sum(getattr(r, name).total for r in found) for name in ("one_plan", "k_means", "schedule")
    )
    carried = {
        f"{name}_carried": sum(getattr(r, name).carried + getattr(r, name).changes for r in found)
        for name in ("one_plan", "k_means", "schedule")
    }
    bound = sum(r.wait_and_see for r in found)
    return {
        "intersections": len(found),
        "plans": float(np.mean([r.plans for r in found])),
        "one_plan": one,
        "k_means": k_means,
        "schedule": schedule,
        "wait_and_see": bound,
        "against_one_plan": 100 * (schedule / one - 1),
        "against_k_means": 100 * (schedule / k_means - 1),
        "gap": 100 * (schedule / bound - 1),
        "better_than_one_plan": sum(r.schedule.total < r.one_plan.total for r in found),
        "better_than_k_means": sum(r.schedule.total < r.k_means.total for r in found),
        "cpu_s": float(np.median([r.cpu_s for r in found])),
        **carried,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the real counts are")
    parser.add_argument(
        "--mean", action="store_true", help="plan for mean demands alone, without their spread"
    )
    parser.add_argument("--json", action="store_true", help="every intersection, for machines")
    options = parser.parse_args(arguments)
    try:
        data = Boroondara(options.folder)
    except InputError as error:
        parser.exit(2, f"{error}\n")
    tables = {
        str(kind): results(data, kind, ScheduleRequest(), spread=not options.mean) for kind in DAY_TYPES
    }
    if options.json:
        print(json.dumps({name: [asdict(r) for r in found] for name, found in tables.items()}))
        return
    print(_markdown(tables))


def _markdown(tables: dict[str, list[Result]]) -> str:
    columns = (
        "day", "intersections", "plans", "one plan", "k-means", "schedule", "wait and see", "against one plan",
        "against k-means", "gap", "better at (one plan, k-means)", "queues carried on (one plan, k-means, schedule)",
        "CPU-s each",
    )  # fmt: skip
    rows = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    for name, found in tables.items():
        s = summary(found)
        figures = [
            f"{s['intersections']:.0f}", f"{s['plans']:.1f}", f"{s['one_plan']:.1f}", f"{s['k_means']:.1f}",
            f"{s['schedule']:.1f}", f"{s['wait_and_see']:.1f}", f"{s['against_one_plan']:+.1f} %",
            f"{s['against_k_means']:+.1f} %", f"{s['gap']:.1f} %",
            f"{s['better_than_one_plan']:.0f}, {s['better_than_k_means']:.0f}",
            f"{s['one_plan_carried']:.1f}, {s['k_means_carried']:.1f}, {s['schedule_carried']:.1f}",
            f"{s['cpu_s']:.2f}",
        ]  # fmt: skip
        rows.append(f"| {name} | {' | '.join(figures)} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
