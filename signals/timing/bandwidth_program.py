"""The widest green bands of an arterial, proven: MAXBAND and MULTIBAND as mixed-integer linear programs.

MAXBAND: J. D. C. Little, "The synchronization of traffic signals by mixed-integer linear programming",
Operations Research 14 (1966) 568-594; Little, Kelson, Gartner, "MAXBAND: a program for setting signals on
arteries and triangular networks", Transportation Research Record 795 (1981) 40-46. MULTIBAND: Gartner, Assman,
Lasaga, Hou, "A multi-band approach to arterial traffic signal optimization", Transportation Research B 25 (1991)
55-74.

Only sums over both directions count around a loop of two neighbours, so the program here has one position a
signal instead of Little's w and w̄. With D the deviation that a signal's bands have from the middles of its
greens, both together, Δ the middle of its backward green after that of its forward one, t travel times, τ queue
clearance times, all in cycles, and m an integer (Little's loop equation on the middles of bands)::

    D[i+1] - Δ[i+1] = D[i] - Δ[i] + t[i] + t̄[i] - τ[i+1] - τ̄[i] - m[i],    |D[i]| ≤ (g[i] + ḡ[i] - b - b̄) / 2

Travel times are linear in the cycle's reciprocal. Where both directions have the same bounds on speed, they get the
same speeds: an optimum that doesn't is no better than its mean with its mirror image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from signals.errors import InfeasiblePlan
from signals.timing.bandwidth_model import Arterial, Bands, BandSignal, Greens, Solver

if TYPE_CHECKING:
    from ortools.linear_solver import pywraplp

GAP = 1e-9
"""Objectives are proven to this, and then computed exactly for the integers found."""
OPTIONS = {
    # cuts cost SCIP ten times what they save on so few integers
    Solver.SCIP: "separating/maxroundsroot = 0\nseparating/maxrounds = 0",
    Solver.HIGHS: f"output_flag=false\nmip_abs_gap={GAP}",
}


def distinct_greens(signal: BandSignal) -> tuple[Greens, ...]:
    """The pairs of greens that differ for the bands: where the reference is free, only their shift counts."""
    kept: dict[tuple[float, ...], Greens] = {}
    for g in signal.greens:
        place = g.begin % 1.0 if signal.reference is not None else 0.0
        kept.setdefault((g.green, g.green_back, round(g.shift, 9), round(place, 9)), g)
    return tuple(kept.values())


def loop_bounds(street: Arterial) -> list[tuple[int, int]]:
    """Least and greatest integer that each loop of two neighbours can close with."""
    bounds = []
    for (a, b), section in zip(pairwise(street.signals), street.sections, strict=True):
        assert section.speed_back_mps is not None
        queues_s = b.queue_s + a.queue_back_s
        ways_s = [
            section.distance_m / section.speed_mps[k]
            + section.distance_m / section.speed_back_mps[k]
            - queues_s
            for k in (1, 0)
        ]
        ways = [ways_s[0] / c for c in street.cycle_s] + [ways_s[1] / c for c in street.cycle_s]
        room = sum(max((g.green + g.green_back) / 2.0 for g in s.greens) for s in (a, b))
        before, after = [g.shift for g in a.greens], [g.shift for g in b.greens]
        least = min(ways) - room - max(before) + min(after)
        most = max(ways) + room - min(before) + max(after)
        bounds.append((math.ceil(least - 1e-9), math.floor(most + 1e-9)))
    return bounds


def maxband(
    street: Arterial,
    *,
    ratio: float = 1.0,
    widen: bool = False,
    solver: Solver = Solver.SCIP,
    time_limit_s: float = 60.0,
) -> Bands:
    """The bands b and b̄, one a direction through all signals, with the greatest b + ratio · b̄.

    `ratio` is what b̄ over b is to be: they are equal where it is 1; b̄ is at least the ratio's share where it is less,
    at most where it is more. With 0 the backward direction gets what is left once the forward
    band is as wide as can be. With `widen` the bands found then take what green there is left beside the ratio, which
    the objective doesn't count.

    Raises
    ------
    InfeasiblePlan
        Where no timing lets anything through both ways, or time is up before one is found.
    """
    if not 0.0 <= ratio < math.inf:
        raise ValueError(f"a ratio of {ratio:g} between the bands: must not be negative")
    return _widest(street, [(1.0, ratio)] * len(street.sections), True, widen, solver, time_limit_s)


def multiband(street: Arterial, *, solver: Solver = Solver.SCIP, time_limit_s: float = 60.0) -> Bands:
    """Bands of a width a section, about one middle line a direction, with the greatest mean of their weighted widths.

    The ratio of the bands of a section is that of its weights, as in `maxband` (Gartner 1991).

    Raises
    ------
    InfeasiblePlan
        As `maxband`.
    """
    weights = [(s.weight, s.weight_back) for s in street.sections]
    return _widest(street, weights, False, False, solver, time_limit_s)


def _widest(
    street: Arterial,
    weights: Sequence[tuple[float, float]],
    one_band: bool,
    widen: bool,
    solver: Solver,
    time_limit_s: float,
) -> Bands:
    program, integers = _search(street, weights, one_band, solver, time_limit_s)
    proven = program.proven
    exact = _exact(street, weights, one_band, integers)
    value = exact.objective
    bound = value if proven else max(program.bound, value)
    if one_band and street.two_way and weights[0][1] == 0.0:
        least = (value - GAP, 0.0)
        program, integers = _search(street, weights, one_band, solver, time_limit_s, least)
        proven = proven and program.proven
        exact = _exact(street, weights, one_band, integers, least)
    if widen:
        least = (exact.mean(exact.ahead) - GAP, exact.mean(exact.back) - GAP)
        exact = _exact(street, weights, one_band, integers, least)
    return exact.bands(value, bound, proven)


def _search(
    street: Arterial,
    weights: Sequence[tuple[float, float]],
    one_band: bool,
    solver: Solver,
    time_limit_s: float,
    least: tuple[float, float] | None = None,
) -> tuple[_Program, list[int]]:
    """The program solved, and its integers; a solver that gives up for reasons of its own is followed by another."""
    for name in dict.fromkeys((solver, Solver.SCIP, Solver.CBC)):
        program = _Program(street, weights, one_band, name.value, least=least)
        integers = program.solve(time_limit_s)
        if integers is not None:
            return program, integers
    names = f"{street.signals[0].name} to {street.signals[-1].name}"
    raise InfeasiblePlan(f"{names}: no bands found within {time_limit_s:g} s; allow more time")


def _exact(
    street: Arterial,
    weights: Sequence[tuple[float, float]],
    one_band: bool,
    integers: Sequence[int],
    least: tuple[float, float] | None = None,
) -> _Program:
    """The best for given integers, free of a search's tolerances."""
    program = _Program(street, weights, one_band, "GLOP", integers, least)
    if program.solve(math.inf) is None:
        raise ArithmeticError("the linear program for the integers found has no solution")
    return program


class _Program:
    """The mixed-integer linear program; with `integers` given, what is left of it is linear.

    With `least`, the means of the forward and backward bands are kept up there, and their sum is made greatest,
    whatever the weights.
    """

    def __init__(
        self,
        street: Arterial,
        weights: Sequence[tuple[float, float]],
        one_band: bool,
        solver: str,
        integers: Sequence[int] | None = None,
        least: tuple[float, float] | None = None,
    ) -> None:
        from ortools.linear_solver import pywraplp

        self.street = street
        self._name = solver
        self.solver: pywraplp.Solver = pywraplp.Solver.CreateSolver(solver)
        self._given = list(integers) if integers is not None else None
        self.integers: list[Any] = []
        low_s, high_s = street.cycle_s
        # cycles in the time of the shortest one: figures near 1 keep solvers exact
        self.frequency = self.solver.NumVar(low_s / high_s, 1.0, "") * (1.0 / low_s)
        self.choices = [
            [self._integer(0, 1) for _ in g] if len(g) > 1 else [1]
            for g in map(distinct_greens, street.signals)
        ]
        for row in self.choices:
            if len(row) > 1:
                self.solver.Add(sum(row) == 1)
        n = len(street.sections)
        self.ahead = self._band_row(n, one_band)
        self.back = self._band_row(n, one_band) if street.two_way else []
        self.times = self._time_row([s.speed_mps for s in street.sections])
        self.times_back: list[Any] = []
        self.deviations: list[Any] = []
        self.loops: list[Any] = []
        self._bound_bands()
        if street.two_way:
            speeds_back = [s.speed_back_mps or s.speed_mps for s in street.sections]
            alike = all(s.speed_mps == s.speed_back_mps for s in street.sections)
            self.times_back = self.times if alike else self._time_row(speeds_back)
            self._close_loops()
        self.places: list[Any] = [0.0] * (n + 1)
        self.phase: Any = 0.0
        if any(s.reference is not None for s in street.signals):
            self._fix_references()
        self._aim(weights, one_band, least)

    def solve(self, time_limit_s: float) -> list[int] | None:
        """Solve, and give the integers of the optimum in the order in which they were made; None where there is none.

        Raises
        ------
        InfeasiblePlan
            Where there can't be any.
        """
        from ortools.linear_solver import pywraplp

        parameters = pywraplp.MPSolverParameters()
        parameters.SetDoubleParam(parameters.RELATIVE_MIP_GAP, GAP)
        if time_limit_s < math.inf:
            self.solver.SetTimeLimit(max(1, int(1000 * time_limit_s)))
        if self._name in OPTIONS:
            self.solver.SetSolverSpecificParametersAsString(OPTIONS[Solver(self._name)])
        status = self.solver.Solve(parameters)
        if status == pywraplp.Solver.INFEASIBLE:
            names = f"{self.street.signals[0].name} to {self.street.signals[-1].name}"
            ways = "both ways" if self.street.two_way else "that way"
            raise InfeasiblePlan(
                f"{names}: no offsets within the bounds on cycle and speeds let anybody through all greens {ways}"
            )
        if status not in (pywraplp.Solver.OPTIMAL, pywraplp.Solver.FEASIBLE):
            return None
        self.proven = status == pywraplp.Solver.OPTIMAL
        self.objective: float = self.solver.Objective().Value()
        self.bound: float = self.objective if self.proven else self.solver.Objective().BestBound()
        return [round(v.solution_value()) for v in self.integers]

    def _integer(self, low: int, high: int) -> Any:
        if self._given is None:
            variable = self.solver.IntVar(low, high, "")
        else:
            value = self._given[len(self.integers)]
            variable = self.solver.NumVar(value, value, "")
        self.integers.append(variable)
        return variable

    def _band_row(self, n: int, one_band: bool) -> list[Any]:
        if one_band:
            return [self.solver.NumVar(0.0, 1.0, "")] * n
        return [self.solver.NumVar(0.0, 1.0, "") for _ in range(n)]

    def _time_row(self, speeds_mps: Sequence[tuple[float, float]]) -> list[Any]:
        """Travel time of each section in cycles, within the bounds on speeds and on their change."""
        times = []
        for section, (low_mps, high_mps) in zip(self.street.sections, speeds_mps, strict=True):
            time = self.solver.NumVar(0.0, self.solver.infinity(), "")
            self.solver.Add(time >= section.distance_m / high_mps * self.frequency)
            self.solver.Add(time <= section.distance_m / low_mps * self.frequency)
            times.append(time)
        for k, (a, b) in enumerate(pairwise(self.street.sections)):
            if a.change_s_per_m < math.inf:
                change = times[k + 1] * (a.distance_m / b.distance_m) - times[k]
                most = a.change_s_per_m * a.distance_m * self.frequency
                self.solver.Add(change <= most)
                self.solver.Add(change >= -1.0 * most)
        return times

    def _beside(self, bands: list[Any], i: int) -> list[Any]:
        """The bands of one direction that a signal has to let through."""
        near = bands[max(i - 1, 0) : i + 1]
        return near[:1] if len(near) == 2 and near[0] is near[1] else near

    def _chosen(self, i: int, figures: Sequence[float]) -> Any:
        """The figure of the pair of greens that is chosen at a signal."""
        return sum(choice * figure for choice, figure in zip(self.choices[i], figures, strict=True))

    def _bound_bands(self) -> None:
        for i, signal in enumerate(self.street.signals):
            greens = distinct_greens(signal)
            for bands, widths in (
                (self.ahead, [g.green for g in greens]),
                (self.back, [g.green_back for g in greens]),
            ):
                for band in self._beside(bands, i) if bands else ():
                    self.solver.Add(band <= self._chosen(i, widths))

    def _close_loops(self) -> None:
        street = self.street
        for i, signal in enumerate(street.signals):
            greens = distinct_greens(signal)
            sums = [g.green + g.green_back for g in greens]
            deviation = self.solver.NumVar(-max(sums) / 2.0, max(sums) / 2.0, "")
            for b in self._beside(self.ahead, i):
                for c in self._beside(self.back, i):
                    room = 0.5 * (self._chosen(i, sums) - b - c)
                    self.solver.Add(deviation <= room)
                    self.solver.Add(deviation >= -1.0 * room)
            self.deviations.append(deviation)
        positions = [
            d - self._chosen(i, [g.shift for g in distinct_greens(s)])
            for i, (d, s) in enumerate(zip(self.deviations, street.signals, strict=True))
        ]
        for i, (least, most) in enumerate(loop_bounds(street)):
            loop = self._integer(least, most)
            queues_s = street.signals[i + 1].queue_s + street.signals[i].queue_back_s
            way = self.times[i] + self.times_back[i] - queues_s * self.frequency
            self.solver.Add(positions[i + 1] == positions[i] + way - loop)
            self.loops.append(loop)

    def _fix_references(self) -> None:
        """Where references are fixed, the forward band has a place of its own in the green, and a phase."""
        self.phase = self.solver.NumVar(0.0, 1.0, "")
        passed: Any = self.phase
        travelled = 0.0
        for i, signal in enumerate(self.street.signals):
            if i:
                section = self.street.sections[i - 1]
                passed = passed + self.times[i - 1] - signal.queue_s * self.frequency
                travelled += section.distance_m / section.speed_mps[0]
            if signal.reference is None:
                continue
            greens = distinct_greens(signal)
            place = self.solver.NumVar(-1.0, 1.0, "")
            for bands, widths, at in (
                (self.ahead, [g.green for g in greens], place),
                (self.back, [g.green_back for g in greens], self.deviations[i] - place if self.back else 0.0),
            ):
                for band in self._beside(bands, i) if bands else ():
                    room = 0.5 * (self._chosen(i, widths) - band)
                    self.solver.Add(at <= room)
                    self.solver.Add(at >= -1.0 * room)
            turns = 4 + math.ceil(travelled / self.street.cycle_s[0])
            middle = signal.reference + self._chosen(i, [g.middle for g in greens])
            self.solver.Add(passed == middle + place + self._integer(-turns, turns))
            self.places[i] = place

    def _aim(
        self,
        weights: Sequence[tuple[float, float]],
        one_band: bool,
        least: tuple[float, float] | None,
    ) -> None:
        """Ratios of the bands, and the weighted mean that is to be greatest."""
        n = len(self.ahead)
        if least is not None:
            means = [sum(b * (1.0 / n) for b in bands) for bands in (self.ahead, self.back) if bands]
            for mean, width in zip(means, least, strict=False):
                self.solver.Add(mean >= width)
            self.solver.Maximize(sum(means))
            return
        pairs = list(zip(self.ahead, self.back, weights, strict=True)) if self.back else []
        for b, c, (ahead, back) in pairs[:1] if one_band else pairs:
            if ahead == back:
                self.solver.Add(c == b)
            elif back < ahead:
                self.solver.Add(c * ahead >= b * back)
            else:
                self.solver.Add(c * ahead <= b * back)
        forward = sum(b * (w / n) for b, (w, _) in zip(self.ahead, weights, strict=True))
        backward = sum(c * (w / n) for _, c, (_, w) in pairs)
        self.solver.Maximize(forward + backward)

    def mean(self, bands: list[Any]) -> float:
        """Mean width of the bands of one direction in the solution, in cycles."""
        return sum(map(_value, bands)) / len(bands) if bands else 0.0

    def bands(self, objective: float, bound: float, proven: bool) -> Bands:
        """The solution in the units of the street."""
        street = self.street
        cycle_s = 1.0 / _value(self.frequency)
        greens = tuple(
            max(zip(row, distinct_greens(s), strict=True), key=lambda pair: _value(pair[0]))[1]
            for row, s in zip(self.choices, street.signals, strict=True)
        )
        ahead, back = [_value(b) for b in self.ahead], [_value(c) for c in self.back]
        times, times_back = [_value(t) for t in self.times], [_value(t) for t in self.times_back]
        middle = _value(self.phase)
        offsets, middles, middles_back = [], [], []
        for i, (signal, g) in enumerate(zip(street.signals, greens, strict=True)):
            if i:
                middle += times[i - 1] - signal.queue_s / cycle_s
            place = _value(self.places[i])
            deviation = _value(self.deviations[i]) if self.back else 0.0
            if signal.reference is None:
                # each direction takes its share of what there is to spare
                spare = g.green - max(self._widths(ahead, i))
                spare_back = g.green_back - max(self._widths(back, i)) if back else 0.0
                place = deviation * spare / (spare + spare_back) if spare + spare_back > 1e-12 else 0.0
            offsets.append(middle - place - g.middle)
            middles.append(middle)
            middles_back.append(middle - deviation + g.shift)
        zero = 0.0 if any(s.reference is not None for s in street.signals) else offsets[0]
        turn = [(x - zero) % 1.0 * cycle_s for x in offsets]
        return Bands(
            objective,
            bound,
            proven,
            cycle_s,
            tuple(ahead),
            tuple(back),
            tuple(s.distance_m / (t * cycle_s) for s, t in zip(street.sections, times, strict=True)),
            tuple(s.distance_m / (t * cycle_s) for s, t in zip(street.sections, times_back, strict=False)),
            tuple(0.0 if cycle_s - o < 1e-9 else o for o in turn),
            tuple((x - zero) % 1.0 * cycle_s for x in middles),
            tuple((x - zero) % 1.0 * cycle_s for x in middles_back) if back else (),
            greens,
            tuple(round(_value(m)) for m in self.loops),
        )

    def _widths(self, bands: list[float], i: int) -> list[float]:
        return bands[max(i - 1, 0) : i + 1]


def _value(variable: Any) -> float:
    return float(variable if isinstance(variable, int | float) else variable.solution_value())
