"""What is known of demand: a typical day, and how far the day so far stands above or below it.

Levels are those of the edges by which the network is entered, where a queue at a signal doesn't hide who comes. With k
vehicles' worth of belief in the typical day, counts n and their typical figures m, both fading by `KEEP` a slot,

    level = (Σ n + k) / (Σ m + k),

the mean of a gamma-Poisson posterior with prior mean 1. A level fades towards 1 ahead, by `PERSISTENCE` a slot. Nothing
of the day after now is looked at.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from signals.model.demand import Demand, Vehicle, VehicleType

BELIEF_VEH = 20.0
KEEP = 0.4
PERSISTENCE = 0.9
JITTER_S = 60.0
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
        first, last = np.searchsorted(self.depart_s, (begin_s, end_s))
        numbers = np.bincount(self.origin[first:last], minlength=len(self.entries) + 1) / len(self.days)
        return {edge: float(n) for edge, n in zip(self.entries, numbers, strict=False)}

    def learn(self, entered: Mapping[str, float], begin_s: float, end_s: float) -> None:
        """Take in what was counted in a slot."""
        for edge, usual in self.typical(begin_s, end_s).items():
            self.seen[edge] = KEEP * self.seen[edge] + entered.get(edge, 0.0)
            self.usual[edge] = KEEP * self.usual[edge] + usual

    def level(self, edge: str | None, ahead: float) -> float:
        """How much more than usual enters by an edge, so many slots ahead (0 is the next one); None is all edges."""
        if edge is None:
            seen, usual = sum(self.seen.values()), sum(self.usual.values())
        else:
            seen, usual = self.seen[edge], self.usual[edge]
        now = (seen + BELIEF_VEH) / (usual + BELIEF_VEH)
        return float(max(0.0, 1.0 + PERSISTENCE**ahead * (now - 1.0)))

    def forecast(self, begin_s: float, end_s: float) -> dict[str, float]:
        """Vehicles expected to enter by each edge in the next stretch."""
        return {e: n * self.level(e, 0.0) for e, n in self.typical(begin_s, end_s).items()}

    def draw(self, now_s: float, until_s: float, generator: np.random.Generator) -> list[Vehicle]:
        """Vehicles that may enter from now on, drawn around what is expected of each slot."""
        margin = 3.0 * JITTER_S
        first, last = np.searchsorted(self.depart_s, (now_s - margin, until_s + margin))
        ahead = np.maximum(0.0, (self.depart_s[first:last] - now_s) // self.slot_s)
        rates = np.ones(last - first)
        for slot in np.unique(ahead):
            levels = np.array([*(self.level(e, slot) for e in self.entries), self.level(None, slot)])
            here = ahead == slot
            rates[here] = levels[self.origin[first:last][here]]
        copies = generator.poisson(rates / len(self.days))
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
