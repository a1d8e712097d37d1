"""What a hold costs: deterministic queues of a signal's movements, second by second.

Vehicles arrive evenly at a movement's flow and leave at its saturation flow while it is green, as in the uniform
delay of the HCM. Turns that give way leave at a share of it. Nothing is random: two states of a signal are compared
under the same arrivals.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from signals.model.network import Intersection, Movement, Turn
from signals.model.phasing import GREEN, SignalProgram

SATURATION_VPH = 1800.0
"""Vehicles that leave one lane in an hour of green."""
PERMITTED_SHARE = 0.3
"""A left turn that looks for gaps leaves at this share of saturation flow."""
WARM_UP_CYCLES = 4
LONGEST_AFTERMATH_S = 1800
"""Queues that a hold left behind are followed for so long."""
VEHICLE_M = 7.5
"""Room that a queued vehicle takes."""

SAME_QUEUE = 0.05
"""Queues that differ by less are the same [veh]."""

_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Cost:
    """What a hold means for one movement: seconds of red more than in the program, and delay more [veh·s]."""

    movement: str
    red_added_s: float
    delay_added_s: float


class Streams:
    """The movements of one signal as flows [veh/s], and their queues under its program."""

    def __init__(
        self, intersection: Intersection, program: SignalProgram, flows_vph: Mapping[str, float]
    ) -> None:
        self.movements: tuple[Movement, ...] = intersection.movements
        self.arrivals = np.array([flows_vph.get(m.id, 0.0) / 3600.0 for m in self.movements])
        storage = {a.edge: a.storage_m for a in intersection.approaches}
        self.room = np.array([_lanes(m) * storage.get(m.approach, 0.0) / VEHICLE_M for m in self.movements])
        self._program = program
        self._growth: dict[str, _Floats] = {}
        self._standing: dict[int, _Floats] = {}
        # a cycle of whole seconds repeats second by second
        whole = abs(program.cycle_s - round(program.cycle_s)) < 1e-6
        self._cycle = round(program.cycle_s) if whole else 0
        self._states = [program.state_at(t) for t in range(self._cycle)]

    def states(self, begin: float, end: float) -> list[str]:
        """The state that the program shows at each whole second."""
        times = range(math.floor(begin), math.floor(end))
        if self._cycle:
            return [self._states[t % self._cycle] for t in times]
        return [self._program.state_at(t) for t in times]

    def _grows(self, state: str) -> _Floats:
        """By how much each queue grows in a second of this state, as long as there is one."""
        if state not in self._growth:
            leaving = np.array([_leaving(m, state) for m in self.movements])
            self._growth[state] = self.arrivals - leaving
        return self._growth[state]

    def run(self, queues: _Floats, states: Sequence[str]) -> tuple[_Floats, _Floats]:
        """Queues after a row of seconds, and the time that vehicles have spent in them [veh·s], by movement."""
        queues = queues.copy()
        spent = np.zeros_like(queues)
        for state in states:
            queues += self._grows(state)
            np.maximum(queues, 0.0, out=queues)
            spent += queues
        return queues, spent

    def standing(self, time_s: float) -> _Floats:
        """Queues at a second under the program alone, no longer than there is room [veh]."""
        time = math.floor(time_s)
        key = time % self._cycle if self._cycle else time
        if key not in self._standing:
            begin = time - WARM_UP_CYCLES * math.ceil(self._program.cycle_s)
            queues, _ = self.run(np.zeros(len(self.movements)), self.states(begin, time))
            self._standing[key] = np.minimum(queues, self.room)
        return self._standing[key]

    def costs(self, held: Sequence[str], leaves_s: float) -> tuple[Cost, ...]:
        """What showing `held`, a state a second from `leaves_s` on, costs each movement until queues are as before."""
        begin = math.floor(leaves_s)
        end = begin + len(held)
        planned = self.states(begin, end)
        queues = self.standing(begin)
        with_hold, spent_held = self.run(queues, held)
        without, spent_planned = self.run(queues, planned)
        added = spent_held - spent_planned
        cycle = math.ceil(self._program.cycle_s)
        for turn in range(math.ceil(LONGEST_AFTERMATH_S / cycle)):
            if np.abs(with_hold - without).max(initial=0.0) < SAME_QUEUE:
                break
            states = self.states(end + turn * cycle, end + (turn + 1) * cycle)
            with_hold, more = self.run(with_hold, states)
            without, usual = self.run(without, states)
            added += more - usual
        held_reds, planned_reds = self._reds(held), self._reds(planned)
        return tuple(
            Cost(m.id, float(a - b), round(float(delay), 1))
            for m, a, b, delay in zip(self.movements, held_reds, planned_reds, added, strict=True)
        )

    def _reds(self, states: Sequence[str]) -> list[int]:
        """Seconds of red of each movement."""
        shown = Counter(states)
        return [
            sum(n for state, n in shown.items() if all(state[i] not in GREEN for i in m.links))
            for m in self.movements
        ]


def _leaving(movement: Movement, state: str) -> float:
    """Vehicles that a movement lets go in a second of a state."""
    shown = [state[i] for i in movement.links]
    going = sum(c in GREEN for c in shown) / len(shown) if shown else 0.0
    gives_way = movement.turn is Turn.LEFT and "G" not in shown
    share = PERMITTED_SHARE if gives_way else 1.0
    return going * share * _lanes(movement) * SATURATION_VPH / 3600.0


def _lanes(movement: Movement) -> int:
    return max(1, len(movement.links))
