"""What one SUMO run says: its trip, statistic and summary outputs and its warnings, as one result."""

from __future__ import annotations

import math
import re
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element

from signals.errors import SimulationError
from signals.formats.sumo.running import read_messages
from signals.formats.sumo.xml import elements

NAN = math.nan
_STOPS = re.compile(rb'<tripinfo [^>]*\bwaitingCount="(\d+)"')


@dataclass(frozen=True, slots=True)
class MovementDelay:
    """Delay of one movement in one run: everything lost between the signal before and this one's stop line.

    `vehicles` counts those that passed and those still on their way to the line at the end; it has a
    fraction where vehicles that were never inserted are spread over the movements that start at their entry.
    """

    intersection: str
    movement: str
    approach: str
    vehicles: float
    delay_s: float

    @property
    def mean_delay_s(self) -> float:
        """Delay per vehicle [s]; NaN where nobody came."""
        return self.delay_s / self.vehicles if self.vehicles else NAN


@dataclass(frozen=True)
class RunResult:
    """The measures of one seeded run, over *everybody* due in the window.

    Everybody: arrived, still driving at the end (delay so far) and never inserted (delay from the planned
    departure to the end). demand = arrived + unfinished + never_inserted; inserted = arrived + unfinished.

    Attributes
    ----------
    mean_delay_s
        (sum of time loss + sum of departure delay) / demand [s/veh]; `mean_time_loss_s` and
        `mean_depart_delay_s` are its two parts.
    mean_travel_time_s
        Duration of the trips that arrived [s]; NaN where none did.
    mean_waiting_s, stops_per_vehicle
        Time below 0.1 m/s [s/veh] and number of such halts per vehicle, over demand.
    mean_speed_mps
        Efficiency: distance driven / time spent, departure delay included [m/s].
    congestion_index
        Time spent, departure delay included, / free-flow time of the distance that was driven [-]. A vehicle
        never inserted has driven nothing: it adds to the time spent alone, so that keeping it outside
        raises the index.
    throughput_vph
        Arrivals per hour of the run [veh/h].
    discarded
        Vehicles that SUMO dropped because the scenario sets max-depart-delay; they are in no other figure.
        In a light run also those that it had loaded and that were due after the end.
    queue_mean_veh, queue_max_veh
        Vehicles that stand in the network, and those that wait outside for room, over the steps [veh].
    pedestrians, pedestrian_delay_s
        Walks that ended, and their mean time loss [s]; NaN where nobody walked.
    co2_kg
        NaN unless emissions were asked for.
    warnings
        SUMO's warnings, by kind, with how often each was given.
    movements, delay_elsewhere_s
        Delay by signalised movement where a network was given, and what no movement caused (after the last
        signal, or outside at an entry that nobody left); together all of the delay [veh·s].

    A light run (see `simulate`) leaves queue, travel time, CO2 and movements out: NaN, or empty.
    """

    seed: int
    demand: int
    inserted: int
    arrived: int
    unfinished: int
    never_inserted: int
    discarded: int
    mean_delay_s: float
    mean_time_loss_s: float
    mean_depart_delay_s: float
    mean_travel_time_s: float
    mean_waiting_s: float
    stops_per_vehicle: float
    mean_speed_mps: float
    congestion_index: float
    throughput_vph: float
    teleports: int
    teleport_reasons: Mapping[str, int]
    collisions: int
    emergency_stops: int
    emergency_braking: int
    queue_mean_veh: float = NAN
    queue_max_veh: float = NAN
    pedestrians: int = 0
    pedestrian_delay_s: float = NAN
    co2_kg: float = NAN
    warnings: Mapping[str, int] = field(default_factory=dict)
    movements: tuple[MovementDelay, ...] = ()
    delay_elsewhere_s: float = NAN


class Trip(NamedTuple):
    """One vehicle's line of the trip output; times in s, distances in m. `arrived` is False to the end."""

    depart_s: float
    depart_delay_s: float
    depart_position_m: float
    distance_m: float
    duration_s: float
    time_loss_s: float
    arrived: bool


@dataclass(slots=True)
class TripSums:
    """Sums over the trip output; `trips` and `outside` (id → delay) only where they were asked for."""

    demand: int = 0
    arrived: int = 0
    never_inserted: int = 0
    time_loss_s: float = 0.0
    depart_delay_s: float = 0.0
    waiting_s: float = 0.0
    stops: float = 0.0
    duration_s: float = 0.0
    arrived_duration_s: float = 0.0
    distance_m: float = 0.0
    co2_mg: float = 0.0
    trips: dict[str, Trip] = field(default_factory=dict)
    outside: dict[str, float] = field(default_factory=dict)


def read_trips(path: Path, *, keep: bool) -> TripSums:
    """Sums over everybody in a tripinfo-output; `keep` also keeps each vehicle's trip."""
    sums = TripSums()
    for trip in elements(path, "tripinfo"):
        loss, delay = _number(trip, "timeLoss"), _number(trip, "departDelay")
        duration, distance = _number(trip, "duration"), _number(trip, "routeLength")
        depart = _number(trip, "depart")
        arrived = depart >= 0 and _number(trip, "arrival") >= 0
        sums.demand += 1
        sums.time_loss_s += loss
        sums.depart_delay_s += delay
        sums.waiting_s += _number(trip, "waitingTime")
        sums.stops += _number(trip, "waitingCount")
        sums.duration_s += duration
        sums.co2_mg += sum(float(child.get("CO2_abs", 0)) for child in trip.iter("emissions"))
        if depart < 0:
            sums.never_inserted += 1
        else:
            sums.distance_m += distance
        if arrived:
            sums.arrived += 1
            sums.arrived_duration_s += duration
        if keep and depart < 0:
            sums.outside[trip.get("id", "")] = delay
        elif keep:
            sums.trips[trip.get("id", "")] = Trip(
                depart, delay, _number(trip, "departPos"), distance, duration, loss, arrived
            )
    return sums


def count_stops(path: Path) -> int:
    """Stops of everybody in a tripinfo-output, at a tenth of the time that its trips take to read."""
    stops = 0
    with path.open("rb") as lines:
        for line in lines:
            found = _STOPS.search(line)
            if found:
                stops += int(found[1])
    return stops


@dataclass(frozen=True, slots=True)
class Statistic:
    """SUMO's own totals of a run (statistic-output); the trip part is there in light runs too."""

    begin_s: float
    end_s: float
    loaded: int
    inserted: int
    running: int
    waiting: int
    teleports: int
    teleport_reasons: dict[str, int]
    collisions: int
    emergency_stops: int
    emergency_braking: int
    pedestrians: int
    pedestrian_delay_s: float
    trips: int
    mean_distance_m: float
    mean_duration_s: float
    mean_waiting_s: float
    mean_time_loss_s: float
    depart_delay_s: float


def read_statistic(path: Path) -> Statistic:
    """SUMO's own totals of a run.

    Raises
    ------
    SimulationError
        Where a section is missing: the run was cut short, or SUMO has changed the format.
    """
    sections: dict[str, Element] = {}
    for root in elements(path, "statistics"):
        sections = {child.tag: child for child in root}
        try:
            vehicles, tele, safety = sections["vehicles"], sections["teleports"], sections["safety"]
            clock, trips = sections["performance"], sections["vehicleTripStatistics"]
            walks = sections.get("pedestrianStatistics")
            n_walks = int(_number(walks, "number")) if walks is not None else 0
            return Statistic(
                begin_s=_number(clock, "begin"),
                end_s=_number(clock, "end"),
                loaded=int(_number(vehicles, "loaded")),
                inserted=int(_number(vehicles, "inserted")),
                running=int(_number(vehicles, "running")),
                waiting=int(_number(vehicles, "waiting")),
                teleports=int(_number(tele, "total")),
                teleport_reasons={k: int(tele.get(k, 0)) for k in ("jam", "yield", "wrongLane")},
                collisions=int(_number(safety, "collisions")),
                emergency_stops=int(_number(safety, "emergencyStops")),
                emergency_braking=int(safety.get("emergencyBraking", 0)),
                pedestrians=n_walks,
                pedestrian_delay_s=_number(walks, "timeLoss") if walks is not None and n_walks else NAN,
                trips=int(_number(trips, "count")),
                mean_distance_m=_number(trips, "routeLength"),
                mean_duration_s=_number(trips, "duration"),
                mean_waiting_s=_number(trips, "waitingTime"),
                mean_time_loss_s=_number(trips, "timeLoss"),
                depart_delay_s=_number(trips, "totalDepartDelay"),
            )
        except KeyError as missing:
            raise SimulationError(
                f"{path.name}: SUMO wrote no {missing} section; is this SUMO 1.28?"
            ) from None
    raise SimulationError(f"{path.name}: SUMO wrote no statistics; the run was cut short")


class Queue(NamedTuple):
    """Vehicles that stand or wait outside for room, over the steps, and how many SUMO discarded in all."""

    mean_veh: float
    max_veh: float
    discarded: int


def read_queue(path: Path) -> Queue:
    """Queue of the whole network, from a summary-output."""
    total, greatest, steps, discarded = 0.0, 0.0, 0, 0
    for step in elements(path, "step"):
        queue = _number(step, "halting") + _number(step, "waiting")
        total += queue
        greatest = max(greatest, queue)
        steps += 1
        discarded = int(step.get("discarded", 0))
    return Queue(total / steps if steps else NAN, greatest, discarded)


def sums_of(statistic: Statistic, stops: int) -> TripSums:
    """The sums that SUMO's own totals and its stops hold, for a light run; NaN for what they don't.

    They leave out vehicles due within the last step, which SUMO counts neither as inserted nor as waiting:
    a handful in a window at most, and none where everybody is due on a whole step.
    """
    inserted = statistic.trips
    return TripSums(
        demand=inserted + statistic.waiting,
        arrived=inserted - statistic.running,
        never_inserted=statistic.waiting,
        # SUMO writes -1 for a mean over nobody
        time_loss_s=max(statistic.mean_time_loss_s, 0.0) * inserted,
        depart_delay_s=max(statistic.depart_delay_s, 0.0),
        waiting_s=max(statistic.mean_waiting_s, 0.0) * inserted,
        stops=stops,
        duration_s=max(statistic.mean_duration_s, 0.0) * inserted,
        arrived_duration_s=NAN,
        distance_m=max(statistic.mean_distance_m, 0.0) * inserted,
        co2_mg=NAN,
    )


def result_of(
    seed: int,
    sums: TripSums,
    statistic: Statistic,
    *,
    queue: Queue,
    warnings: Mapping[str, int],
    movements: tuple[MovementDelay, ...] = (),
) -> RunResult:
    """The measures of one run, each over everybody due."""
    everybody = max(sums.demand, 1)
    delay = sums.time_loss_s + sums.depart_delay_s
    spent = sums.duration_s + sums.depart_delay_s
    hours = (statistic.end_s - statistic.begin_s) / 3600
    return RunResult(
        seed=seed,
        demand=sums.demand,
        inserted=sums.demand - sums.never_inserted,
        arrived=sums.arrived,
        unfinished=sums.demand - sums.never_inserted - sums.arrived,
        never_inserted=sums.never_inserted,
        discarded=queue.discarded,
        mean_delay_s=delay / everybody,
        mean_time_loss_s=sums.time_loss_s / everybody,
        mean_depart_delay_s=sums.depart_delay_s / everybody,
        mean_travel_time_s=sums.arrived_duration_s / sums.arrived if sums.arrived else NAN,
        mean_waiting_s=sums.waiting_s / everybody,
        stops_per_vehicle=sums.stops / everybody,
        mean_speed_mps=_ratio(sums.distance_m, spent),
        congestion_index=_ratio(spent, sums.duration_s - sums.time_loss_s),
        throughput_vph=_ratio(sums.arrived, hours),
        teleports=statistic.teleports,
        teleport_reasons=statistic.teleport_reasons,
        collisions=statistic.collisions,
        emergency_stops=statistic.emergency_stops,
        emergency_braking=statistic.emergency_braking,
        queue_mean_veh=queue.mean_veh,
        queue_max_veh=queue.max_veh,
        pedestrians=statistic.pedestrians,
        pedestrian_delay_s=statistic.pedestrian_delay_s,
        co2_kg=sums.co2_mg / 1e6,
        warnings=warnings,
        movements=movements,
        delay_elsewhere_s=delay - sum(m.delay_s for m in movements) if movements else NAN,
    )


_NOISE = re.compile(r"'[^']*'|-?\d[\d.:]*")
_DETAIL = re.compile(r"[.;,]\s|\s(?:with\s)?\w+=")


def count_messages(path: Path) -> tuple[dict[str, int], list[str]]:
    """SUMO's warnings by kind, and its last errors, from what it wrote to stderr.

    Names and numbers make no difference to a kind: "Vehicle … performs emergency braking on lane …".
    """
    kinds: Counter[str] = Counter()
    errors: deque[str] = deque(maxlen=6)
    others: deque[str] = deque(maxlen=3)
    for kind, text in read_messages(path):
        if kind == "Warning":
            kinds[_DETAIL.split(_NOISE.sub("…", text), maxsplit=1)[0].strip(" .,")[:100]] += 1
        elif kind == "Error":
            errors.append(text)
        elif not text.startswith(("Quitting", "pj_obj_create")):
            others.append(text)
    return dict(sorted(kinds.items())), list(errors or others)


def _number(element: Element, key: str) -> float:
    try:
        return float(element.attrib[key])
    except (KeyError, ValueError):
        raise SimulationError(
            f"SUMO's <{element.tag}> gives {key}={element.get(key)!r}, not a number; is this SUMO 1.28?"
        ) from None


def _ratio(above: float, below: float) -> float:
    return above / below if below > 0 else NAN
