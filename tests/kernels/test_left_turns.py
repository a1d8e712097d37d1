"""Splits with protected-permitted left turns: what trying every plan finds, second by second and cycle by cycle."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from kernels import left_turns
from kernels._jit import JIT_ENABLED, plain
from kernels.delay import incremental_delay_s, movement_delay, permitted_left_saturation_vph
from kernels.left_turn_delay import DualRing, left_turn_row, opposing_queue_s
from kernels.left_turns import permitted_splits
from kernels.queue_polygon import queue_polygon, queue_service_s
from signals.timing.measures import permitted_green

LEFTS = (1, 3, 5, 7)
OWN_THROUGH = {1: 6, 5: 2, 3: 8, 7: 4}
STREETS = ((1, 2, 5, 6), (3, 4, 7, 8))


class Signal:
    """A dual ring by phase number, in plain words: what the kernel's arrays mean."""

    def __init__(self, ring: DualRing) -> None:
        self.ring = ring

    def of(self, array: np.ndarray, phase: int) -> Any:
        return array[phase - 1].item()

    def change_s(self, phase: int) -> int:
        present = self.of(self.ring.most, phase) > 0
        return int(self.of(self.ring.clearance_s, phase)) if present else 0

    def effective_s(self, green_s: int, cycle_s: int) -> float:
        if green_s == 0:
            return 0.0
        return min(max(green_s - self.ring.startup_s + self.ring.extension_s, 0.0), float(cycle_s))

    def through_delay(self, phase: int, green_s: int, cycle_s: int) -> float:
        flow = self.of(self.ring.flow_vps, phase)
        if flow == 0.0:
            return 0.0
        saturation = self.of(self.ring.saturation_vps, phase)
        effective = self.effective_s(green_s, cycle_s)
        return float(flow * movement_delay(effective, float(cycle_s), flow, saturation, self.ring.period_h))

    def permitted_s(self, left: int, green: dict[int, int], length_s: int, cycle_s: int) -> tuple[float, ...]:
        """Beginning of the unblocked green and end of the permitted, after the barrier; 0 and 0 if never shown."""
        own, against = OWN_THROUGH[left], left + 1
        if green[own] == 0 or green[against] == 0:
            return 0.0, 0.0
        own_start = green[own - 1] + self.change_s(own - 1)
        against_start = green[left] + self.change_s(left)
        end = length_s - max(self.change_s(own), self.change_s(against))
        start = max(own_start, against_start)
        if end <= start:
            return 0.0, 0.0
        startup, extension = self.ring.startup_s, self.ring.extension_s
        lost = startup
        if green[left] > 0:
            lost = min(startup, max(0.0, own_start - green[left] - extension + startup))
        effective = self.effective_s(green[against], cycle_s)
        queue_s = queue_service_s(
            self.of(self.ring.flow_vps, against),
            self.of(self.ring.saturation_vps, against),
            effective / cycle_s,
            effective,
            float(cycle_s),
        )
        clear = against_start + (startup + queue_s if queue_s > 0.0 else 0.0)
        if clear >= end:
            return end + extension, end + extension
        begin = max(start + lost, clear)
        if green[left] > 0:
            begin = max(begin, green[left] + extension)  # not while the arrow's own traffic still goes
        return min(begin, end + extension), end + extension

    def left_delay(self, left: int, green: dict[int, int], length_s: int, cycle_s: int) -> float:
        """Delay through the general queue polygon [veh-s per s]."""
        flow = self.of(self.ring.flow_vps, left)
        if flow == 0.0:
            return 0.0
        protected_s = self.effective_s(green[left], cycle_s)
        arrow_end = green[left] + self.ring.extension_s if green[left] > 0 else 0.0
        begin, end = self.permitted_s(left, green, length_s, cycle_s)
        unblocked_s = end - begin
        waiting_s = begin - arrow_end if end > 0.0 else 0.0
        sneakers = self.of(self.ring.sneakers_veh, left) if end > 0.0 else 0.0
        saturation, permitted = (
            self.of(self.ring.saturation_vps, left),
            self.of(self.ring.permitted_vps, left),
        )
        served = saturation * protected_s + permitted * unblocked_s + sneakers
        if served == 0.0:
            return math.inf
        capacity_vps = served / cycle_s
        x = flow / capacity_vps
        polygon = queue_polygon(
            np.array([protected_s, waiting_s, unblocked_s, cycle_s - protected_s - waiting_s - unblocked_s]),
            np.array([saturation, 0.0, permitted, 0.0]),
            np.array([0.0, 0.0, sneakers, 0.0]),
            min(flow, capacity_vps),
            9.0,
        )
        uniform = polygon.delay_veh_s / (min(flow, capacity_vps) * cycle_s)
        return float(
            flow * (uniform + incremental_delay_s(x, 3600.0 * capacity_vps, self.ring.period_h, 0.5, 1.0))
        )

    def ring_choices(self, left: int, length_s: int) -> Iterator[dict[int, int]]:
        """Greens of a left turn and the through after it that fill the length."""
        through = left + 1
        if self.of(self.ring.most, left) == 0 and self.of(self.ring.most, through) == 0:
            yield {left: 0, through: 0}
            return
        free_s = length_s - self.change_s(left) - self.change_s(through)
        for green_s in range(self.of(self.ring.least, left), self.of(self.ring.most, left) + 1):
            if self.of(self.ring.least, through) <= free_s - green_s <= self.of(self.ring.most, through):
                yield {left: green_s, through: free_s - green_s}

    def street_best(self, street: tuple[int, ...], length_s: int, cycle_s: int) -> float:
        """Try every pair of greens of the two left turns."""
        best = math.inf
        served = any(self.of(self.ring.most, phase) > 0 for phase in street)
        if not served and length_s > 0:
            return best
        for a, b in itertools.product(
            self.ring_choices(street[0], length_s), self.ring_choices(street[2], length_s)
        ):
            best = min(best, self.street_delay({**a, **b}, length_s, cycle_s))
        return best

    def street_delay(self, green: dict[int, int], length_s: int, cycle_s: int) -> float:
        return sum(
            self.left_delay(phase, green, length_s, cycle_s)
            if phase in LEFTS
            else self.through_delay(phase, seconds, cycle_s)
            for phase, seconds in green.items()
        )

    def best(self, cycle_s: int) -> float:
        """Least delay of all plans of a cycle."""
        return min(
            self.street_best(STREETS[0], first_s, cycle_s)
            + self.street_best(STREETS[1], cycle_s - first_s, cycle_s)
            for first_s in range(cycle_s + 1)
        )

    def cost(self, greens: np.ndarray, cycle_s: int) -> float:
        """Delay of one plan; its rings must fill the cycle."""
        green = {phase: int(greens[phase - 1]) for phase in range(1, 9)}
        total, used_s = 0.0, 0
        for street in STREETS:
            lengths = {
                sum(green[p] + self.change_s(p) for p in ring)
                for ring in (street[:2], street[2:])
                if any(self.of(self.ring.most, p) > 0 for p in ring)
            } or {0}
            assert len(lengths) == 1, "the rings of a street end at one barrier"
            (length_s,) = lengths
            used_s += length_s
            total += self.street_delay({p: green[p] for p in street}, length_s, cycle_s)
        assert used_s == cycle_s
        return total


def draw(seed: int, spread_s: int = 5) -> DualRing:
    """A random intersection with greens that can vary by a few seconds: all sorts of traffic and of phases."""
    rng = np.random.default_rng(seed)
    lefts = np.arange(8) % 2 == 0
    load = rng.uniform(0.1, 1.6)
    saturation = np.where(lefts, rng.uniform(0.4, 0.5, 8), rng.integers(1, 4, 8) * 0.5)
    flow = saturation * np.where(lefts, rng.uniform(0.02, 0.4, 8), rng.uniform(0.05, 0.6, 8)) * load
    flow[rng.random(8) < 0.1] = 0.0
    least = np.where(lefts, rng.integers(0, 8, 8), rng.integers(3, 12, 8))
    most = least + rng.integers(1, spread_s + 1, 8) + np.where(lefts, 0, 2 * spread_s)
    permitted = np.zeros(8)
    for left in range(0, 8, 2):
        permitted[left] = permitted_left_saturation_vph(3600.0 * flow[left + 1], 4.5, 2.5) / 3600.0
    sneakers = np.where(lefts, 2.0, 0.0)
    kind = seed % 6
    if kind == 1:  # two left turns without an arrow, one that never goes through gaps
        least[[0, 6]] = most[[0, 6]] = 0
        permitted[2] = sneakers[2] = 0.0
    if (
        kind == 2
    ):  # a stem of phases 3 and 4: nothing of ring 2 beside them, one left turn less on the main street
        for phase in (4, 6, 7):
            least[phase] = most[phase] = 0
            flow[phase] = 0.0
    if kind == 3:  # a street without throughs in one direction
        least[5] = most[5] = 0
        most[4] += 20
        flow[5] = 0.0
    return DualRing(
        flow,
        saturation,
        permitted,
        sneakers,
        rng.integers(3, 7, 8),
        least,
        most,
        float(rng.uniform(1.0, 3.0)),
        float(rng.uniform(0.0, 3.0)),
        0.01 if kind == 4 else 0.25,
    )


def cycles_of(ring: DualRing) -> range:
    """Three cycles about in the middle of what the greens allow."""
    (short_a, long_a), (short_b, long_b) = (plain(left_turns.street_range_s)(ring, left) for left in (0, 2))
    middle = (short_a + long_a + short_b + long_b) // 2
    return range(middle - 1, middle + 2)


def solve(ring: DualRing, cycles: range, version: str = "compiled") -> tuple[int, np.ndarray, np.ndarray]:
    """Code, values and greens as the kernel gives them."""
    values, green = np.empty(len(cycles)), np.full((len(cycles), 8), -1, np.int64)
    function: Callable[..., int] = permitted_splits if version == "compiled" else plain(permitted_splits)
    code = function(ring, cycles[0], cycles[-1], values, green)
    return int(code), values, green


@pytest.mark.parametrize("first", range(0, 60, 12))
def test_splits_are_what_trying_everything_finds(first: int) -> None:
    found = 0
    for seed in range(first, first + 12):
        ring = draw(seed)
        cycles = cycles_of(ring)
        code, values, green = solve(ring, cycles)
        assert code == 0 or np.isinf(values).all(), seed
        for k, cycle_s in enumerate(cycles):
            expected = Signal(ring).best(cycle_s)
            assert values[k] == pytest.approx(expected, rel=1e-9), (seed, cycle_s)
            if math.isfinite(expected):
                found += 1
                assert Signal(ring).cost(green[k], cycle_s) == pytest.approx(expected, rel=1e-9)
                assert (green[k] >= ring.least).all()
                assert (green[k] <= ring.most).all()
    assert found >= 20


def busy(**changed: Any) -> DualRing:
    """An ordinary intersection."""
    lefts = np.arange(8) % 2 == 0
    flow = np.where(lefts, 0.05, 0.25)
    ring = DualRing(
        flow_vps=flow,
        saturation_vps=np.where(lefts, 0.48, 1.0),
        permitted_vps=np.where(lefts, permitted_left_saturation_vph(900.0, 4.5, 2.5) / 3600.0, 0.0),
        sneakers_veh=np.where(lefts, 2.0, 0.0),
        clearance_s=np.where(lefts, 4, 6),
        least=np.where(lefts, 5, 10),
        most=np.where(lefts, 20, 40),
        startup_s=2.0,
        extension_s=2.0,
        period_h=0.25,
    )
    return ring._replace(**changed)


def test_cycles_that_fit_no_greens_have_no_value() -> None:
    ring = busy()
    # 2 · (5 + 4 + 10 + 6) = 50 s at least, 2 · (20 + 4 + 40 + 6) = 140 s at most.
    code, values, green = solve(ring, range(48, 143))
    assert code == 0
    assert np.isfinite(values).tolist() == [50 <= cycle <= 140 for cycle in range(48, 143)]
    assert green[2].tolist() == [5, 10] * 4
    assert green[92].tolist() == [20, 40] * 4
    assert (green[[0, 1, 93, 94]] == 0).all()


@pytest.mark.parametrize(
    ("cycles", "expected"), [(range(30, 50), left_turns.TOO_SHORT), (range(141, 150), left_turns.TOO_LONG)]
)
def test_no_cycle_at_all_gives_a_code(cycles: range, expected: int) -> None:
    code, values, green = solve(busy(), cycles)
    assert code == expected
    assert np.isinf(values).all()
    assert (green == 0).all()


def test_rings_that_never_meet_at_the_barrier_give_a_code() -> None:
    """Ring 1 takes 28 s on its first street at most, ring 2 takes 30 s at least."""
    ring = busy(least=np.array([5, 10, 5, 10, 10, 10, 5, 10]), most=np.array([6, 12, 20, 40, 20, 40, 20, 40]))
    assert solve(ring, range(50, 100))[0] == left_turns.TOO_LONG


def test_gaps_spare_a_light_left_turn_its_arrow_seconds() -> None:
    """The same left turn needs more arrow when it may not go through gaps."""
    protected_only = busy(permitted_vps=np.zeros(8), sneakers_veh=np.zeros(8))
    _, with_gaps, green_with = solve(busy(), range(90, 91))
    _, without, green_without = solve(protected_only, range(90, 91))
    assert with_gaps[0] < without[0]
    assert green_with[0, ::2].sum() < green_without[0, ::2].sum()


def test_without_gaps_the_streets_are_rings_of_protected_phases() -> None:
    """Every phase costs what `movement_delay` says, so that each ring can be split by itself."""
    ring = busy(permitted_vps=np.zeros(8), sneakers_veh=np.zeros(8))
    _, values, green = solve(ring, range(80, 81))
    expected = sum(
        flow * movement_delay(float(seconds), 80.0, flow, saturation, 0.25)
        for flow, saturation, seconds in zip(ring.flow_vps, ring.saturation_vps, green[0])
    )
    assert values[0] == pytest.approx(expected, rel=1e-12)


def test_equal_streets_are_served_alike() -> None:
    _, _, green = solve(busy(), range(100, 101))
    assert green[0, :2].tolist() == green[0, 4:6].tolist()
    assert green[0, 2:4].tolist() == green[0, 6:].tolist()


@pytest.mark.parametrize("seed", range(40))
def test_a_later_green_through_gaps_never_helps(seed: int) -> None:
    """What the bound rests on, from idle to far over capacity, in cycles up to 1800 s per hour of the period."""
    rng = np.random.default_rng(seed)
    ring = draw(6 * seed)._replace(
        flow_vps=rng.uniform(0.005, 0.6, 8), startup_s=2.0, period_h=float(rng.uniform(0.1, 1.0))
    )
    cycle_s, arrow_s = int(rng.integers(80, 181)), int(rng.integers(0, 25))
    blocked = np.sort(rng.uniform(2.0, 20.0, 12))[::-1].copy()
    before = np.zeros(12)
    for own_start_s in range(4, 40):
        after = np.empty(12)
        left_turn_row(ring, 0, arrow_s, float(own_start_s), 12, blocked, cycle_s, after)
        assert (after >= before * (1.0 - 1e-12)).all()
        before = after


@pytest.mark.parametrize("seed", range(30))
def test_permitted_green_is_the_one_that_is_measured(seed: int) -> None:
    """The delay of a row is that of the polygon with `permitted_green` of signals.timing.measures."""
    rng = np.random.default_rng(seed)
    ring = busy(flow_vps=np.where(np.arange(8) % 2 == 0, rng.uniform(0.02, 0.2), rng.uniform(0.05, 0.6)))
    cycle_s, arrow_s, other_s = 110, int(rng.integers(5, 20)), int(rng.integers(5, 30))
    own_start, through_s, found = float(other_s + 4), int(rng.integers(30, 50)), np.empty(1)
    queue_s = opposing_queue_s(ring, 1, through_s, cycle_s)
    left_turn_row(ring, 0, arrow_s, own_start, through_s, np.array([queue_s]), cycle_s, found)
    end = float(arrow_s + 4 + through_s)
    permitted = permitted_green((own_start, end), (float(arrow_s + 4), end), queue_s, float(arrow_s))
    flow, rates = float(ring.flow_vps[0]), (float(ring.saturation_vps[0]), float(ring.permitted_vps[0]))
    waiting_s = end - arrow_s - permitted.unblocked_s
    served = rates[0] * arrow_s + rates[1] * permitted.unblocked_s + 2.0
    polygon = queue_polygon(
        np.array(
            [arrow_s, waiting_s, permitted.unblocked_s, cycle_s - arrow_s - waiting_s - permitted.unblocked_s]
        ),
        np.array([rates[0], 0.0, rates[1], 0.0]),
        np.array([0.0, 0.0, 2.0, 0.0]),
        min(flow, served / cycle_s),
        9.0,
    )
    uniform = polygon.delay_veh_s / min(flow * cycle_s, served)
    random = incremental_delay_s(flow * cycle_s / served, 3600.0 * served / cycle_s, 0.25, 0.5, 1.0)
    assert found[0] == pytest.approx(flow * (uniform + random), rel=1e-9)


@pytest.mark.skipif(not JIT_ENABLED, reason="GREENSPLIT_JIT=0: there is no compiled kernel to compare with")
@pytest.mark.parametrize("seed", range(6))
def test_compiled_and_plain_say_the_same(seed: int) -> None:
    ring = draw(seed)
    cycles = cycles_of(ring)[:1]
    code, values, green = solve(ring, cycles)
    plain_code, plain_values, plain_green = solve(ring, cycles, "plain")
    assert code == plain_code
    assert values == pytest.approx(plain_values, rel=1e-12)
    assert np.array_equal(green, plain_green)


@pytest.mark.skipif(not JIT_ENABLED, reason="kernels are plain Python in this run")
def test_one_compiled_version() -> None:
    solve(busy(), range(60, 62))
    assert len(getattr(permitted_splits, "signatures")) == 1  # noqa: B009
