"""What is known of demand: a typical day, and how far the day so far stands above or below it.

Levels are those of the edges by which the network is entered, where a queue at a signal doesn't hide who comes. With
counts n and their typical figures m, both fading by `KEEP` a slot, and k vehicles' worth of belief in the typical day,

    level = (Σ n + k·L) / (Σ m + k),

the mean of a gamma-Poisson posterior; L is that of all entries together, where the prior mean is 1. Belief goes as
counts stray further than chance would have them: z² = (Σ n − Σ m·L)² / (Σ n + Σ m·L) beyond `SURE` divides k. The
typical day is one that was counted, with chance in it as well: a slot is averaged with its neighbours where chance
explains what they differ by. A level fades towards 1 ahead, by `PERSISTENCE` a slot. Nothing of the day after now is
looked at.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from signals.model.demand import Demand, Vehicle, VehicleType

BELIEF_VEH = 300.0
SURE = 9.0
KEEP = 0.3
PERSISTENCE = 0.9
BEND = 2.0
"""Neighbouring slots that bend by more than so many times what chance explains aren't averaged."""
JITTER_S = 120.0
"""Standard deviation by which departures of a typical day move from draw to draw."""


@dataclass
class Expectation:
    """Typical days, and levels by entry edge. Vehicles that start elsewhere follow the level of all entries."""

    days: Sequence[Demand]
    entries: Sequence[str]
    slot_s: float
    seen: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    usual: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def __post_init__(self) -> None:
        vehicles = sorted(
            ((v, d) for d, day in enumerate(self.days) for v in day.vehicles if v.edges),
            key=lambda pair: (pair[0].depart_s, pair[1], pair[0].id),
        )
        self.vehicles: list[Vehicle] = [v for v, _ in vehicles]
        self.depart_s = np.array([v.depart_s for v in self.vehicles])
        known = {edge: k for k, edge in enumerate(self.entries)}
        self.origin = np.array([known.get(v.edges[0], len(known)) for v in self.vehicles], np.int64)
        self.types: Mapping[str, VehicleType] = {n: t for day in self.days for n, t in day.types.items()}

    def typical(self, begin_s: float, end_s: float) -> dict[str, float]:
        """Vehicles that enter by each entry edge in a stretch of a typical day."""
        length_s = end_s - begin_s
        here = self._counted(begin_s, end_s)
        if begin_s - length_s >= self.days[0].begin_s and end_s + length_s <= self.days[0].end_s:
            before = self._counted(begin_s - length_s, begin_s)
            after = self._counted(end_s, end_s + length_s)
            bend = float(((before - 2.0 * here + after) ** 2).sum())
            if bend <= BEND * float((before + 4.0 * here + after).sum()):
                here = (before + 2.0 * here + after) / 4.0
        return {edge: float(n) for edge, n in zip(self.entries, here / len(self.days), strict=True)}

    def _counted(self, begin_s: float, end_s: float) -> NDArray[np.float64]:
        """Vehicles by entry edge over all typical days."""
        first, last = np.searchsorted(self.depart_s, (begin_s, end_s))
        counted = np.bincount(self.origin[first:last], minlength=len(self.entries) + 1)
        return counted[:-1].astype(np.float64)

    def learn(self, entered: Mapping[str, float], begin_s: float, end_s: float) -> None:
        """Take in what was counted in a slot."""
        for edge, usual in self.typical(begin_s, end_s).items():
            self.seen[edge] = KEEP * self.seen[edge] + entered.get(edge, 0.0)
            self.usual[edge] = KEEP * self.usual[edge] + usual

    def level(self, edge: str | None, ahead: float) -> float:
        """How much more than usual enters by an edge, so many slots ahead (0 is the next one); None is all edges."""
        now = _level(sum(self.seen.values()), sum(self.usual.values()), 1.0)
        if edge is not None:
            now = _level(self.seen[edge], self.usual[edge], now)
        return float(max(0.0, 1.0 + PERSISTENCE**ahead * (now - 1.0)))

    def forecast(self, begin_s: float, end_s: float) -> dict[str, float]:
        """Vehicles expected to enter by each edge in the next stretch."""
        return {e: n * self.level(e, 0.0) for e, n in self.typical(begin_s, end_s).items()}

    def draw(
        self, now_s: float, until_s: float, generator: np.random.Generator, times: float = 1.0
    ) -> list[Vehicle]:
        """Vehicles that may enter from now on, drawn around so many times what is expected of each slot."""
        margin = 3.0 * JITTER_S
        first, last = np.searchsorted(self.depart_s, (now_s - margin, until_s + margin))
        ahead = np.maximum(0.0, (self.depart_s[first:last] - now_s) // self.slot_s)
        rates = np.ones(last - first)
        for slot in np.unique(ahead):
            levels = np.array([*(self.level(e, slot) for e in self.entries), self.level(None, slot)])
            here = ahead == slot
            rates[here] = levels[self.origin[first:last][here]]
        copies = generator.poisson(times * rates / len(self.days))
        chosen = np.repeat(np.arange(first, last), copies)
        departs = self.depart_s[chosen] + generator.normal(0.0, JITTER_S, len(chosen))
        drawn = [
            replace(self.vehicles[k], id=f"{n}", depart_s=float(t))
            for n, (k, t) in enumerate(zip(chosen, departs, strict=True))
            if now_s <= t < until_s
        ]
        return sorted(drawn, key=lambda v: v.depart_s)

    def draw_present(
        self, present: Mapping[str, float], now_s: float, generator: np.random.Generator
    ) -> list[Vehicle]:
        """Vehicles that are on the road, each with the rest of a route that usually leads over its edge by now."""
        found: list[Vehicle] = []
        for edge, number in sorted(present.items()):
            ways = self._ways(edge, now_s)
            if not ways or number < 1:
                continue
            for k in generator.integers(0, len(ways), round(number)):
                vehicle, position = ways[k]
                found.append(
                    replace(
                        vehicle,
                        id=f"present {len(found)}",
                        depart_s=now_s,
                        edges=vehicle.edges[position:],
                        depart_lane="best",
                    )
                )
        return found

    def _ways(self, edge: str, now_s: float) -> list[tuple[Vehicle, int]]:
        """Routes over an edge of those who departed lately, or ever where none did."""
        index = self._index()
        every = index.get(edge, [])
        lately = [way for way in every if now_s - 1800.0 <= way[0].depart_s < now_s + 300.0]
        return lately or every

    def _index(self) -> Mapping[str, list[tuple[Vehicle, int]]]:
        if not hasattr(self, "_by_edge"):
            by_edge: dict[str, list[tuple[Vehicle, int]]] = defaultdict(list)
            for vehicle in self.vehicles:
                for position, edge in enumerate(vehicle.edges):
                    by_edge[edge].append((vehicle, position))
            self._by_edge = by_edge
        return self._by_edge


def _level(seen: float, usual: float, prior: float) -> float:
    wanted = usual * prior
    stray = (seen - wanted) ** 2 / max(seen + wanted, 1.0)
    belief = BELIEF_VEH / max(1.0, stray / SURE)
    return (seen + belief * prior) / (usual + belief)
