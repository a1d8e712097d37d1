"""Random traffic that follows turning counts, for signals cut out of their city.

Vehicles enter where roads begin, at the rate counted at the first signal behind, and turn at every signal with the
shares counted there in that quarter of an hour. Between two signals the counts seldom agree: who is counted at the
next one and not at the one before begins on a side street or on the road itself; who is counted at the one before
only ends there.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Generic, TypeVar
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from signals.errors import InputError
from signals.formats.files import write_whole
from signals.model.demand import TurningCounts
from signals.model.network import Network
from signals.simulation.cut import Roads, drivable

_Floats = NDArray[np.float64]
_T = TypeVar("_T")

SIGNAL_DELAY_S = 15.0
"""What a signal is taken to add to free flow [s], to say in which interval a vehicle reaches the next one."""

NEAR_M = 500.0
"""Of the signals ahead of an exit, those nearer by so much are e times as likely to be driven to."""

LEAVING_S = 900.0
"""Who is due at a signal so long after the window leaves by the next exit: nobody is simulated until then."""

GOOD_GEH = 5.0
_BALANCING_ROUNDS = 50
_PASSENGER = '<vType id="car" vClass="passenger"/>'


@dataclass(frozen=True)
class CountedTraffic:
    """Vehicles that were drawn to follow counts, and how well they do.

    `asked_veh` sums up the counts of the window, `got_veh` the vehicles that would pass by then: one counts at every
    signal. `geh_below_5_percent` is the share of the movements, taken as hourly flows, whose GEH is below 5; movements
    without any traffic aren't among them. `midway_percent` of the `vehicles` begin or end between two signals, where
    no side street takes them.
    """

    routes: Path
    vehicles: int
    asked_veh: float
    got_veh: float
    geh_below_5_percent: float
    midway_percent: float


@dataclass(frozen=True)
class _Bin:
    """A stretch of time with the flows of one counting interval."""

    begin_s: float
    end_s: float
    row: int


@dataclass(frozen=True)
class _Way:
    """Edges in driving order. It is `open` where it leads neither from nor to a border: vehicles begin or end on it."""

    edges: tuple[str, ...]
    open: bool = False


@dataclass(frozen=True)
class _Turn:
    """A movement that cars may drive."""

    signal: str
    movement: str
    to_edge: str


class _Choice(Generic[_T]):
    """What vehicles do next, in the proportions given: what was chosen too seldom so far is chosen first."""

    def __init__(self, weights: Sequence[float], what: Sequence[_T]) -> None:
        total = sum(weights)
        self._shares = [w / total for w in weights] if total else [1.0 / len(what)] * len(what)
        self._owed = [0.0] * len(what)
        self._what = what

    def pick(self, draw: float, fits: Callable[[_T], bool]) -> _T:
        """One that fits, at random by how much each is owed; any by its share where nothing that fits is owed."""
        self._owed = [owed + share for owed, share in zip(self._owed, self._shares, strict=True)]
        fitting = [fits(what) for what in self._what]
        weights = [max(owed, 0.0) * fit for owed, fit in zip(self._owed, fitting, strict=True)]
        if not sum(weights):
            weights = [share * fit for share, fit in zip(self._shares, fitting, strict=True)]
        if not sum(weights):
            weights = self._shares
        limits = list(accumulate(weights))
        chosen = min(bisect_right(limits, draw * limits[-1]), len(limits) - 1)
        self._owed[chosen] -= 1.0
        return self._what[chosen]


@dataclass
class _Drive:
    """A vehicle under way: where it began, its edges behind its first stop line, junctions passed, and how it ends."""

    depart_s: float
    start: _Way
    route: list[str] = field(default_factory=list)
    passed: set[str] = field(default_factory=set)
    end: _Way | None = None

    @property
    def midway(self) -> bool:
        """Whether it begins or ends between two signals."""
        return self.start.open or (self.end is not None and self.end.open)


@dataclass
class _Drawing:
    """One draw under way: its time bins with the choices in each, its random numbers, and what passes where."""

    bins: Sequence[_Bin]
    turning: Sequence[Mapping[str, _Choice[_Turn]]]
    driving: Sequence[Mapping[str, _Choice[_Way | str]]]
    rng: np.random.Generator
    passed: defaultdict[tuple[str, str], float]

    def bin_at(self, time_s: float) -> int:
        """Number of the bin at a time, the last one for all times after."""
        return next((k for k, b in enumerate(self.bins) if time_s < b.end_s), len(self.bins) - 1)


class Streams:
    """How vehicles flow through a cut by its counts: where they begin, turn, drive on and end.

    Counts of movements that no car may drive are asked for and never met.

    Raises
    ------
    InputError
        Where a signal or movement of the counts isn't in the network, or signals of the network aren't counted.
    """

    def __init__(self, network: Network, counts: TurningCounts) -> None:
        check_counts(network, counts)
        self._network = network
        self._counts = counts
        self._roads = Roads.of(network)
        cars = {(c.from_edge, c.to_edge) for c in network.connections if drivable(network, c)}
        self._turns: defaultdict[str, list[_Turn]] = defaultdict(list)
        into: defaultdict[str, _Floats] = defaultdict(lambda: np.zeros(counts.n_intervals))
        out: defaultdict[str, _Floats] = defaultdict(lambda: np.zeros(counts.n_intervals))
        for signal in sorted(counts.counts):
            for movement in network.intersections[signal].movements:
                if (movement.approach, movement.to_edge) in cars:
                    self._turns[movement.approach].append(_Turn(signal, movement.id, movement.to_edge))
                    into[movement.approach] += self._row(signal, movement.id)
                    out[movement.to_edge] += self._row(signal, movement.id)
        self._approaches, self._exits = sorted(into), sorted(out)
        self._number = {e: i for i, e in enumerate(self._exits)}
        self._in = np.array([into[a] for a in self._approaches])
        self._out = np.array([out[e] for e in self._exits])
        self._ways = [self._roads.ways(e, self._turns) for e in self._exits]
        self._ends = [self._end(e, ways) for e, ways in zip(self._exits, self._ways, strict=True)]
        self._starts = [self._start(a) for a in self._approaches]
        self._between = [self._balance(t) for t in range(counts.n_intervals)]

    def _row(self, signal: str, movement: str) -> _Floats:
        return np.array(self._counts.counts[signal].get(movement, (0.0,) * self._counts.n_intervals))

    def _end(self, exit_edge: str, onward: Mapping[str, tuple[str, ...]]) -> _Way:
        """The way from an exit out of the network, or, where signals stand on all of them, part of the way to one."""
        borders = {e for e in self._network.edges if not self._roads.ahead.get(e)} - set(self._turns)
        ways = self._roads.ways(exit_edge, borders.union(self._turns))
        out = [way for edge, way in ways.items() if edge in borders]
        if out or not onward:
            return _Way(min(out, key=len) if out else (exit_edge,))
        way = min(onward.values(), key=len)
        return _Way(way[: self._longest(way) + 1], open=True)

    def _start(self, approach: str) -> _Way:
        """The way to an approach from where its road begins, or from the nearest side street, or, where traffic comes
        from signals alone, part of the way from one."""
        trunk = self._roads.trunk(approach, self._exits, math.inf)
        if trunk[0] not in self._exits:
            return _Way(trunk)
        entries = {e for e in self._network.edges if not self._roads.behind.get(e)} - set(self._exits)
        ways = self._roads.ways_back(approach, entries.union(self._exits))
        found = [way for edge, way in ways.items() if edge in entries]
        return _Way(min(found, key=len)) if found else _Way(trunk[self._longest(trunk) :], open=True)

    def _longest(self, way: Sequence[str]) -> int:
        return max(range(len(way)), key=lambda i: self._network.edges[way[i]].length_m)

    def _balance(self, interval: int) -> _Floats:
        """Vehicles from each exit to each approach: as many as both counts allow, by Furness' method.

        Source: Furness, K. P. (1965), Time function iteration, Traffic Engineering and Control 7.
        """
        out, into = self._out[:, interval], self._in[:, interval]
        flows = np.zeros((len(out), len(into)))
        at = {a: i for i, a in enumerate(self._approaches)}
        for k, ways in enumerate(self._ways):
            for approach, way in ways.items():
                length_m = sum(self._network.edges[e].length_m for e in way)
                flows[k, at[approach]] = math.exp(-length_m / NEAR_M)
        for _ in range(_BALANCING_ROUNDS):
            flows *= _factor(out, flows.sum(axis=1))[:, None]
            flows *= _factor(into, flows.sum(axis=0))[None, :]
        flows *= np.minimum(_factor(out, flows.sum(axis=1)), 1.0)[:, None]
        return flows

    def draw(self, begin_s: float, end_s: float, seed: int, path: Path, lead_in_s: float) -> CountedTraffic:
        """Write the vehicles of a window and of the time before it that fills the roads; same seed, same bytes.

        SUMO's clock has no time before 0, so a window that begins at midnight begins with empty roads.

        Raises
        ------
        InputError
            Where the window isn't within the counts.
        """
        bins = self._bins(begin_s, end_s, lead_in_s)
        drawing = _Drawing(
            bins,
            [self._turning(b.row) for b in bins],
            [self._driving(b.row) for b in bins],
            np.random.default_rng([seed, round(begin_s)]),
            defaultdict(float),
        )
        drives = [d for d in self._drives(drawing) if d.depart_s >= bins[0].begin_s]
        rows = sorted((d.depart_s, self._rest_of_row(d, drawing.rng.random())) for d in drives)
        text = "".join(
            f'<vehicle id="v{number}" type="car" depart="{depart_s:.2f}" {rest}\n'
            for number, (depart_s, rest) in enumerate(rows)
        )
        write_whole(path, f"<routes>\n{_PASSENGER}\n{text}</routes>\n")
        asked = self._asked(bins)
        return CountedTraffic(
            path,
            len(rows),
            sum(asked.values()),
            sum(drawing.passed.values()),
            _good_percent(asked, drawing.passed, 3600.0 / (end_s - begin_s)),
            100.0 * sum(d.midway for d in drives) / max(len(drives), 1),
        )

    def _bins(self, begin_s: float, end_s: float, lead_in_s: float) -> list[_Bin]:
        counts = self._counts
        last_s = counts.begin_s + counts.n_intervals * counts.interval_s
        if not counts.begin_s <= begin_s < end_s <= last_s:
            raise InputError(
                f"window from {begin_s:g} s to {end_s:g} s: the counts go from {counts.begin_s:g} s to {last_s:g} s"
            )
        before = max(math.ceil((begin_s - counts.begin_s) / counts.interval_s) - 1, 0)
        bins = [_Bin(max(begin_s - lead_in_s, 0.0), begin_s, before)]
        for row in range(counts.n_intervals):
            low_s = max(counts.begin_s + row * counts.interval_s, begin_s)
            high_s = min(counts.begin_s + (row + 1) * counts.interval_s, end_s)
            if low_s < high_s:
                bins.append(_Bin(low_s, high_s, row))
        return bins

    def _arrivals(self, approach: int, drawing: _Drawing) -> list[float]:
        """When vehicles that begin before an approach reach it: Poisson, at the rate that no signal feeds."""
        found: list[float] = []
        for b in drawing.bins:
            fed = float(self._between[b.row][:, approach].sum())
            rate = max(float(self._in[approach, b.row]) - fed, 0.0) / self._counts.interval_s
            number = int(drawing.rng.poisson(rate * (b.end_s - b.begin_s)))
            found += np.sort(drawing.rng.uniform(b.begin_s, b.end_s, number)).tolist()
        return found

    def _turning(self, row: int) -> dict[str, _Choice[_Turn]]:
        """Per approach: its movements, by the counts of an interval, or of all where nobody came then."""
        choices: dict[str, _Choice[_Turn]] = {}
        for approach, turns in self._turns.items():
            table = np.array([self._row(turn.signal, turn.movement) for turn in turns])
            weights = table[:, row] if table[:, row].any() else table.sum(axis=1)
            choices[approach] = _Choice(weights.tolist(), turns)
        return choices

    def _driving(self, row: int) -> dict[str, _Choice[_Way | str]]:
        """Per exit: the next approaches, and the end of the drive, by the counts of an interval or of all."""
        choices: dict[str, _Choice[_Way | str]] = {}
        for k, exit_edge in enumerate(self._exits):
            rows = [row] if self._out[k, row] else range(self._counts.n_intervals)
            flows = sum((self._between[r][k] for r in rows), np.zeros(len(self._approaches)))
            ended = max(float(self._out[k, rows].sum() - flows.sum()), 0.0)
            ahead = [(float(flows[i]), a) for i, a in enumerate(self._approaches) if a in self._ways[k]]
            choices[exit_edge] = _Choice(
                [*(flow for flow, _ in ahead), ended if any(f for f, _ in ahead) else 1.0],
                [*(approach for _, approach in ahead), self._ends[k]],
            )
        return choices

    def _drives(self, drawing: _Drawing) -> list[_Drive]:
        """All vehicles from begin to end; what they pass within the window is noted."""
        drives: list[_Drive] = []
        due: list[tuple[float, int, str]] = []
        for k, (approach, start) in enumerate(zip(self._approaches, self._starts, strict=True)):
            ahead_s = self._seconds(start.edges)
            for arrival_s in self._arrivals(k, drawing):
                due.append((arrival_s, len(drives), approach))
                drives.append(_Drive(arrival_s - ahead_s, start))
        heapq.heapify(due)
        while due:
            arrival_s, number, approach = heapq.heappop(due)
            way = self._pass(drives[number], approach, arrival_s, drawing)
            if way:
                behind_s = arrival_s + SIGNAL_DELAY_S + self._seconds(way)
                heapq.heappush(due, (behind_s, number, way[-1]))
        return drives

    def _pass(self, drive: _Drive, approach: str, arrival_s: float, drawing: _Drawing) -> tuple[str, ...]:
        """Take a vehicle over a stop line: its way to the next one, or nothing where it drives no further.

        Nobody comes back to a junction, as long as another way is left.
        """
        k = drawing.bin_at(arrival_s)
        drive.passed.add(self._network.edges[approach].to_junction)

        def new(goal: str) -> bool:
            return self._network.edges[goal].to_junction not in drive.passed

        def leads_on(turn: _Turn) -> bool:
            ways = self._ways[self._number[turn.to_edge]]
            return not ways or any(map(new, ways))

        turn = drawing.turning[k][approach].pick(drawing.rng.random(), leads_on)
        if k and arrival_s < drawing.bins[k].end_s:
            drawing.passed[turn.signal, turn.movement] += 1
        exit_number = self._number[turn.to_edge]
        choice = drawing.driving[k][turn.to_edge]
        following = choice.pick(drawing.rng.random(), lambda w: isinstance(w, _Way) or new(w))
        if isinstance(following, _Way) or arrival_s > drawing.bins[-1].end_s + LEAVING_S:
            drive.end = self._ends[exit_number]
            drive.route += drive.end.edges
            return ()
        way = self._ways[exit_number][following]
        drive.route += way
        return way

    def _rest_of_row(self, drive: _Drive, where: float) -> str:
        """A vehicle's element behind its departure; `where` on its last edge it ends, if midway."""
        place = 'departPos="random_free" departSpeed="avg"' if drive.start.open else 'departSpeed="max"'
        arrival = ""
        if drive.end is not None and drive.end.open:
            arrival = f' arrivalPos="{where * self._network.edges[drive.route[-1]].length_m:.1f}"'
        edges = quoteattr(" ".join([*drive.start.edges, *drive.route]))
        return f'departLane="best" {place}{arrival}><route edges={edges}/></vehicle>'

    def _seconds(self, way: Sequence[str]) -> float:
        edges = self._network.edges
        return sum(edges[e].length_m / edges[e].speed_mps for e in way)

    def _asked(self, bins: Sequence[_Bin]) -> dict[tuple[str, str], float]:
        interval_s = self._counts.interval_s
        return {
            (signal, movement): sum(counted[b.row] * (b.end_s - b.begin_s) / interval_s for b in bins[1:])
            for signal, movements in self._counts.counts.items()
            for movement, counted in movements.items()
        }


def check_counts(network: Network, counts: TurningCounts) -> None:
    """Hold counts against the network of their group.

    Raises
    ------
    InputError
        Where they don't fit together, or a count is negative or no number.
    """
    missing = sorted(set(network.intersections) - set(counts.counts))
    if missing:
        raise InputError(
            f"signals without turning counts: {', '.join(missing[:6])}; count them or leave them out"
        )
    for signal, movements in counts.counts.items():
        found = network.intersections.get(signal)
        if found is None:
            raise InputError(f"signal {signal!r} is counted, but isn't in {network.source}")
        unknown = sorted(set(movements) - {m.id for m in found.movements})
        if unknown:
            raise InputError(
                f"signal {signal}: counts for movements that it hasn't: {', '.join(unknown[:6])}"
            )
        for movement, row in movements.items():
            if len(row) != counts.n_intervals or not all(math.isfinite(v) and v >= 0 for v in row):
                raise InputError(
                    f"signal {signal}, movement {movement}: counts {list(row)[:6]} must be "
                    f"{counts.n_intervals} numbers of 0 or more"
                )


def geh(hourly: float, counted: float) -> float:
    """GEH statistic of a modelled against a counted hourly flow; 0 where both are.

    Source: UK Department for Transport, TAG unit M3.1, section 3.2.
    """
    both = hourly + counted
    return math.sqrt(2.0 * (hourly - counted) ** 2 / both) if both > 0 else 0.0


def _good_percent(
    asked: Mapping[tuple[str, str], float], passed: Mapping[tuple[str, str], float], per_hour: float
) -> float:
    pairs = [(passed.get(name, 0.0) * per_hour, counted * per_hour) for name, counted in asked.items()]
    judged = [geh(a, b) < GOOD_GEH for a, b in pairs if a + b > 0]
    return 100.0 * sum(judged) / len(judged) if judged else 100.0


def _factor(wanted: _Floats, have: _Floats) -> _Floats:
    return np.divide(wanted, have, out=np.zeros_like(wanted), where=have > 0)
