"""Offsets that open the widest green bands along corridors, all else of their programs kept.

`signals.timing.corridors` finds corridors and measures bands; `signals.timing.bandwidth_program` proves how wide they
can be. Here programs become the model's greens, and its offsets become whole seconds of theirs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from signals.errors import InfeasiblePlan
from signals.model.network import Corridor, Network, Turn
from signals.model.phasing import GREEN, SignalProgram
from signals.timing.bandwidth_model import Arterial, Bands, BandSignal, Greens, Section, Solver
from signals.timing.bandwidth_program import maxband
from signals.timing.corridors import band_s

LEAST_BAND_S = 2.0
"""A vehicle's headway: through a narrower band nobody drives."""
ROUNDING_STEPS = 10
"""Where all offsets are free, they are rounded to whole seconds from so many starts, and the best is kept."""
MOST_SPANS = 3
"""The longest greens of a direction within a cycle that a band may go through."""


@dataclass(frozen=True, slots=True)
class CorridorBands:
    """What offsets were found for a corridor, and the bands before and after, forward and backward, s.

    `offsets_s` are whole seconds, of the signals that were free. `model_s` is what the model promises, `after_s`
    is measured on the programs with these offsets at the design speeds, so it holds what rounding costs.
    `forward` and `backward` say which directions were looked at. Where `kept` is set, the offsets in place open
    bands as good and stay. `found` is the model's own answer, None where there is none; then `reason` says why.
    """

    corridor: Corridor
    cycle_s: float
    offsets_s: Mapping[str, float]
    before_s: tuple[float, float]
    model_s: tuple[float, float]
    after_s: tuple[float, float]
    forward: bool = False
    backward: bool = False
    kept: bool = True
    found: Bands | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class LeftTurnGain:
    """Bands that other orders of the left turns would allow, s, and (order now, better order) of signals to change."""

    model_s: tuple[float, float]
    orders: Mapping[str, tuple[str, str]]


def coordinate(
    corridors: Sequence[Corridor],
    programs: Mapping[str, SignalProgram],
    flows_vph: Mapping[str, Mapping[str, float]],
    *,
    ratio: float = 1.0,
    speed_tolerance: float = 0.0,
    solver: Solver = Solver.SCIP,
) -> tuple[CorridorBands, ...]:
    """The widest bands of corridors in their order: a signal that one has set is fixed for those after it.

    Bands before are those of the programs given, bands after those with all offsets set.
    """
    now = dict(programs)
    done: set[str] = set()
    answers = []
    for corridor in corridors:
        answer = widest_bands(
            corridor,
            now,
            fixed=done,
            flows_vph=flows_vph,
            ratio=ratio,
            speed_tolerance=speed_tolerance,
            solver=solver,
        )
        answers.append(answer)
        if answer.found is not None:
            now |= moved(now, answer.offsets_s)
            done |= set(corridor.signals)
    measured = [(a, at_speeds(a)) for a in answers]
    return tuple(replace(a, before_s=band_s(c, programs), after_s=band_s(c, now)) for a, c in measured)


def widest_bands(
    corridor: Corridor,
    programs: Mapping[str, SignalProgram],
    *,
    fixed: Collection[str] = (),
    flows_vph: Mapping[str, Mapping[str, float]] | None = None,
    ratio: float = 1.0,
    speed_tolerance: float = 0.0,
    solver: Solver = Solver.SCIP,
) -> CorridorBands:
    """Offsets of a corridor's signals that open the widest bands both ways, cycle and splits kept.

    `ratio` is what the backward band over the forward one is to be, as in `maxband`. Where both ways together leave
    less than LEAST_BAND_S to either, the direction with more traffic has the corridor to itself. Speeds are free
    flow's, or within `speed_tolerance` of it. Signals in `fixed` keep their offset.
    """
    cycle_s = max((programs[s].cycle_s for s in corridor.signals if s in programs), default=0.0)
    before_s = band_s(corridor, programs)
    nothing = CorridorBands(corridor, cycle_s, {}, before_s, before_s, before_s)
    ways = [backward for backward in (False, True) if _is_driven(corridor, programs, backward)]

    def solve(which: Sequence[bool]) -> Bands:
        street = _arterial(corridor, programs, which, fixed, speed_tolerance)
        return maxband(street, ratio=ratio, widen=True, solver=solver)

    try:
        _require_common_cycle(corridor, programs, cycle_s)
        if not ways:
            raise InfeasiblePlan(f"{corridor.name}: no direction that gets green at every signal")
        if set(corridor.signals) <= set(fixed):
            raise InfeasiblePlan(f"{corridor.name}: all its signals are fixed")
        busier = max(ways, key=lambda w: (_flow_vph(corridor, flows_vph or {}, w), not w))
        which, found = ways, None
        if len(ways) == 2:
            with suppress(InfeasiblePlan):
                found = solve(ways)
        if found is None or min(found.band_s if ratio > 0.0 else found.band_s[:1]) < LEAST_BAND_S:
            which, found = [busier], solve([busier])
    except InfeasiblePlan as reason:
        set_before = [s for s in corridor.signals if s in fixed]
        note = f" ({', '.join(set_before)} fixed)" if 0 < len(set_before) < len(corridor.signals) else ""
        return replace(nothing, reason=f"{reason}{note}")
    return _answer(nothing, programs, which, found, fixed, ratio)


def moved(programs: Mapping[str, SignalProgram], offsets_s: Mapping[str, float]) -> dict[str, SignalProgram]:
    """Programs with other offsets, for the signals that have one given."""
    return {s: replace(programs[s], offset_s=o) for s, o in offsets_s.items()}


def at_speeds(answer: CorridorBands) -> Corridor:
    """The corridor with the speeds that its bands are made for."""
    if answer.found is None:
        return answer.corridor
    speeds: dict[bool, tuple[float, ...]] = {}
    if answer.forward and answer.backward:
        speeds = {False: answer.found.speeds_mps, True: answer.found.speeds_back_mps}
    elif answer.forward:
        speeds = {False: answer.found.speeds_mps}
    else:
        speeds = {True: answer.found.speeds_mps[::-1]}
    return replace(
        answer.corridor,
        forward_mps=speeds.get(False, answer.corridor.forward_mps),
        backward_mps=speeds.get(True, answer.corridor.backward_mps),
    )


def left_turn_gain(
    network: Network,
    programs: Mapping[str, SignalProgram],
    answer: CorridorBands,
    *,
    ratio: float = 1.0,
    speed_tolerance: float = 0.0,
    solver: Solver = Solver.SCIP,
) -> LeftTurnGain | None:
    """What other orders of the left turns along a corridor would be worth, all its signals free; None if nothing.

    Orders are changed at no more signals than each alone needs to be.
    """
    corridor = answer.corridor
    if answer.found is None or not all(_is_driven(corridor, programs, w) for w in (False, True)):
        return None
    street = _arterial(corridor, programs, (False, True), (), speed_tolerance)
    choices = [_orders(network, corridor, programs, k) or s.greens for k, s in enumerate(street.signals)]

    def solve() -> Bands:
        signals = [replace(s, greens=g) for s, g in zip(street.signals, choices, strict=True)]
        return maxband(replace(street, signals=tuple(signals)), ratio=ratio, widen=True, solver=solver)

    try:
        best = solve()
        for k, options in enumerate(choices):
            if len(options) > 1 and best.greens[k] != options[0] and options[0].name:
                choices[k] = options[:1]
                with suppress(InfeasiblePlan):
                    trial = solve()
                    if trial.objective >= best.objective - 1e-6:
                        best = trial
                        continue
                choices[k] = options
    except InfeasiblePlan:
        return None
    gained = not (answer.forward and answer.backward) or best.objective > answer.found.objective + 1e-6
    orders = {
        signal: (options[0].name, chosen.name)
        for signal, options, chosen in zip(corridor.signals, choices, best.greens, strict=True)
        if chosen.name != options[0].name
    }
    if not gained or not orders or min(best.band_s) < LEAST_BAND_S:
        return None
    return LeftTurnGain(best.band_s, orders)


# --------------------------------------------------------------------------------------------- to the model


def _require_common_cycle(corridor: Corridor, programs: Mapping[str, SignalProgram], cycle_s: float) -> None:
    for signal in corridor.signals:
        if signal not in programs:
            raise InfeasiblePlan(f"{corridor.name}: signal {signal} has no program")
        own_s = programs[signal].cycle_s
        if own_s <= 0.0 or min(abs(own_s - cycle_s), abs(2.0 * own_s - cycle_s)) > 1e-6:
            raise InfeasiblePlan(
                f"{corridor.name}: signal {signal} has a cycle of {own_s:g} s, others {cycle_s:g} s; "
                "bands need one cycle, or half of it"
            )


def _is_driven(corridor: Corridor, programs: Mapping[str, SignalProgram], backward: bool) -> bool:
    links = corridor.backward_links if backward else corridor.forward_links
    speeds_mps = corridor.backward_mps if backward else corridor.forward_mps
    return all(speeds_mps) and all(
        s in programs and _spans(programs[s], own, programs[s].cycle_s)
        for s, own in zip(corridor.signals, links, strict=True)
    )


def _flow_vph(corridor: Corridor, flows_vph: Mapping[str, Mapping[str, float]], backward: bool) -> float:
    """Flow along the corridor in one direction, summed over its signals."""
    movements = corridor.backward if backward else corridor.forward
    return sum(
        flows_vph.get(s, {}).get(m or "", 0.0) for s, m in zip(corridor.signals, movements, strict=True)
    )


def _arterial(
    corridor: Corridor,
    programs: Mapping[str, SignalProgram],
    which: Sequence[bool],
    fixed: Collection[str],
    tolerance: float,
) -> Arterial:
    """The model's street; its forward direction is the first of those looked at, backward being True."""
    links = {False: corridor.forward_links, True: corridor.backward_links}
    speeds_mps = {False: corridor.forward_mps, True: corridor.backward_mps}
    cycle_s = max(programs[s].cycle_s for s in corridor.signals)
    signals = []
    for k, name in enumerate(corridor.signals):
        spans = [_spans(programs[name], links[w][k], cycle_s) for w in which]
        reference = programs[name].offset_s / cycle_s if name in fixed else None
        signals.append(BandSignal(name, tuple(_greens(spans, cycle_s)), reference=reference))

    def bounds(w: bool, k: int) -> tuple[float, float]:
        mps = speeds_mps[w][k]
        assert mps is not None
        return mps * (1.0 - tolerance), mps * (1.0 + tolerance)

    sections = [
        Section(abs(b - a), bounds(which[0], k), bounds(which[1], k) if len(which) == 2 else None)
        for k, (a, b) in enumerate(itertools.pairwise(corridor.distance_m))
    ]
    turn = -1 if which[0] else 1
    return Arterial(tuple(signals[::turn]), tuple(sections[::turn]), (cycle_s, cycle_s))


def _spans(
    program: SignalProgram, links: Sequence[int], cycle_s: float, letters: Collection[str] = GREEN
) -> list[tuple[float, float]]:
    """When any of the links turns green after the program's start, and for how long, s; twice in half the cycle."""
    shown = [any(k < len(i.state) and i.state[k] in letters for k in links) for i in program.intervals]
    if all(shown):
        return [(0.0, 2.0 * cycle_s)]
    ends_s = list(itertools.accumulate(i.duration_s for i in program.intervals))
    n = len(shown)
    once = []
    for first in range(n):
        if not shown[first] or shown[first - 1]:
            continue
        length_s = sum(
            program.intervals[k % n].duration_s
            for k in itertools.takewhile(lambda k: shown[k % n], range(first, first + n))
        )
        once.append((ends_s[first - 1] if first else 0.0, length_s))
    once = sorted(once, key=lambda span: -span[1])[:MOST_SPANS]
    repeats = round(cycle_s / program.cycle_s)
    return [
        (begin + r * program.cycle_s, length)
        for r in range(repeats)
        for begin, length in once
        if length > 0.0
    ]


def _greens(spans: Sequence[list[tuple[float, float]]], cycle_s: float) -> Iterator[Greens]:
    """Each pair of a forward and a backward green that bands may go through."""
    back = spans[1] if len(spans) == 2 else [(0.0, 0.0)]
    for (begin_s, length_s), (back_begin_s, back_length_s) in itertools.product(spans[0], back):
        yield Greens(length_s / cycle_s, back_length_s / cycle_s, begin_s / cycle_s, back_begin_s / cycle_s)


def _orders(
    network: Network, corridor: Corridor, programs: Mapping[str, SignalProgram], k: int
) -> tuple[Greens, ...]:
    """The greens at a signal with each order of protected left turns, the present one first; () where there is none.

    A through green and the opposing left turn share the time between two cross streets: either may come first.
    """
    program = programs[corridor.signals[k]]
    cycle_s = max(programs[s].cycle_s for s in corridor.signals)
    own = {m.id: m for m in network.intersections[program.intersection].movements}
    throughs, lefts = [], []
    for movement, links in (
        (corridor.forward[k], corridor.forward_links[k]),
        (corridor.backward[k], corridor.backward_links[k]),
    ):
        through = own.get(movement or "")
        if through is None or through.turn is not Turn.THROUGH:
            return ()
        turning = [m.links for m in own.values() if m.approach == through.approach and m.turn is Turn.LEFT]
        throughs.append(_spans(program, links, cycle_s))
        lefts.append(_spans(program, list(itertools.chain(*turning)), cycle_s, "G"))
    if any(len(spans) != 1 for spans in throughs) or any(len(spans) > 1 for spans in lefts):
        return ()
    zero_s = throughs[0][0][0]

    def around(span: tuple[float, float]) -> tuple[float, float]:
        begin_s = (span[0] - zero_s + cycle_s / 2.0) % cycle_s - cycle_s / 2.0
        return begin_s, begin_s + span[1]

    ahead, back = (around(spans[0]) for spans in throughs)
    left, left_back = (around(spans[0]) if spans else None for spans in lefts)
    group = [span for span in (ahead, back, left, left_back) if span]
    first_s, last_s = min(span[0] for span in group), max(span[1] for span in group)
    if last_s - first_s >= cycle_s:
        return ()
    places: list[list[tuple[str, float]]] = []
    for way, through_s, opposing in (("backward", ahead, left_back), ("forward", back, left)):
        leads = (f"{way} leads", last_s - (through_s[1] - through_s[0]))
        lags = (f"{way} lags", first_s)
        if opposing is None:
            places.append([("", through_s[0])])
        elif opposing[1] <= through_s[0]:
            places.append([(leads[0], through_s[0]), lags])
        elif opposing[0] >= through_s[1]:
            places.append([(lags[0], through_s[0]), leads])
        else:
            return ()
    return tuple(
        Greens(
            (ahead[1] - ahead[0]) / cycle_s,
            (back[1] - back[0]) / cycle_s,
            (zero_s + begin_s) / cycle_s,
            (zero_s + back_begin_s) / cycle_s,
            ", ".join(filter(None, (name, back_name))),
        )
        for (back_name, begin_s), (name, back_begin_s) in itertools.product(*places)
    )


# ------------------------------------------------------------------------------------------- from the model


def _answer(
    nothing: CorridorBands,
    programs: Mapping[str, SignalProgram],
    which: Sequence[bool],
    found: Bands,
    fixed: Collection[str],
    ratio: float,
) -> CorridorBands:
    """The model's answer with its offsets as whole seconds, or those in place where they are as good."""
    corridor = nothing.corridor
    ahead_s, back_s = found.band_s
    both = len(which) == 2
    model_s = (ahead_s, back_s) if both else (0.0, ahead_s) if which[0] else (ahead_s, 0.0)
    answer = replace(nothing, model_s=model_s, found=found, forward=not which[0], backward=both or which[0])
    driven = at_speeds(answer)

    def worth(offsets_s: Mapping[str, float]) -> tuple[float, float]:
        wide_s = band_s(driven, {**programs, **moved(programs, offsets_s)})
        value = _kept_s(*wide_s, ratio) if both else wide_s[1] if which[0] else wide_s[0]
        return round(value, 6), round(sum(wide_s), 6)

    signals = corridor.signals[::-1] if which[0] else corridor.signals
    exact_s = dict(zip(signals, found.offsets_s, strict=True))
    offsets_s = _whole_seconds(
        {s: o for s, o in exact_s.items() if s not in fixed}, programs, worth, not fixed
    )
    kept = worth(offsets_s) <= worth({})
    offsets_s = {s: programs[s].offset_s % programs[s].cycle_s for s in offsets_s} if kept else offsets_s
    after_s = band_s(driven, {**programs, **moved(programs, offsets_s)})
    return replace(answer, offsets_s=offsets_s, before_s=band_s(driven, programs), after_s=after_s, kept=kept)


def _kept_s(ahead_s: float, back_s: float, ratio: float) -> float:
    """What the model counts of two bands: the widest within them that have the ratio, weighed by it."""
    if ratio == 1.0:
        return 2.0 * min(ahead_s, back_s)
    if ratio < 1.0:
        return (min(ahead_s, back_s / ratio) if ratio > 0.0 else ahead_s) + ratio * back_s
    return ahead_s + ratio * min(back_s, ratio * ahead_s)


def _whole_seconds(
    exact_s: Mapping[str, float],
    programs: Mapping[str, SignalProgram],
    worth: Callable[[Mapping[str, float]], tuple[float, float]],
    all_free: bool,
) -> dict[str, float]:
    """Offsets in whole seconds that are worth most: the best of several roundings, made better by single seconds."""

    def whole(later_s: float) -> dict[str, float]:
        return {s: float(round(o + later_s)) % programs[s].cycle_s for s, o in exact_s.items()}

    starts = [whole(k / ROUNDING_STEPS) for k in range(ROUNDING_STEPS if all_free else 1)]
    best = max(starts, key=worth)
    for signal in best:
        for step_s in (-1.0, 1.0):
            trial = {**best, signal: (best[signal] + step_s) % programs[signal].cycle_s}
            best = trial if worth(trial) > worth(best) else best
    return best
