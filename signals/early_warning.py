"""Early warning: the slots of a day-ahead forecast in which a movement is likely to exceed what its plan can pass.

    forecast (quantiles) + capacity of the plan in force → probability of excess, slot by slot → warnings

Capacities come from a file (`formats.capacities`) or from a network and its programs (`capacities_of_network`).

A count at a stop line under saturation shows the capacity and not the demand: what can't pass isn't counted. A
forecast learned from such counts stays below capacity however long the queue, and the warning stays silent
just where it was needed. Take the counts upstream of the queue, or correct them by the queue's growth first.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from signals.demand.balance import known_proportions
from signals.demand.margins import approaches_of
from signals.demand.proportions import movement_forecast
from signals.demand.quantiles import exceedance, expected_excess, quantile_at
from signals.errors import InputError
from signals.model.capacity import Capacities
from signals.model.counts import MINUTES_A_DAY, CountForecast, CountTable, Floats
from signals.model.demand import VehicleType
from signals.model.network import Intersection, Network
from signals.model.phasing import SignalProgram
from signals.model.plan import PlanSet
from signals.timing.lane_groups import IntersectionMeasures, measure_program

THRESHOLD = 0.5
HIGH_LEVEL = 0.9
LEAST_FLOW_VPH = 0.1
"""Flow that a movement without any is measured with, so that it has lanes and a capacity at all."""

Schedules = Mapping[str, Sequence[tuple[int, SignalProgram]]]
"""By signal, its programs with the minute of the day from which each runs; before the first, the last one runs."""


@dataclass(frozen=True, slots=True)
class EarlyWarning:
    """An approach that is likely to exceed capacity over one or more slots on end.

    `movement` is the one to blame: of the approach's, the one with the largest v/c at the mean weighted by the
    probability of its excess, summed over the slots. Probabilities, `vc_mean` and `vc_q90` (v/c at the mean and at
    the 90 % quantile, other movements at their mean) are that of the slot `peak` and of the movement that is
    likeliest to exceed there, named by `peak_movement`. `excess_veh` sums the expected excess of the worst
    movement of each slot.
    """

    approach: str
    movement: str
    start: np.datetime64
    end: np.datetime64
    slots: int
    peak: np.datetime64
    peak_probability: float
    peak_movement: str
    excess_veh: float
    vc_mean: float
    vc_q90: float

    def to_json(self) -> dict[str, object]:
        """Plain values; times in ISO 8601 on the local clock."""
        return {
            name: str(value) if isinstance(value, np.datetime64) else value
            for name, value in asdict(self).items()
        }


# --------------------------------------------------------------------------------------------------- warnings


def warn(
    forecast: CountForecast | Sequence[CountForecast],
    capacities: Capacities,
    *,
    threshold: float = THRESHOLD,
    covered_only: bool = False,
) -> tuple[EarlyWarning, ...]:
    """Warnings for all slots in which a series exceeds its capacity with at least this probability.

    Slots of an approach that follow each other are joined to one warning; an approach's probability is that of
    its likeliest movement, and so a lower bound. Warnings come in order of start, then approach.

    Parameters
    ----------
    forecast
        Of movements or of approaches, by the names of `capacities`; several (one an intersection, one a day)
        are taken together. Where two hold the same slot, the likelier excess counts.
    threshold
        Probability from which on a slot is in a warning, more than 0 and at most 1.
    covered_only
        Leave out series without a capacity (`uncovered` lists them) instead of refusing.

    Raises
    ------
    InputError
        Where the threshold is out of range, or a series has no capacity.
    """
    if not 0.0 < threshold <= 1.0:
        raise InputError(f"warning threshold of {threshold:g}: give a probability above 0, at most 1")
    slots: dict[tuple[str, np.datetime64], _Slot] = {}
    step = np.timedelta64(0, "m")
    for one in [forecast] if isinstance(forecast, CountForecast) else forecast:
        missing = uncovered(one, capacities)
        if missing and (not covered_only or len(missing) == len(one.names)):
            raise InputError(
                f"{len(missing)} of {len(one.names)} forecast series have no capacity ({', '.join(missing[:3])}): "
                "name capacities by the forecast's series, or ask for the covered ones only"
            )
        step = max(step, np.timedelta64(one.step_min, "m"))
        for slot in _likely_slots(one, capacities, threshold):
            key = (slot.approach, slot.time)
            if key not in slots or slots[key].probability < slot.probability:
                slots[key] = slot
    by_approach: defaultdict[str, list[_Slot]] = defaultdict(list)
    for _, slot in sorted(slots.items(), key=lambda item: item[0][1]):
        by_approach[slot.approach].append(slot)
    warnings = []
    for rows in by_approach.values():
        run = [rows[0]]
        for slot in rows[1:]:
            if slot.time > run[-1].end:
                warnings.append(_joined(run))
                run = []
            run.append(slot)
        warnings.append(_joined(run))
    return tuple(sorted(warnings, key=lambda w: (w.start, w.approach)))


def uncovered(forecast: CountForecast, capacities: Capacities) -> tuple[str, ...]:
    """Series of a forecast that have no capacity, in its order."""
    known = set(capacities.names)
    return tuple(name for name in forecast.names if name not in known)


@dataclass(frozen=True, slots=True)
class _Slot:
    """An approach in one slot: its likeliest movement, and the weight of blame of each."""

    approach: str
    time: np.datetime64
    end: np.datetime64
    movement: str
    probability: float
    excess_veh: float
    vc_mean: float
    vc_q90: float
    blame: Mapping[str, float]


def _likely_slots(forecast: CountForecast, capacities: Capacities, threshold: float) -> Iterable[_Slot]:
    where = {name: k for k, name in enumerate(capacities.names)}
    columns = [k for k, name in enumerate(forecast.names) if name in where]
    source = [where[forecast.names[k]] for k in columns]
    capacity, others = (rows[:, source] for rows in capacities.at(forecast.times, forecast.step_min))
    mean, quantiles = forecast.mean[:, columns], forecast.quantiles[:, columns, :]
    probability = exceedance(forecast.levels, quantiles, capacity - others)
    excess = expected_excess(forecast.levels, quantiles, capacity - others)
    high = quantile_at(forecast.levels, quantiles, HIGH_LEVEL)
    vc_mean, vc_high = _vc(mean + others, capacity), _vc(high + others, capacity)
    by_approach: defaultdict[str, list[int]] = defaultdict(list)
    for k, column in enumerate(source):
        by_approach[capacities.approaches[column]].append(k)
    step = np.timedelta64(forecast.step_min, "m")
    for approach, members in by_approach.items():
        for t in np.flatnonzero(probability[:, members].max(axis=1) >= threshold):
            # Between equally likely ones the higher v/c decides.
            k = max(members, key=lambda m: (probability[t, m], vc_mean[t, m]))
            yield _Slot(
                approach,
                forecast.times[t],
                forecast.times[t] + step,
                forecast.names[columns[k]],
                float(probability[t, k]),
                float(excess[t, k]),
                float(vc_mean[t, k]),
                float(vc_high[t, k]),
                {forecast.names[columns[m]]: float(probability[t, m] * vc_mean[t, m]) for m in members},
            )


def _vc(load: Floats, capacity: Floats) -> Floats:
    """v/c; where nothing can pass, as if one vehicle an interval could, so that it stays a number."""
    return load / np.where(capacity > 0.0, capacity, 1.0)


def _joined(run: Sequence[_Slot]) -> EarlyWarning:
    blame: defaultdict[str, float] = defaultdict(float)
    for slot in run:
        for movement, weight in slot.blame.items():
            blame[movement] += weight
    peak = max(run, key=lambda s: (s.probability, s.vc_mean))
    return EarlyWarning(
        peak.approach,
        max(sorted(blame), key=lambda m: blame[m]),
        run[0].time,
        run[-1].end,
        len(run),
        peak.time,
        peak.probability,
        peak.movement,
        sum(slot.excess_veh for slot in run),
        peak.vc_mean,
        peak.vc_q90,
    )


# ------------------------------------------------------------------------------------------------- capacities


def schedules_in_force(
    network: Network, plans: PlanSet | None = None
) -> dict[str, tuple[tuple[int, SignalProgram], ...]]:
    """By signal, the programs it runs with the minute of the day from which each does.

    The network's own program all day where `plans` has none for a signal. Of a plan set the simulation's clock
    is taken for the time of day. Signals without a readable program are left out.
    """
    schedules: dict[str, tuple[tuple[int, SignalProgram], ...]] = {}
    for signal, intersection in network.intersections.items():
        programs = [p[signal].program for p in plans.periods if signal in p] if plans else []
        if plans and len(programs) == len(plans.periods):
            switches = [int(t // 60) % MINUTES_A_DAY for t in plans.switch_times.get(signal, ())]
            rows = dict(zip([0, *switches], programs, strict=False))
        else:
            rows = {0: intersection.program} if intersection.program else {}
        readable = {m: p for m, p in rows.items() if p.cycle_s > 0 and p.n_links >= intersection.n_links}
        if readable and len(readable) == len(rows):
            schedules[signal] = tuple(sorted(readable.items()))
    return schedules


def under_programs(
    made: CountForecast,
    table: CountTable,
    network: Network,
    schedules: Schedules,
    turns: CountTable | None = None,
) -> tuple[CountForecast, Capacities]:
    """A forecast by movement, and what each movement can pass under the programs in force.

    A forecast of approach edges is divided into movements: by turning counts, else by what approach and exit counts
    of `table` say, else by default.

    Raises
    ------
    InputError
        Where no series is a movement or an approach of a signal with a program.
    """
    if not set(made.names) & set(approaches_of(network)):
        proportions = known_proportions(network, table, turns)
        approaches = set(proportions.approaches)
        made = movement_forecast(made.select([n for n in made.names if n in approaches]), proportions)
    return made, capacities_of_network(network, schedules, made)


def capacities_of_network(
    network: Network, schedules: Schedules, forecast: CountForecast, *, vehicle: VehicleType | None = None
) -> Capacities:
    """Capacity of each forecast movement in each slot, under the programs in force and the forecast's mean flows.

    Flows matter: permitted lefts pass through the gaps that opposing flow leaves, movements share lanes, and
    drivers choose the emptier lane (`timing.lane_groups.measure_program`). Of a movement's lanes the one with the
    largest v/c decides: with a share s of the movement's vehicles, capacity c and u vehicles of other movements
    it is full at n·s + u = c, which gives `veh` = c/s and `others` = u/s. At the mean, (n + others)/veh is that
    lane's v/c. In a slot in which programs change, capacity is their mean by time.

    Parameters
    ----------
    schedules
        Programs by signal (`schedules_in_force`); signals without one are left out.
    forecast
        Of movements, by their ids, up to 48 hours ahead; of a signal all or none.
    vehicle
        Type that saturation flows are for; SUMO's default car where not given.

    Raises
    ------
    InputError
        Where no series is a movement of a signal with a program, or some of a signal's movements are missing.
    """
    where = {name: k for k, name in enumerate(forecast.names)}
    day = forecast.times[0].astype("datetime64[D]") if len(forecast.times) else np.datetime64("2000-01-01")
    minutes = (forecast.times - day.astype("datetime64[m]")).astype(np.int64)
    # Where clocks go back, an hour comes twice: the first one stands for both.
    starts, rows = np.unique(minutes, return_index=True)
    names: list[str] = []
    approaches: list[str] = []
    veh: list[Floats] = []
    others: list[Floats] = []
    for signal, programs in schedules.items():
        intersection = network.intersections[signal]
        movements = intersection.movements
        missing = [m.id for m in movements if m.id not in where]
        if len(missing) == len(movements):
            continue
        if missing:
            raise InputError(
                f"intersection {signal}: movement {missing[0]!r} isn't in the forecast ({len(missing)} of "
                f"{len(movements)}), so lanes can't be loaded; forecast all movements of a signal or none"
            )
        columns = [where[m.id] for m in movements]
        flows = np.maximum(forecast.mean[rows][:, columns] * 60.0 / forecast.step_min, LEAST_FLOW_VPH)
        table = [
            _of_movements(
                network, intersection, _in_force(programs, int(start), forecast.step_min), flow, vehicle
            )
            for start, flow in zip(starts, flows, strict=True)
        ]
        found = np.array(table).reshape(len(table), len(movements), 2) * forecast.step_min / 60.0
        for k, movement in enumerate(movements):
            if not np.isnan(found[:, k]).any():
                names.append(movement.id)
                approaches.append(movement.approach)
                veh.append(found[:, k, 0])
                others.append(found[:, k, 1])
    if not names or not len(starts):
        raise InputError(
            f"none of the {len(forecast.names)} forecast series is a movement of a signal with a program; forecast "
            "movements by their ids (movement_forecast makes them of approaches)"
        )
    return Capacities(
        tuple(names),
        tuple(approaches),
        tuple(int(s) for s in starts),
        forecast.step_min,
        np.column_stack(veh),
        np.column_stack(others),
        day,
    )


def _in_force(
    programs: Sequence[tuple[int, SignalProgram]], start_min: int, step_min: int
) -> list[tuple[float, SignalProgram]]:
    """Programs that run within a slot, with their share of it."""
    shares: dict[int, float] = {}
    for minute in range(start_min, start_min + step_min):
        begun = [k for k, (start, _) in enumerate(programs) if start <= minute % MINUTES_A_DAY]
        k = begun[-1] if begun else len(programs) - 1
        shares[k] = shares.get(k, 0.0) + 1.0 / step_min
    return [(share, programs[k][1]) for k, share in shares.items()]


def _of_movements(
    network: Network,
    intersection: Intersection,
    programs: Sequence[tuple[float, SignalProgram]],
    flows_vph: Floats,
    vehicle: VehicleType | None,
) -> list[tuple[float, float]]:
    """(veh, others) of each movement in veh/h under its flows; NaN for one that has no lane."""
    flow_of = {m.id: float(vph) for m, vph in zip(intersection.movements, flows_vph, strict=True)}
    measured: list[tuple[float, IntersectionMeasures]] = [
        (share, measure_program(network, intersection, program, flow_of, vehicle=vehicle))
        for share, program in programs
    ]
    # Lanes and their flows are the same under every program; capacity is not.
    lanes = [lane for lane, _ in measured[0][1].lanes]
    capacity = [
        sum(share * whole.lanes[k][1].capacity_vph for share, whole in measured) for k in range(len(lanes))
    ]
    found = []
    for movement in intersection.movements:
        best = (-1.0, math.nan, math.nan)
        for lane, vph in zip(lanes, capacity, strict=True):
            own = sum(lane.flow_by_link_vph.get(link, 0.0) for link in movement.links)
            if lane.approach != movement.approach or own <= 1e-9 * flow_of[movement.id] or vph <= 0.0:
                continue
            share = own / flow_of[movement.id]
            others = max(lane.flow_vph - own, 0.0)
            best = max(best, (lane.flow_vph / vph, vph / share, others / share))
        found.append(best[1:])
    return found
