"""The conflict monitor: watches what the heads show, knows the phases' record alone, and nothing of the engine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

from signals.model.controller import ControllerRecord

TOLERANCE = 1
"""So many tenths may a clearance fall short before the monitor trips."""


@dataclass(frozen=True, slots=True)
class Indications:
    """What the heads show now, as phase numbers; whatever is in none of the sets shows red or don't walk."""

    greens: frozenset[int]
    yellows: frozenset[int]
    walks: frozenset[int]
    ped_clears: frozenset[int]
    flash: bool


DARK: frozenset[int] = frozenset()


class ConflictMonitor:
    """Finds conflicting indications, missing and short yellows and short red clearances.

    Feed it every change of the indications with the tenth of a second at which it comes (or every tenth). Two
    phases conflict unless each lists the other as concurrent. A pedestrian clearance counts as a walk. Flash
    ends all that the monitor remembers.
    """

    def __init__(self, record: ControllerRecord) -> None:
        self._phases = record.by_number
        self._shown: Indications | None = None
        self._yellow_since: dict[int, int] = {}
        self._red_since: dict[int, int] = {}

    def feed(self, indications: Indications, tick: int) -> tuple[str, ...]:
        """What is wrong with what is shown from now on, or with how it came about; empty where nothing is.

        `tick` counts tenths of a second and never falls.
        """
        before = self._shown
        if indications == before:
            return ()
        self._shown = indications
        if indications.flash:
            self._yellow_since.clear()
            self._red_since.clear()
            return ()
        if before is None or before.flash:
            before = Indications(DARK, DARK, DARK, DARK, False)
        found = [
            *self._conflicts(indications),
            *self._changes(before, indications, tick),
            *self._clearances(before, indications, tick),
        ]
        return tuple(found)

    def _conflicts(self, shown: Indications) -> Iterable[str]:
        active = shown.greens | shown.yellows | shown.walks | shown.ped_clears
        for unknown in sorted(active - self._phases.keys()):
            yield f"phase {unknown} shows an indication, and the record has no such phase"
        for a, b in combinations(sorted(active & self._phases.keys()), 2):
            if not self._concurrent(a, b):
                yield f"phase {a} shows {_what(shown, a)} with phase {b} at {_what(shown, b)}: they conflict"

    def _changes(self, before: Indications, shown: Indications, tick: int) -> Iterable[str]:
        for n in before.greens - shown.greens - shown.yellows:
            self._red_since[n] = tick
            yield f"phase {n} goes from green to red without yellow"
        for n in shown.yellows - before.yellows:
            self._yellow_since[n] = tick
        for n in before.yellows - shown.yellows:
            since = self._yellow_since.pop(n, tick)
            self._red_since[n] = tick
            phase = self._phases.get(n)
            need = round(10 * phase.yellow_s) if phase else 0
            if tick - since < need - TOLERANCE:
                yield f"phase {n}: yellow of {(tick - since) / 10:g} s, the record has {need / 10:g} s"

    def _clearances(self, before: Indications, shown: Indications, tick: int) -> Iterable[str]:
        begun = (shown.greens | shown.walks) - (before.greens | before.walks)
        for n in sorted(begun & self._phases.keys()):
            for other, since in self._red_since.items():
                if other not in self._phases or other == n or self._concurrent(n, other):
                    continue
                need = round(10 * self._phases[other].red_clear_s)
                if tick - since < need - TOLERANCE:
                    yield (
                        f"phase {n} begins {(tick - since) / 10:g} s after the yellow of phase {other}, whose "
                        f"red clearance is {need / 10:g} s"
                    )

    def _concurrent(self, a: int, b: int) -> bool:
        return b in self._phases[a].concurrent and a in self._phases[b].concurrent


def _what(shown: Indications, number: int) -> str:
    if number in shown.greens:
        return "green"
    if number in shown.yellows:
        return "yellow"
    return "walk" if number in shown.walks else "pedestrian clearance"
