"""Demand along an arterial with side streets: who drives from which end to which, and who walks over crossings."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

# The sidewalk on the right of a drive from the first leg to the second leads over the crossing of the key.
SIDEWALK_OVER = {"W": ("N", "S"), "E": ("S", "N"), "S": ("W", "E"), "N": ("E", "W")}
PEDESTRIANS_PER_HOUR = 12  # each way over each crossing


@dataclass(frozen=True)
class Terminal:
    """An end of the network where traffic enters and leaves."""

    name: str
    kind: str
    at: int  # the junction that it is next to, counted from the west
    x_m: float


@dataclass(frozen=True)
class Gravity:
    """How traffic chooses where to go; the first three by the kind of an end.

    Vehicles per hour that enter at the peak, the pull of an end as a destination, and the share of side-street traffic
    that only crosses the arterial. Pull falls off by exp(-distance / mean distance); flows below the least are left
    out.
    """

    entering_vph: Mapping[str, float]
    pull: Mapping[str, float]
    straight_over: Mapping[str, float]
    mean_distance_m: float
    least_flow_vph: float

    def flows(self, terminals: Sequence[Terminal]) -> dict[tuple[Terminal, Terminal], float]:
        """Vehicles per hour at the peak for every pair of ends that exchanges enough of them."""
        flows: dict[tuple[Terminal, Terminal], float] = {}
        for origin in terminals:
            entering = float(self.entering_vph[origin.kind])
            over = [t for t in terminals if t.at == origin.at and t is not origin and t.kind == origin.kind]
            for opposite in over:
                flows[origin, opposite] = entering * self.straight_over[origin.kind]
                entering -= flows[origin, opposite]
            pull = {
                t: self.pull[t.kind] * math.exp(-abs(t.x_m - origin.x_m) / self.mean_distance_m)
                for t in terminals
                if t is not origin and t not in over
            }
            share = entering / sum(pull.values())
            kept = {t: p for t, p in pull.items() if p * share >= self.least_flow_vph}
            for destination, p in kept.items():
                flows[origin, destination] = entering * p / sum(kept.values())
        return flows


def route_id(origin: Terminal, destination: Terminal) -> str:
    """Name of the route between two ends."""
    return f"{origin.name}_to_{destination.name}"


def list_walk_rows(
    crossing: str, along: Sequence[str], window_s: tuple[int, int], depart_m: int
) -> Iterable[str]:
    """Walks both ways over a crossing, by the sidewalk along two edges, `depart_m` from where each begins."""
    begin_s, end_s = window_s
    for way, edges in (("with", along), ("against", along[::-1])):
        yield (
            f'<personFlow id="{crossing}_{way}" begin="{begin_s}" end="{end_s}"'
            f' perHour="{PEDESTRIANS_PER_HOUR}" departPos="{depart_m}">'
        )
        yield f'    <walk edges="{" ".join(edges)}" arrivalPos="{depart_m}"/>'
        yield "</personFlow>"
