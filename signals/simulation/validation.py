"""Whether a group's new plans beat those in place, in SUMO: the group cut out of its city, with traffic that follows
its counts, and both plans driven by the same vehicles, over several seeds."""

from __future__ import annotations

import math
import resource
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from signals.errors import InputError
from signals.formats.sumo.config import Scenario
from signals.formats.sumo.network import read_network
from signals.formats.sumo.programs import write_plans
from signals.model.demand import TurningCounts
from signals.model.network import Network
from signals.model.plan import PlanSet
from signals.simulation.compare import (
    Alternative,
    Difference,
    PlanFigures,
    Verdict,
    judge,
)
from signals.simulation.counted_traffic import CountedTraffic, Streams, check_counts
from signals.simulation.cut import cut_scenario
from signals.simulation.run import RunResult, RunSpec, simulate_many

LEAD_IN_S = 600.0
"""So long before a window traffic starts, to fill the roads."""

RUN_S, PASSAGE_S = 0.1, 0.00025
"""CPU time of SUMO for a run, and for each vehicle that passes a signal in it; measured in docs/validation.md."""

Window = tuple[float, float]
"""Begin and end [s of the day]."""


class Outcome(StrEnum):
    """What the runs say of the new plans."""

    BETTER = "better"
    WORSE = "worse"
    NO_DIFFERENCE = "no difference"


@dataclass(frozen=True)
class WindowValidation:
    """One window of the day under both plans.

    Delays [s/veh] are means over the seeds of the mean over everybody due from the begin of the lead-in to the end of
    the window, those who couldn't enter included. `difference` is after − before, with its 95 % interval. Vehicles
    and the figures of how they follow the counts (see `CountedTraffic`) are means over the seeds.
    """

    begin_s: float
    end_s: float
    before_s: float
    after_s: float
    difference: Difference
    outcome: Outcome
    reason: str
    vehicles: float
    asked_veh: float
    got_veh: float
    geh_below_5_percent: float
    midway_percent: float
    teleports_before: int
    teleports_after: int


@dataclass(frozen=True)
class Validation:
    """A group's plans in all windows together, by vehicles, and in each.

    `sumo_cpu_s` is the CPU time that this process's children took meanwhile: it differs from run to run, is no part of
    equality, and isn't in `to_json`.
    """

    signals: tuple[str, ...]
    seeds: tuple[int, ...]
    windows: tuple[WindowValidation, ...]
    before_s: float
    after_s: float
    difference: Difference
    outcome: Outcome
    reason: str
    geh_below_5_percent: float
    sumo_cpu_s: float = field(compare=False)

    def to_json(self) -> dict[str, Any]:
        """Everything that is the same in every run, as plain data; None stands for what isn't finite."""
        found = asdict(self)
        del found["sumo_cpu_s"]
        plain = _plain(found)
        assert isinstance(plain, dict)
        return plain


def validate_group(
    scenario: Scenario,
    network: Network,
    counts: TurningCounts,
    plans_before: PlanSet | None,
    plans_after: PlanSet,
    *,
    windows: Sequence[Window],
    seeds: Sequence[int],
    jobs_at_once: int = 1,
    folder: Path,
    lead_in_s: float = LEAD_IN_S,
) -> Validation:
    """Both plans in SUMO, for the signals that the counts have rows of, with equal vehicles and seeds in each pair.

    Parameters
    ----------
    scenario, network
        The city's.
    plans_before
        None where the city's own programs are in place. A signal that a set has no plan for shows the city's program.
    windows
        Spans of the counts, on the clock of the plans' switch times: a switch within one happens there.
    seeds
        Of SUMO and of the vehicles; at least two, each once.
    folder
        Keeps the cut, the vehicles and the plans.

    Raises
    ------
    InputError
        Where a window isn't counted, windows or seeds are missing or given twice, counts or plans don't fit the
        network, or the group can't be cut out.
    SimulationError
        As `simulate` does.
    """
    windows, seeds = tuple(windows), tuple(seeds)
    _check(windows, seeds, lead_in_s)
    signals = tuple(sorted(counts.counts))
    cut = cut_scenario(scenario, network, signals, folder)
    own = read_network(cut)
    check_counts(own, counts)
    streams = Streams(own, counts)
    traffic = {
        (w, seed): streams.draw(*w, seed, folder / f"traffic-{k}-{seed}.rou.xml", lead_in_s)
        for k, w in enumerate(windows)
        for seed in seeds
    }
    plans = {
        "before": _plan_file(plans_before, own, folder / "before.add.xml"),
        "after": _plan_file(plans_after, own, folder / "after.add.xml"),
    }
    jobs = [
        _job(cut, w, traffic[w, seed], seed, path, lead_in_s)
        for w in windows
        for seed in seeds
        for path in plans.values()
    ]
    cpu_s = _children_cpu_s()
    results = simulate_many(jobs, jobs_at_once=jobs_at_once)
    cpu_s = _children_cpu_s() - cpu_s
    runs = {
        name: [results[k * len(seeds) * 2 + first :: 2][: len(seeds)] for k in range(len(windows))]
        for first, name in enumerate(plans)
    }
    found = tuple(
        _window(w, seeds, plans, runs["before"][k], runs["after"][k], [traffic[w, seed] for seed in seeds])
        for k, w in enumerate(windows)
    )
    return _in_all(signals, seeds, found, runs["before"], runs["after"], cpu_s)


def _check(windows: Sequence[Window], seeds: Sequence[int], lead_in_s: float) -> None:
    if not windows or len(set(windows)) < len(windows):
        raise InputError(f"windows {list(windows)}: give at least one, each once")
    if len(set(seeds)) < len(seeds) or len(seeds) < 2 or min(seeds) < 0:
        raise InputError(f"seeds {list(seeds)}: give at least two, each once, 0 or more; one decides nothing")
    if not (math.isfinite(lead_in_s) and lead_in_s >= 0):
        raise InputError(f"lead-in of {lead_in_s:g} s: must be 0 or more")


def _plan_file(plans: PlanSet | None, network: Network, path: Path) -> Path | None:
    """The group's part of a plan set, written for SUMO; None where it has none."""
    if plans is None:
        return None
    periods = tuple({s: p for s, p in row.items() if s in network.intersections} for row in plans.periods)
    for row in periods:
        for signal, plan in row.items():
            links = network.intersections[signal].n_links
            if plan.program.n_links != links:
                raise InputError(
                    f"signal {signal}: its plan shows {plan.program.n_links} links, the network has {links}; "
                    "was it made for another network?"
                )
    if not any(periods):
        return None
    switches = {s: times for s, times in plans.switch_times.items() if s in network.intersections}
    write_plans(replace(plans, periods=periods, switch_times=switches), path)
    return path


def _job(
    cut: Scenario, window: Window, traffic: CountedTraffic, seed: int, plan: Path | None, lead_in_s: float
) -> RunSpec:
    begin_s, end_s = window
    return RunSpec(
        replace(cut, routes=(traffic.routes,), begin_s=max(begin_s - lead_in_s, 0.0), end_s=end_s),
        seed,
        (plan,) if plan is not None else (),
        extra=(
            *("--step-length", f"{cut.step_s:g}"),
            *("--time-to-teleport", f"{cut.time_to_teleport_s:g}"),
        ),
    )


def _window(
    window: Window,
    seeds: Sequence[int],
    plans: Mapping[str, Path | None],
    before: Sequence[RunResult],
    after: Sequence[RunResult],
    traffic: Sequence[CountedTraffic],
) -> WindowValidation:
    figures = [
        PlanFigures(name, plans[name], tuple(runs))
        for name, runs in zip(("before", "after"), (before, after), strict=True)
    ]
    compared = judge("", seeds, figures[0], figures[1:])
    (alternative,) = compared.alternatives
    return WindowValidation(
        *window,
        fmean(run.mean_delay_s for run in before),
        fmean(run.mean_delay_s for run in after),
        alternative.difference,
        _outcome(alternative),
        alternative.reason,
        fmean(t.vehicles for t in traffic),
        fmean(t.asked_veh for t in traffic),
        fmean(t.got_veh for t in traffic),
        fmean(t.geh_below_5_percent for t in traffic),
        fmean(t.midway_percent for t in traffic),
        figures[0].total("teleports"),
        figures[1].total("teleports"),
    )


def _outcome(alternative: Alternative) -> Outcome:
    if alternative.verdict is Verdict.ADOPT:
        return Outcome.BETTER
    return Outcome.WORSE if alternative.difference.rises else Outcome.NO_DIFFERENCE


def _in_all(
    signals: tuple[str, ...],
    seeds: tuple[int, ...],
    windows: tuple[WindowValidation, ...],
    before: Sequence[Sequence[RunResult]],
    after: Sequence[Sequence[RunResult]],
    cpu_s: float,
) -> Validation:
    figures = [
        PlanFigures(name, None, tuple(_pooled(runs) for runs in zip(*by_window, strict=True)))
        for name, by_window in (("before", before), ("after", after))
    ]
    (alternative,) = judge("", seeds, figures[0], figures[1:]).alternatives
    return Validation(
        signals,
        seeds,
        windows,
        fmean(run.mean_delay_s for run in figures[0].runs),
        fmean(run.mean_delay_s for run in figures[1].runs),
        alternative.difference,
        _outcome(alternative),
        alternative.reason,
        fmean(w.geh_below_5_percent for w in windows),
        cpu_s,
    )


def _pooled(runs: Sequence[RunResult]) -> RunResult:
    """The windows of one seed as one run, in what the verdict looks at."""
    demand = sum(run.demand for run in runs)
    return replace(
        runs[0],
        demand=demand,
        mean_delay_s=sum(run.mean_delay_s * run.demand for run in runs) / max(demand, 1),
        discarded=sum(run.discarded for run in runs),
        teleports=sum(run.teleports for run in runs),
        collisions=sum(run.collisions for run in runs),
        emergency_stops=sum(run.emergency_stops for run in runs),
    )


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


# ------------------------------------------------------------------------------------------- which groups


@dataclass(frozen=True, slots=True)
class AtStake:
    """What a group's validation would cost, and what it is about: the fall in mean delay that its plans are expected
    to bring [s/veh], negative where they lose, and the vehicles of the day."""

    group: str
    gain_s: float
    vehicles: float
    cost_s: float


def sample_groups(groups: Sequence[AtStake], budget_s: float, seed: int) -> tuple[str, ...]:
    """The groups to be validated, in this order, when not all can be.

    First, whatever they cost: those expected to lose, the worst one first; the one expected to gain least; the one with
    most vehicles. Then others, drawn at random, while they fit into what is left of the budget of CPU time.

    Raises
    ------
    InputError
        Where a group is named twice, or a figure isn't a number.
    """
    names = [g.group for g in groups]
    if len(set(names)) < len(names):
        raise InputError("groups to be validated: one is named twice")
    for g in groups:
        if not (math.isfinite(g.gain_s) and math.isfinite(g.vehicles) and g.cost_s >= 0):
            raise InputError(f"group {g.group}: gain, vehicles and cost must be numbers, the cost 0 or more")
    by_gain = sorted(groups, key=lambda g: (g.gain_s, g.group))
    by_traffic = sorted(groups, key=lambda g: (-g.vehicles, g.group))
    chosen = {g.group: g for g in (*(g for g in by_gain if g.gain_s < 0), *by_gain[:1], *by_traffic[:1])}
    left_s = budget_s - sum(g.cost_s for g in chosen.values())
    others = [g for g in sorted(groups, key=lambda g: g.group) if g.group not in chosen]
    for k in np.random.default_rng(seed).permutation(len(others)):
        if others[k].cost_s <= left_s:
            chosen[others[k].group] = others[k]
            left_s -= others[k].cost_s
    return tuple(chosen)


def expected_cost_s(counts: TurningCounts, windows: Sequence[Window], seeds: int) -> float:
    """CPU time [s] that SUMO will take to validate a group, by the vehicles that pass its signals in the windows."""
    vehicles = sum(counts.total(signal) for signal in counts.counts)
    rate = vehicles / (counts.n_intervals * counts.interval_s)
    return sum(2 * seeds * (RUN_S + PASSAGE_S * rate * (end - begin + LEAD_IN_S)) for begin, end in windows)
