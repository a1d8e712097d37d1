"""Preemption: which input is served, and in which phases it dwells.

A lower number goes before a higher one. Unless the unit is told otherwise, preempt n dwells in the through phases of
the n-th group between barriers (counted round): in each ring the last one of the group in the first sequence. For
eight phases in the usual order these are 2 and 6 for preempt 1, 4 and 8 for preempt 2, and so on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from signals.controllers.objects import bits_of
from signals.controllers.virtual.events import Code
from signals.controllers.virtual.phases import Layout, Phases

PREEMPTS = 4
NOT_ACTIVE, WITH_CALL, ENTRY, DWELL = 2, 3, 4, 6
"""Values of preemptState."""


def default_dwells(phases: Phases, layout: Layout) -> dict[int, frozenset[int]]:
    """The phases in which each preempt dwells; a ring whose last phase conflicts with one before stays red."""
    dwells = {}
    for n in range(PREEMPTS):
        chosen: list[int] = []
        for ring in layout.served:
            last = ring[n % layout.groups][-1:]
            chosen += [m for m in last if not phases[m].conflicts & bits_of(chosen)]
        dwells[n + 1] = frozenset(chosen)
    return dwells


def check_dwells(phases: Phases, dwells: Mapping[int, frozenset[int]]) -> dict[int, frozenset[int]]:
    """The phases in which each preempt dwells, if they can.

    Raises
    ------
    ValueError
        Where a preempt has none, or one that the unit doesn't have, or two that conflict.
    """
    for number, dwell in sorted(dwells.items()):
        known = [phases[n] for n in sorted(dwell) if n in phases]
        together = bits_of(dwell)
        if not known or len(known) < len(dwell) or any(p.conflicts & together for p in known):
            raise ValueError(f"preempt {number} can't dwell in phases {sorted(dwell)}: give concurrent ones")
    return dict(dwells)


class Preemption:
    """The inputs, and the preempt in service."""

    def __init__(self, dwells: Mapping[int, frozenset[int]], log: Callable[[int, int], None]) -> None:
        self.dwells = dict(dwells)
        self.served = 0
        """The preempt in service; 0 for none."""
        self._inputs: set[int] = set()
        self._dwelling = False
        self._log = log

    def set_input(self, number: int, on: bool) -> None:
        """An input goes on or off.

        Raises
        ------
        ValueError
            Where there is no such preempt.
        """
        if number not in self.dwells:
            raise ValueError(f"preempt {number}: the unit has {', '.join(map(str, sorted(self.dwells)))}")
        if on == (number in self._inputs):
            return
        self._log(Code.PREEMPT_CALL_ON if on else Code.PREEMPT_CALL_OFF, number)
        self._inputs.symmetric_difference_update({number})

    def choose(self) -> int | None:
        """The phases to serve, as a mask, for the input that goes first; None where none is on."""
        wanted = min(self._inputs, default=0)
        if wanted != self.served:
            if self.served:
                self._log(Code.PREEMPT_EXIT, self.served)
            if wanted:
                self._log(Code.PREEMPT_ENTRY, wanted)
            self.served, self._dwelling = wanted, False
        return bits_of(self.dwells[wanted]) if wanted else None

    def look(self, greens: int) -> None:
        """What is green now: the dwell begins once all its phases are."""
        if self.served and not self._dwelling and not bits_of(self.dwells[self.served]) & ~greens:
            self._dwelling = True
            self._log(Code.PREEMPT_DWELL, self.served)

    def state(self, number: int) -> int:
        """preemptState of an input."""
        if number == self.served:
            return DWELL if self._dwelling else ENTRY
        return WITH_CALL if number in self._inputs else NOT_ACTIVE
