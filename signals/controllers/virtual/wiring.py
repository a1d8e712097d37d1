"""What the heads of a SUMO signal show while a unit's phases are green, yellow and walking."""

from __future__ import annotations

from collections.abc import Set
from itertools import product

from signals.model.controller import Cabinet, LinkWiring

NOBODY: frozenset[int] = frozenset()


class Heads:
    """The links of one signal, as its cabinet wires them; `letters` is to be called at every change, in order.

    A vehicle's link is green while one of its phases is, and then yellow while one of them is. One that is
    `held` stays green while all its phases clear, if one of them comes next; it is a permitted green if either
    phase makes it one.
    """

    def __init__(self, cabinet: Cabinet) -> None:
        self._links = [_Head(link) for link in cabinet.links]
        self._seen: tuple[Set[int], ...] = ()
        self._state = "".join(link.red for link in cabinet.links)

    def letters(self, greens: Set[int], yellows: Set[int], walks: Set[int], nexts: Set[int] = NOBODY) -> str:
        """The state string, a letter a link. `nexts` are the phases that the unit has chosen to serve next.

        A unit chooses them when greens end, at the latest, and sticks to them until their greens begin.
        """
        seen = (greens, yellows, walks, nexts)
        if seen != self._seen:
            self._seen = seen
            self._state = "".join([link.letter(*seen) for link in self._links])
        return self._state


class _Head:
    """One link's lights; `last` are its phases that were green when one of them last was."""

    def __init__(self, wiring: LinkWiring) -> None:
        self._wiring = wiring
        self._phases = frozenset(wiring.phases)
        self._last: Set[int] = NOBODY
        self._shown = wiring.red

    def letter(self, greens: Set[int], yellows: Set[int], walks: Set[int], nexts: Set[int]) -> str:
        self._shown = self._next(greens, yellows, walks, nexts)
        return self._shown

    def _next(self, greens: Set[int], yellows: Set[int], walks: Set[int], nexts: Set[int]) -> str:
        wiring = self._wiring
        if wiring.pedestrian:
            return wiring.red if self._phases.isdisjoint(walks) else "G"
        on = self._phases & greens
        if on:
            self._last = on
            return "G" if wiring.permitted.isdisjoint(greens) else "g"
        if self._shown in "Gg" and self._is_held(nexts):
            return self._shown if wiring.permitted.isdisjoint(nexts) else "g"
        return wiring.red if self._phases.isdisjoint(yellows) else "y"

    def _is_held(self, nexts: Set[int]) -> bool:
        pairs = product(self._last, self._phases & nexts)
        return self._wiring.held and any(pair not in self._wiring.cleared for pair in pairs)
