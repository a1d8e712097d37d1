"""The offsets that let platoons through, with a bound that says how much better any others could be.

Signals of one group and a common cycle are set against each other: by tables of what a difference of offsets
costs on each link (`kernels.offsets`), then with everybody's traffic in view (`kernels.street`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kernels.arrays import I8
from kernels.offsets import Best, best_offsets, total_cost
from kernels.street import climb, link_tables, run_street
from signals.model.demand import TurningCounts
from signals.model.network import Network
from signals.model.phasing import SignalProgram
from signals.timing.street_profiles import Street
from signals.timing.stretches import (
    coordination_groups,
    movement_flows_vph,
    stretches,
)

STOP_WEIGHT_S = 5.0
"""Delay that a stop is worth: what braking from 50 km/h and speeding up again cost SUMO's default car."""
ROUNDS = 2
"""Tables are made anew this many times, each time from the departures under the offsets found before."""
SWEEPS = 3
"""Passes in which profiles travel on from signal to signal within a round."""
ORDERS = 12
"""Sets of trees in each descent, where circuits are too many for an exact answer."""
PASSES = 60
"""Passes for the bound: after so many it gains less than 0.01 % in ten more, on networks of 1,000 signals."""
TURNS = 240
"""Most trees solved in a descent."""
PARTS = 50_000
"""Over the square of the signals, the parts that a network is split into at most to close the gap."""
STEPS = (0.4, 0.25, 0.15, 0.08, 0.04, 0.02, 0.01)
"""Parts of a cycle by which a signal is moved, either way, to see whether the whole street gains."""
CLIMBS = 4
BETTER = 1e-9
"""Relative gain below which offsets are no better than those given."""
SEED = 20_240


@dataclass(frozen=True, slots=True)
class Coordinated:
    """Signals set against each other, and what that is worth; costs are vehicles waiting, stops included.

    `offsets_s` holds every signal of the set, in order. On the tables by link, which know the platoons of one
    link at a time, `table_given` is what the offsets given cost, `table_found` what those found cost, and
    `bound` what none can cost less than. With everybody's traffic in view `given` is what the offsets given
    cost, `found` what those from the tables cost, and `climbed` what they cost after moves of one signal at a
    time, which is what `offsets_s` has, unless what was given is better.
    """

    period_s: float
    offsets_s: Mapping[str, float]
    table_given: float
    table_found: float
    bound: float
    given: float
    found: float
    climbed: float

    @property
    def gap(self) -> float:
        """Part of the tables' cost by which some other offsets could at most be better, 0 … 1."""
        return max(0.0, 1.0 - self.bound / self.table_found) if self.table_found > 0.0 else 0.0

    @property
    def keeps_given(self) -> bool:
        """Whether the model finds nothing better than what was given."""
        return self.climbed >= self.given


def offsets(
    network: Network,
    programs: Mapping[str, SignalProgram],
    counts: TurningCounts,
    *,
    groups: Sequence[Collection[str]] | None = None,
    stop_weight_s: float = STOP_WEIGHT_S,
) -> dict[str, float]:
    """Offsets of every program that make modelled delay and stops smallest, s, from 0 to below the cycle.

    As `coordinate`, for all programs: those that it doesn't set stay as they are.
    """
    result = {
        signal: program.offset_s % program.cycle_s if program.cycle_s > 0 else 0.0
        for signal, program in sorted(programs.items())
    }
    for done in coordinate(network, programs, counts, groups=groups, stop_weight_s=stop_weight_s):
        result |= done.offsets_s
    return result


def coordinate(
    network: Network,
    programs: Mapping[str, SignalProgram],
    counts: TurningCounts,
    *,
    groups: Sequence[Collection[str]] | None = None,
    stop_weight_s: float = STOP_WEIGHT_S,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Coordinated, ...]:
    """Set signals against each other so that modelled delay and stops are smallest, by sets of one cycle.

    Within a group, signals of the commonest cycle, or of half of it, are set against each other, in whole
    seconds; those of another common cycle likewise among themselves. The rest stay as they are. The first
    signal of each such set keeps its offset (rounded to a whole second) and the others follow. Where the
    model finds nothing better than the offsets given, those remain.

    Parameters
    ----------
    programs
        By signal. One that lacks links or lasts no time can't be modelled and stays as it is.
    counts
        Their mean over the whole window is used: give those of the period that the programs are for.
    groups
        Of signals to set together; `coordination_groups` where not given.
    stop_weight_s
        Delay that a stop is worth, s.
    on_progress
        Called with the number of sets done and the number there are.
    """
    streets = list(_streets(network, programs, counts, groups))
    report = on_progress or (lambda _done, _of: None)
    found: list[Coordinated] = []
    for members, street in streets:
        report(len(found), len(streets))
        found.append(_coordinated(programs, members, street, stop_weight_s))
    report(len(found), len(streets))
    return tuple(found)


def modelled_cost(
    network: Network,
    programs: Mapping[str, SignalProgram],
    counts: TurningCounts,
    *,
    groups: Sequence[Collection[str]] | None = None,
    stop_weight_s: float = STOP_WEIGHT_S,
) -> float:
    """What `offsets` makes smallest, for programs as they are: vehicles waiting on average, stops included.

    Deterministic delay below capacity only; signals that stand alone are left out.
    """
    cost = 0.0
    for members, street in _streets(network, programs, counts, groups):
        given = street.bins_of([programs[s].offset_s for s in members])
        departures = street.blank_departures()
        cost += run_street(street.arrays, given, SWEEPS, stop_weight_s / street.step_s, departures)
    return cost


def _streets(
    network: Network,
    programs: Mapping[str, SignalProgram],
    counts: TurningCounts,
    groups: Sequence[Collection[str]] | None,
) -> Iterator[tuple[list[str], Street]]:
    """The sets of signals that can be set against each other, and the street of each."""
    if groups is None:
        groups = coordination_groups(network, counts)
    ways = stretches(network, counts)
    flows = movement_flows_vph(counts)
    for group in groups:
        usable = [s for s in sorted(group) if s in programs and _can_be_modelled(network, programs[s], s)]
        for members, period_s in _families(usable, programs):
            yield members, Street.of(network, programs, flows, ways, members, period_s)


def _can_be_modelled(network: Network, program: SignalProgram, signal: str) -> bool:
    intersection = network.intersections.get(signal)
    return intersection is not None and program.cycle_s >= 2.0 and program.n_links >= intersection.n_links


def _families(members: Sequence[str], programs: Mapping[str, SignalProgram]) -> list[tuple[list[str], float]]:
    """Sets of signals with one common cycle or half of it, the largest set first; nobody alone."""
    left = list(members)
    families = []
    while len(left) > 1:
        cycles = sorted({programs[s].cycle_s for s in left}, reverse=True)
        fits = {c: [s for s in left if _fits(programs[s].cycle_s, c)] for c in cycles}
        period_s = max(cycles, key=lambda c: (len(fits[c]), c))
        if len(fits[period_s]) < 2:
            break
        families.append((fits[period_s], period_s))
        left = [s for s in left if s not in fits[period_s]]
    return families


def _fits(cycle_s: float, period_s: float) -> bool:
    return abs(cycle_s - period_s) < 1e-6 or abs(2.0 * cycle_s - period_s) < 1e-6


def _coordinated(
    programs: Mapping[str, SignalProgram],
    members: Sequence[str],
    street: Street,
    stop_weight_s: float,
) -> Coordinated:
    """Offsets of one set of signals, by rounds of tables; the best of all rounds and of what was given."""
    arrays = street.arrays
    stop_weight = stop_weight_s / street.step_s
    given = street.bins_of([programs[s].offset_s for s in members])
    generator = np.random.default_rng(SEED)
    no_starts = np.empty((0, len(members)), np.int64)
    orders = np.array([generator.permutation(len(members)) for _ in range(ORDERS)])
    strides = [round(part * street.n_bin) for part in STEPS]
    steps = np.array([sign * stride for stride in strides for sign in (1, -1) if stride], np.int64)
    n_part = max(1, PARTS // len(members) ** 2)
    departures = street.blank_departures()
    given_cost = run_street(arrays, given, SWEEPS, stop_weight, departures)
    rounds: list[tuple[float, float, float, Best, I8]] = []
    # the first tables come from even arrivals everywhere
    trial = given.copy()
    run_street(arrays, trial, 0, stop_weight, departures)
    for _ in range(ROUNDS):
        table = link_tables(arrays, departures, trial, stop_weight)
        links = (table, arrays.link_from, arrays.link_to)
        best = best_offsets(*links, street.choices, no_starts, orders, PASSES, TURNS, n_part, trial)
        found = run_street(arrays, trial, SWEEPS, stop_weight, departures)
        climbed = climb(arrays, street.choices, steps, CLIMBS, SWEEPS, stop_weight, trial, departures)
        rounds.append((climbed, found, total_cost(*links, given), best, trial.copy()))
    climbed, found, table_given, best, chosen = min(rounds, key=lambda r: r[0])
    kept = {s: programs[s].offset_s % programs[s].cycle_s for s in members}
    if climbed >= given_cost - BETTER * max(1.0, given_cost):
        climbed, offsets_s = given_cost, kept
    else:
        shift_s = round(kept[members[0]]) - chosen[0] * street.step_s
        offsets_s = {
            s: float(int((o * street.step_s + shift_s) % programs[s].cycle_s))
            for s, o in zip(members, chosen.tolist(), strict=True)
        }
    period_s = street.n_bin * street.step_s
    return Coordinated(period_s, offsets_s, table_given, best.value, best.bound, given_cost, found, climbed)
