"""Plans side by side over the same seeds: paired differences, who pays, and whether to change anything."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from signals.errors import InputError
from signals.formats.sumo.config import Scenario
from signals.model.network import Network
from signals.simulation.run import MovementDelay, RunResult, RunSpec, simulate_many

HARM_S = 5.0
HARM_SHARE = 0.20
"""A stream is harmed where its mean delay rises by more than the greater of 5 s and 20 %, beyond noise."""

MAIN_APPROACHES = 2

MEASURES: Mapping[str, bool] = {
    "mean_delay_s": False,
    "mean_time_loss_s": False,
    "mean_depart_delay_s": False,
    "mean_travel_time_s": False,
    "mean_waiting_s": False,
    "stops_per_vehicle": False,
    "mean_speed_mps": True,
    "congestion_index": False,
    "throughput_vph": True,
    "queue_mean_veh": False,
    "queue_max_veh": False,
    "unfinished": False,
    "never_inserted": False,
    "teleports": False,
    "collisions": False,
    "emergency_stops": False,
    "emergency_braking": False,
    "pedestrian_delay_s": False,
    "co2_kg": False,
}
"""What is compared, by `RunResult`'s names, and whether more is better."""


class Verdict(StrEnum):
    """What to do with an alternative."""

    ADOPT = "adopt"
    KEEP_CURRENT = "keep the current plan"


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean of paired differences, alternative − current, and its 95 % t interval [low, high]."""

    mean: float
    low: float
    high: float
    sd: float
    n: int

    @property
    def rises(self) -> bool:
        """Whether the whole interval lies above zero."""
        return self.low > 0

    @property
    def falls(self) -> bool:
        """Whether the whole interval lies below zero."""
        return self.high < 0


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure over the seeds. `worst` is the worst seed's figure; `sd` is NaN for a single seed."""

    mean: float
    sd: float
    worst: float
    by_seed: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Stream:
    """A movement, or an approach with all of its movements (`movement` is empty), under two plans.

    `vehicles` is the mean volume of a run under the current plan; delays are means per vehicle [s].
    `side_street` is True except at the two approaches of the intersection that carry most.
    """

    intersection: str
    approach: str
    movement: str
    vehicles: float
    current_s: float
    alternative_s: float
    difference: Difference
    side_street: bool

    @property
    def harmed(self) -> bool:
        """Whether its delay rises by more than max(5 s, 20 %), and by more than noise."""
        return self.difference.rises and self.difference.mean > max(HARM_S, HARM_SHARE * self.current_s)


@dataclass(frozen=True, slots=True)
class StreetDelay:
    """Mean delay of all vehicles of a class of approaches [s/veh], under two plans."""

    vehicles: float
    current_s: float
    alternative_s: float
    difference: Difference


@dataclass(frozen=True)
class PlanFigures:
    """One plan's figures over the seeds; `runs` are in the order of the comparison's seeds."""

    name: str
    plan: Path | None
    runs: tuple[RunResult, ...]

    def measure(self, name: str) -> Measure:
        """One of `MEASURES` over the seeds."""
        values = tuple(float(getattr(run, name)) for run in self.runs)
        known = [v for v in values if not math.isnan(v)]
        if not known:
            return Measure(math.nan, math.nan, math.nan, values)
        return Measure(
            fmean(known),
            stdev(known) if len(known) > 1 else math.nan,
            min(known) if MEASURES[name] else max(known),
            values,
        )

    def total(self, name: str) -> int:
        """Sum over the seeds of something counted, such as teleports."""
        return sum(int(getattr(run, name)) for run in self.runs)


@dataclass(frozen=True)
class Alternative:
    """One plan against the current one.

    `gain_percent` is the fall of the mean delay in percent of the current plan's; `difference` the paired
    one in mean delay [s/veh]. `movements` and `approaches` are those that are harmed, worst first by the
    delay added in all. `side_streets` and `main_streets` are None without a network.
    """

    figures: PlanFigures
    difference: Difference
    gain_percent: float
    verdict: Verdict
    reason: str
    movements: tuple[Stream, ...] = ()
    approaches: tuple[Stream, ...] = ()
    side_streets: StreetDelay | None = None
    main_streets: StreetDelay | None = None


@dataclass(frozen=True)
class Comparison:
    """The current plan and its alternatives, run with the same seeds."""

    scenario: str
    seeds: tuple[int, ...]
    current: PlanFigures
    alternatives: tuple[Alternative, ...]

    def to_json(self) -> dict[str, Any]:
        """Everything as plain lists, dicts, strings and finite numbers; None stands for NaN and infinity."""
        plain = _plain(
            {
                "scenario": self.scenario,
                "seeds": self.seeds,
                "current": _figures(self.current),
                "alternatives": [
                    {
                        **_figures(a.figures),
                        "difference_s": a.difference,
                        "gain_percent": a.gain_percent,
                        "verdict": a.verdict,
                        "reason": a.reason,
                        "harmed_movements": a.movements,
                        "harmed_approaches": a.approaches,
                        "side_streets": a.side_streets,
                        "main_streets": a.main_streets,
                    }
                    for a in self.alternatives
                ],
            }
        )
        assert isinstance(plain, dict)
        return plain


def compare(
    scenario: Scenario,
    plan_files: Mapping[str, Path | None],
    *,
    seeds: Sequence[int],
    jobs_at_once: int = 2,
    movements: Network | None = None,
    emissions: bool = False,
    extra: Sequence[str] = (),
    timeout_s: float = 3600.0,
    on_done: Callable[[int, RunResult], None] | None = None,
) -> Comparison:
    """Which of several plans to use: each is run with every seed, and judged against the first.

    Parameters
    ----------
    plan_files
        Plans by name; None is the network's own. The first one is the current plan.
    seeds
        Seeds of the runs, each once. One alone decides nothing; five or more are advisable.
    movements
        The scenario's network, where harm to single movements is to be looked for.
    emissions, extra, timeout_s
        As for `simulate`.
    on_done
        Called with the run's position, plan by plan within each seed, and its result, as each run ends.

    Raises
    ------
    InputError
        Where there is no alternative or no seed, or a seed is given twice.
    SimulationError
        As for `simulate`.
    """
    seeds = tuple(seeds)
    if len(plan_files) < 2:
        raise InputError("a comparison needs the current plan and at least one other")
    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError(f"seeds {list(seeds)}: give at least one, each once")
    jobs = [
        RunSpec(
            scenario,
            seed,
            (path,) if path is not None else (),
            emissions=emissions,
            movements=movements,
            extra=tuple(extra),
            timeout_s=timeout_s,
        )
        for seed in seeds
        for path in plan_files.values()
    ]
    results = simulate_many(jobs, jobs_at_once=jobs_at_once, on_done=on_done)
    figures = [
        PlanFigures(name, path, tuple(results[k :: len(plan_files)]))
        for k, (name, path) in enumerate(plan_files.items())
    ]
    return judge(scenario.name, seeds, figures[0], figures[1:])


def judge(
    scenario: str, seeds: Sequence[int], current: PlanFigures, others: Sequence[PlanFigures]
) -> Comparison:
    """The comparison of plans whose runs are at hand, in the order of the seeds."""
    return Comparison(
        scenario, tuple(seeds), current, tuple(_alternative(current, other) for other in others)
    )


def paired_difference(current: Sequence[float], alternative: Sequence[float]) -> Difference:
    """Mean of alternative − current with its 95 % confidence interval, by Student's t on the pairs.

    Pairs with a NaN are left out. One pair has an infinite interval: it can't decide. Where all differences
    are equal, the interval is that one figure. Source: any textbook, e.g. Montgomery & Runger, Applied
    Statistics and Probability for Engineers, "Paired t-test".
    """
    pairs = [b - a for a, b in zip(current, alternative, strict=True) if not math.isnan(b - a)]
    n = len(pairs)
    if n == 0:
        return Difference(math.nan, -math.inf, math.inf, math.nan, 0)
    mean = fmean(pairs)
    if n == 1:
        return Difference(mean, -math.inf, math.inf, math.nan, 1)
    if min(pairs) == max(pairs):
        return Difference(pairs[0], pairs[0], pairs[0], 0.0, n)
    # scipy takes half a second to load: only who compares pays
    from scipy.stats import t

    sd = stdev(pairs)
    half = float(t.ppf(0.975, n - 1)) * sd / math.sqrt(n)
    return Difference(mean, mean - half, mean + half, sd, n)


def _alternative(current: PlanFigures, other: PlanFigures) -> Alternative:
    before, after = current.measure("mean_delay_s"), other.measure("mean_delay_s")
    difference = paired_difference(before.by_seed, after.by_seed)
    gain = -100 * difference.mean / before.mean if before.mean > 0 else math.nan
    streams = _streams(current.runs, other.runs)
    harmed = sorted(
        (s for s in streams if s.harmed),
        key=lambda s: (-s.difference.mean * s.vehicles, s.intersection, s.movement),
    )
    verdict, reason = _verdict(current, other, difference, gain, sum(bool(s.movement) for s in harmed))
    return Alternative(
        figures=other,
        difference=difference,
        gain_percent=gain,
        verdict=verdict,
        reason=reason,
        movements=tuple(s for s in harmed if s.movement),
        approaches=tuple(s for s in harmed if not s.movement),
        side_streets=_street(current.runs, other.runs, streams, side=True),
        main_streets=_street(current.runs, other.runs, streams, side=False),
    )


_DANGERS = (
    ("discarded", "vehicles dropped outside by the scenario's max-depart-delay"),
    ("teleports", "teleports"),
    ("collisions", "collisions"),
    ("emergency_stops", "emergency stops"),
)
"""What no gain in delay makes up for: a plan that has more of it over all seeds isn't adopted."""


def _verdict(
    current: PlanFigures, other: PlanFigures, difference: Difference, gain: float, harmed: int
) -> tuple[Verdict, str]:
    keep = Verdict.KEEP_CURRENT
    d = difference
    span = f"{d.mean:+.1f} s/veh, 95 % interval {d.low:+.1f} to {d.high:+.1f} over {d.n} seeds"
    if not any(run.demand for run in current.runs):
        return keep, "nobody is due in the window, so no plan can be better; check the demand and its times"
    if d.n < 2:
        return (
            keep,
            f"one seed decides nothing (mean delay {d.mean:+.1f} s/veh); run at least two, better five",
        )
    if d.rises:
        return keep, f"the mean delay rises: {span}"
    if not d.falls:
        return keep, f"the change in mean delay can't be told from noise: {span}; more seeds may tell"
    for name, what in _DANGERS:
        before, after = current.total(name), other.total(name)
        if after > before:
            return (
                keep,
                f"new {what}: {after} over all seeds, {before} with the current plan (mean delay {span})",
            )
    note = f"; {harmed} movement(s) pay with more delay" if harmed else ""
    return Verdict.ADOPT, f"the mean delay falls by {gain:.1f} %: {span}{note}"


def _streams(current: Sequence[RunResult], other: Sequence[RunResult]) -> list[Stream]:
    """Every movement and every approach that carries anyone, under both plans."""
    key = tuple[str, str, str]
    before: list[dict[key, tuple[float, float]]] = [_by_stream(run.movements) for run in current]
    after: list[dict[key, tuple[float, float]]] = [_by_stream(run.movements) for run in other]
    volume = {k: fmean(run[k][0] for run in before) for k in before[0]} if before else {}
    approaches: defaultdict[str, list[tuple[float, str]]] = defaultdict(list)
    for (intersection, approach, movement), vehicles in volume.items():
        if not movement:
            approaches[intersection].append((-vehicles, approach))
    main = {i: {name for _, name in sorted(volumes)[:MAIN_APPROACHES]} for i, volumes in approaches.items()}
    streams: list[Stream] = []
    for k, vehicles in volume.items():
        a = [_mean(run[k]) for run in before]
        b = [_mean(run.get(k, (0.0, 0.0))) for run in after]
        difference = paired_difference(a, b)
        if difference.n:
            streams.append(
                Stream(
                    k[0],
                    k[1],
                    k[2],
                    vehicles,
                    _mean_known(a),
                    _mean_known(b),
                    difference,
                    k[1] not in main[k[0]],
                )
            )
    return streams


def _street(
    current: Sequence[RunResult], other: Sequence[RunResult], streams: Sequence[Stream], *, side: bool
) -> StreetDelay | None:
    """All approaches that are, or are not, side streets, taken together."""
    chosen = {(s.intersection, s.approach) for s in streams if not s.movement and s.side_street == side}
    if not chosen:
        return None

    def delays(runs: Sequence[RunResult]) -> tuple[list[float], float]:
        sums = [
            (sum(m.vehicles for m in run), sum(m.delay_s for m in run))
            for run in ([m for m in r.movements if (m.intersection, m.approach) in chosen] for r in runs)
        ]
        return [_mean(s) for s in sums], fmean(v for v, _ in sums)

    a, vehicles = delays(current)
    b, _ = delays(other)
    return StreetDelay(vehicles, _mean_known(a), _mean_known(b), paired_difference(a, b))


def _by_stream(movements: Sequence[MovementDelay]) -> dict[tuple[str, str, str], tuple[float, float]]:
    """Vehicles and delay of each movement, and of each approach under an empty movement id."""
    found: dict[tuple[str, str, str], tuple[float, float]] = {}
    for m in movements:
        for name in (m.movement, ""):
            vehicles, delay = found.get((m.intersection, m.approach, name), (0.0, 0.0))
            found[m.intersection, m.approach, name] = (vehicles + m.vehicles, delay + m.delay_s)
    return found


def _mean(vehicles_delay: tuple[float, float]) -> float:
    vehicles, delay = vehicles_delay
    return delay / vehicles if vehicles > 0 else math.nan


def _mean_known(values: Sequence[float]) -> float:
    known = [v for v in values if not math.isnan(v)]
    return fmean(known) if known else math.nan


def _figures(figures: PlanFigures) -> dict[str, Any]:
    warnings: defaultdict[str, int] = defaultdict(int)
    for run in figures.runs:
        for kind, n in run.warnings.items():
            warnings[kind] += n
    return {
        "name": figures.name,
        "plan": str(figures.plan) if figures.plan is not None else None,
        "demand": [run.demand for run in figures.runs],
        "measures": {name: figures.measure(name) for name in MEASURES},
        "discarded": figures.total("discarded"),
        "warnings": dict(sorted(warnings.items())),
    }


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
