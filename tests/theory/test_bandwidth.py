"""Widest green bands against published and known cases, and against vehicles that drive through."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from signals.errors import InfeasiblePlan
from signals.timing.bandwidth_model import (
    Arterial,
    Bands,
    BandSignal,
    Greens,
    LeftTurns,
    Section,
    Solver,
    left_turn_greens,
)
from signals.timing.bandwidth_program import maxband, multiband

# Little, Oper. Res. 14 (1966) 568-594, ten signals, as in LINDO's sample TRAFFIC_LIGHTS.
LITTLE_M = (168, 213, 335, 213, 244, 198, 122, 213, 137)
LITTLE_GREENS = (0.53, 0.6, 0.6, 0.53, 0.52, 0.58, 0.6, 0.6, 0.6, 0.58)
LITTLE_SPEEDS_MPS = (13.4, 17.9)


def little(**changes: object) -> Arterial:
    """Little's street; cycles of 55 to 75 s."""
    signals = tuple(BandSignal(f"s{k}", (Greens(g, g),)) for k, g in enumerate(LITTLE_GREENS))
    sections = tuple(Section(float(d), LITTLE_SPEEDS_MPS, LITTLE_SPEEDS_MPS, 0.0121) for d in LITTLE_M)
    return replace(Arterial(signals, sections, (55.0, 75.0)), **changes)  # type: ignore[arg-type]


def random_street(
    n: int, seed: int, *, lefts: bool = False, queues: bool = False, fixed: int = 0
) -> Arterial:
    """Signals with their own greens both ways; the first few with a fixed reference where asked for."""
    generator = np.random.default_rng(seed)
    signals = []
    for k in range(n):
        left, left_back = generator.uniform(0.08, 0.15, 2).tolist()
        cross = float(generator.uniform(0.35, 0.42))
        greens = left_turn_greens(cross + left_back, cross + left, left, left_back)
        queue_s, queue_back_s = generator.uniform(0.0, 4.0, 2).tolist() if queues else (0.0, 0.0)
        reference = float(generator.uniform()) if k < fixed else None
        signals.append(BandSignal(f"s{k}", greens if lefts else greens[3:], queue_s, queue_back_s, reference))
    sections = tuple(
        Section(
            float(generator.uniform(150.0, 600.0)),
            (11.8, 16.0),
            (11.0, 15.0),
            0.006,
            *generator.uniform(0.4, 1.0, 2).tolist(),
        )
        for _ in range(n - 1)
    )
    return Arterial(tuple(signals), sections, (80.0, 80.0) if fixed else (60.0, 120.0))


def shows_green(
    signal: BandSignal, greens: Greens, offset_s: float, cycle_s: float, time_s: float, back: bool
) -> bool:
    """Whether a through movement has green at a time, give or take a microsecond."""
    begin = greens.begin_back if back else greens.begin
    green = greens.green_back if back else greens.green
    phase = ((time_s - offset_s) / cycle_s - begin) % 1.0
    return phase <= green + 1e-7 or phase >= 1.0 - 1e-7


def require_passage(street: Arterial, found: Bands, backward: bool, at: float) -> None:
    """A vehicle that keeps its place in the band meets green at every signal; `at` is -1 at the front, 1 at the end.

    It drives from the first signal to the last at the speeds found and, at each, is ahead by the queue clearance time.
    Where the band's width changes, it is in both bands only if within the narrower one.
    """
    order = list(range(len(street.signals)))
    bands, speeds = (found.bands_back, found.speeds_back_mps) if backward else (found.bands, found.speeds_mps)
    if backward:
        order.reverse()
    narrowest = min(bands)
    middles = found.middles_back_s if backward else found.middles_s
    time_s = middles[order[0]] + at * narrowest / 2.0 * found.cycle_s
    for step, i in enumerate(order):
        if step:
            k = min(i, order[step - 1])
            time_s += street.sections[k].distance_m / speeds[k]
            time_s -= street.signals[i].queue_back_s if backward else street.signals[i].queue_s
        around = (time_s - at * narrowest / 2.0 * found.cycle_s - middles[i]) / found.cycle_s
        assert abs(around - round(around)) < 1e-6
        for own in [b for k, b in enumerate(bands) if k in (i - 1, i)]:
            edge_s = middles[i] + at * own / 2.0 * found.cycle_s
            assert shows_green(
                street.signals[i], found.greens[i], found.offsets_s[i], found.cycle_s, edge_s, backward
            )
        assert shows_green(
            street.signals[i], found.greens[i], found.offsets_s[i], found.cycle_s, time_s, backward
        )


def require_bounds(street: Arterial, found: Bands) -> None:
    """Cycle and speeds are within their bounds, and so are changes of speed."""
    low_s, high_s = street.cycle_s
    assert low_s - 1e-6 <= found.cycle_s <= high_s + 1e-6
    for k, section in enumerate(street.sections):
        assert section.speed_back_mps is not None
        for speeds, (low, high) in (
            (found.speeds_mps, section.speed_mps),
            (found.speeds_back_mps, section.speed_back_mps),
        ):
            assert low - 1e-6 <= speeds[k] <= high + 1e-6
            if k:
                change = abs(1.0 / speeds[k] - 1.0 / speeds[k - 1])
                assert change <= street.sections[k - 1].change_s_per_m + 1e-9


# ------------------------------------------------------------------------------------------ published cases


@pytest.mark.parametrize("solver", Solver)
def test_littles_ten_signals(solver: Solver) -> None:
    found = maxband(little(), solver=solver)
    assert found.proven
    assert found.bands[0] == pytest.approx(0.281414, abs=1e-6)
    assert found.bands_back[0] == pytest.approx(0.281414, abs=1e-6)
    assert found.objective == pytest.approx(0.562827, abs=1e-6)
    assert found.cycle_s == pytest.approx(57.9322, abs=1e-4)
    assert found.loops == (1, 0, 1, 0, 1, 0, 0, 1, 0)


@pytest.mark.parametrize(
    ("cycle_s", "speed_mps", "band"),
    [(65.0, 15.24, 0.23459), (57.932, 17.9, 0.18617), (65.0, 17.9, 0.22655), (65.0, 13.4, 0.18038)],
)
def test_littles_signals_at_one_cycle_and_speed_are_the_half_integer_answer(
    cycle_s: float, speed_mps: float, band: float
) -> None:
    """Morgan and Little (1964): each signal is in step with the first or half a cycle apart; all 512 ways are tried."""
    speeds = (speed_mps, speed_mps)
    sections = tuple(Section(float(d), speeds, speeds) for d in LITTLE_M)
    found = maxband(little(sections=sections, cycle_s=(cycle_s, cycle_s)))
    assert found.bands[0] == pytest.approx(band, abs=1e-5)
    times = np.concatenate(([0.0], np.cumsum(LITTLE_M))) / speed_mps / cycle_s
    greens = np.array(LITTLE_GREENS)
    best = 0.0
    for way in range(2 ** (len(greens) - 1)):
        half = np.array([0, *((way >> k) & 1 for k in range(len(greens) - 1))]) / 2.0
        for reference in range(len(greens)):
            # middles of green seen from a vehicle whose time at the reference is 0, nearest to it
            seen = (half - times - (half - times)[reference] + 0.5) % 1.0 - 0.5
            best = max(best, np.min(seen + greens / 2.0) - np.max(seen - greens / 2.0))
    assert found.bands[0] == pytest.approx(best, abs=1e-6)


def test_a_one_way_street_has_the_shortest_green_as_its_band() -> None:
    sections = tuple(replace(s, speed_back_mps=None) for s in little().sections)
    found = maxband(little(sections=sections))
    assert found.objective == pytest.approx(min(LITTLE_GREENS))
    assert found.bands_back == () == found.middles_back_s
    require_passage(little(), found, False, -1.0)
    require_passage(little(), found, False, 1.0)


def test_a_ratio_of_0_gives_the_other_direction_what_is_left() -> None:
    found = maxband(little(), ratio=0.0)
    assert found.bands[0] == pytest.approx(min(LITTLE_GREENS))
    assert 0.0 < found.bands_back[0] < maxband(little()).bands_back[0]
    for backward in (False, True):
        require_passage(little(), found, backward, 1.0)


@pytest.mark.parametrize("green", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("halves", [1, 2, 3])
def test_equal_signals_half_a_cycle_apart_have_the_full_green_both_ways(green: float, halves: int) -> None:
    cycle_s, speed_mps = 80.0, 12.5
    signals = tuple(BandSignal(f"s{k}", (Greens(green, green),)) for k in range(6))
    section = Section(halves * cycle_s / 2.0 * speed_mps, (speed_mps, speed_mps), (speed_mps, speed_mps))
    found = maxband(Arterial(signals, (section,) * 5, (cycle_s, cycle_s)))
    assert found.bands[0] == pytest.approx(green)
    assert found.bands_back[0] == pytest.approx(green)
    # single alternate: every other signal half a cycle later; simultaneous where the way takes a whole one
    expected = [(k * halves % 2) * cycle_s / 2.0 for k in range(6)]
    assert np.allclose((np.array(found.offsets_s) - expected + 1.0) % cycle_s, 1.0)


def test_a_quarter_of_a_cycle_apart_half_of_what_green_exceeds_it_is_lost() -> None:
    """Two signals T/4 apart: t + t̄ is T/2, so what b + b̄ lack of both greens together is the least |D| twice."""
    signals = (BandSignal("a", (Greens(0.5, 0.5),)), BandSignal("b", (Greens(0.5, 0.5),)))
    found = maxband(Arterial(signals, (Section(250.0, (12.5, 12.5), (12.5, 12.5)),), (80.0, 80.0)))
    assert found.bands[0] == pytest.approx(0.25)


def test_queue_clearance_costs_what_it_shifts() -> None:
    """Where the way takes half a cycle to the second, queues of 4 s either way leave less by their mean."""
    signals = tuple(BandSignal(n, (Greens(0.5, 0.5),), 4.0, 4.0) for n in "ab")
    section = Section(500.0, (12.5, 12.5), (12.5, 12.5))
    found = maxband(Arterial(signals, (section,), (80.0, 80.0)))
    # t + t̄ - τ - τ̄ is 8 s short of a cycle; |D| of 4 s at each signal takes 4 s of each band
    assert found.bands[0] * 80.0 == pytest.approx(40.0 - 4.0)
    # a way that is longer by the queue makes up for it
    longer = Section(550.0, (12.5, 12.5), (12.5, 12.5))
    assert maxband(Arterial(signals, (longer,), (80.0, 80.0))).bands[0] == pytest.approx(0.5)


# ------------------------------------------------------------------------------------------ random streets


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "kind",
    [{}, {"lefts": True}, {"queues": True}, {"fixed": 3, "lefts": True}],
    ids=["plain", "lefts", "queues", "fixed"],
)
def test_solvers_agree_and_vehicles_pass(kind: dict[str, int], seed: int) -> None:
    street = random_street(7, seed, **kind)  # type: ignore[arg-type]
    found = [maxband(street, solver=s) for s in (Solver.SCIP, Solver.CBC)]
    assert all(f.proven for f in found)
    assert found[0].objective == pytest.approx(found[1].objective, abs=1e-6)
    for f in found:
        require_bounds(street, f)
        for backward in (False, True):
            for at in (-1.0, 0.0, 1.0):
                require_passage(street, f, backward, at)
        for signal, offset_s in zip(street.signals, f.offsets_s):
            if signal.reference is not None:
                assert offset_s == pytest.approx(signal.reference * 80.0, abs=1e-6)
    if "fixed" not in kind:
        assert found[0].offsets_s[0] == 0.0


@pytest.mark.parametrize("seed", range(3))
def test_multiband_agrees_passes_and_is_no_worse_than_maxband(seed: int) -> None:
    street = random_street(7, seed, lefts=True)
    found = [multiband(street, solver=s) for s in (Solver.SCIP, Solver.CBC)]
    assert found[0].objective == pytest.approx(found[1].objective, abs=1e-6)
    for backward in (False, True):
        for at in (-1.0, 1.0):
            require_passage(street, found[0], backward, at)
    weights = [(s.weight, s.weight_back) for s in street.sections]
    mean = sum(a * b + c * d for (a, c), b, d in zip(weights, found[0].bands, found[0].bands_back)) / len(
        weights
    )
    assert found[0].objective == pytest.approx(mean)
    for (ahead, back), b, c in zip(weights, found[0].bands, found[0].bands_back):
        assert c * ahead >= b * back - 1e-6 if back < ahead else c * ahead <= b * back + 1e-6
    alike = replace(street, sections=tuple(replace(s, weight=1.0, weight_back=1.0) for s in street.sections))
    one = maxband(alike).objective
    several = multiband(alike).objective
    assert several >= one - 1e-9
    assert several > one + 0.01


@pytest.mark.parametrize("ratio", [0.4, 0.8, 1.25, 2.5])
def test_bands_keep_the_ratio_asked_for(ratio: float) -> None:
    street = random_street(6, 5)
    found = maxband(street, ratio=ratio)
    b, c = found.bands[0], found.bands_back[0]
    assert c >= ratio * b - 1e-9 if ratio < 1.0 else c <= ratio * b + 1e-9
    assert found.objective == pytest.approx(b + ratio * c)
    widened = maxband(street, ratio=ratio, widen=True)
    assert widened.objective == pytest.approx(found.objective)
    assert widened.bands[0] >= b - 1e-6
    assert widened.bands_back[0] >= c - 1e-6


def test_freedom_never_narrows_a_band() -> None:
    for seed in range(3):
        street = random_street(6, seed, lefts=True)
        one_order = replace(street, signals=tuple(replace(s, greens=s.greens[:1]) for s in street.signals))
        one_cycle = replace(street, cycle_s=(90.0, 90.0))
        free = maxband(street).objective
        assert free >= maxband(one_order).objective - 1e-9
        assert free >= maxband(one_cycle).objective - 1e-9


# --------------------------------------------------------------------------------- what can't be, and nonsense


def test_two_short_greens_at_odd_distances_let_nobody_through_both_ways() -> None:
    signals = (BandSignal("a", (Greens(0.1, 0.1),)), BandSignal("b", (Greens(0.1, 0.1),)))
    street = Arterial(signals, (Section(250.0, (12.5, 12.5), (12.5, 12.5)),), (80.0, 80.0))
    with pytest.raises(
        InfeasiblePlan, match=r"a to b: no offsets .* let anybody through all greens both ways"
    ):
        maxband(street)


def test_without_time_nothing_is_called_proven() -> None:
    with suppress(InfeasiblePlan):
        found = multiband(random_street(40, 1, lefts=True), time_limit_s=0.001)
        assert not found.proven
        assert found.bound > found.objective


def test_left_turns_lead_and_lag_in_the_opposing_red() -> None:
    found = {LeftTurns(g.name): g for g in left_turn_greens(0.5, 0.55, 0.15, 0.1)}
    assert {(g.green, round(g.green_back, 9)) for g in found.values()} == {(0.5, 0.45)}
    begins = {order: (g.begin, g.begin_back) for order, g in found.items()}
    assert begins == {
        LeftTurns.FORWARD_LEADS: (0.0, 0.15),
        LeftTurns.BACKWARD_LEADS: (0.1, 0.0),
        LeftTurns.BOTH_LEAD: (0.1, 0.15),
        LeftTurns.BOTH_LAG: (0.0, 0.0),
    }
    # Little's middles: half of (l + l̄) apart where one leads and the other lags, half of (l - l̄) where both do the same
    shifts = {order: g.shift for order, g in found.items()}
    assert shifts[LeftTurns.FORWARD_LEADS] == pytest.approx(0.125)
    assert shifts[LeftTurns.BACKWARD_LEADS] == pytest.approx(-0.125)
    assert shifts[LeftTurns.BOTH_LEAD] == pytest.approx(0.025)
    assert shifts[LeftTurns.BOTH_LAG] == pytest.approx(-0.025)


def test_nonsense_is_refused() -> None:
    greens = (Greens(0.5, 0.5),)
    section = Section(300.0, (10.0, 15.0), None)
    with pytest.raises(ValueError, match=r"leave 0\.4 and 0\.3 to the cross street"):
        left_turn_greens(0.5, 0.5, 0.2, 0.1)
    with pytest.raises(ValueError, match="no order"):
        left_turn_greens(0.5, 0.5, 0.1, 0.1, ())
    with pytest.raises(ValueError, match=r"a green of 1\.2 cycles"):
        Greens(1.2, 0.5)
    with pytest.raises(ValueError, match="has no green"):
        BandSignal("a", ())
    with pytest.raises(ValueError, match="queue clearance"):
        BandSignal("a", greens, queue_s=-1.0)
    with pytest.raises(ValueError, match="a section of 0 m"):
        Section(0.0, (10.0, 15.0), None)
    with pytest.raises(ValueError, match="speeds from 15 to 10 m/s"):
        Section(100.0, (15.0, 10.0), None)
    with pytest.raises(ValueError, match="weights must not be negative"):
        Section(100.0, (10.0, 15.0), None, weight=-1.0)
    with pytest.raises(ValueError, match="cycles from 90 to 60 s"):
        Arterial((BandSignal("a", greens),) * 2, (section,), (90.0, 60.0))
    with pytest.raises(ValueError, match="3 signals and 1 sections"):
        Arterial((BandSignal("a", greens),) * 3, (section,), (60.0, 90.0))
    with pytest.raises(ValueError, match="only where the cycle is"):
        Arterial((BandSignal("a", greens, reference=0.1),) * 2, (section,), (60.0, 90.0))
    with pytest.raises(ValueError, match="ratio of -1"):
        maxband(little(), ratio=-1.0)
    with pytest.raises(ValueError, match="ratio of inf"):
        maxband(little(), ratio=math.inf)
