"""Which stop lines come next after a signal, and how many drive on to them: link flows out of turning counts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from signals.model.counts import Floats
from signals.model.network import Network, Turn

LONGEST_M = 3000.0
"""Ways from signal to signal are looked for no further."""

Exit = tuple[str, str]
"""A signal, and an edge by which vehicles leave it."""
Entry = tuple[str, str]
"""A signal, and the edge of an approach to it."""


@dataclass(frozen=True)
class Onward:
    """Which stop lines come next after each exit of a signal, and which exits lead to each stop line."""

    entries: dict[Exit, tuple[Entry, ...]]
    exits: dict[Entry, tuple[Exit, ...]]

    @classmethod
    def of(cls, network: Network) -> Onward:
        """What follows in a network, over any edges and junctions without a signal, U-turns aside."""
        ways: dict[str, list[str]] = defaultdict(list)
        stop_lines: dict[str, set[str]] = defaultdict(set)
        for c in network.connections:
            if c.signal is None and c.turn is not Turn.U_TURN:
                ways[c.from_edge].append(c.to_edge)
        for signal, intersection in network.intersections.items():
            for m in intersection.movements:
                stop_lines[m.approach].add(signal)
        entries: dict[Exit, tuple[Entry, ...]] = {}
        exits: dict[Entry, list[Exit]] = defaultdict(list)
        for signal, intersection in sorted(network.intersections.items()):
            for edge in sorted({m.to_edge for m in intersection.movements}):
                found = tuple(_reached(network, signal, edge, ways, stop_lines))
                entries[signal, edge] = found
                for entry in found:
                    exits[entry].append((signal, edge))
        return cls(entries, {entry: tuple(known) for entry, known in exits.items()})

    def around(self, signals: Collection[str], approaches: Iterable[Entry]) -> tuple[str, ...]:
        """These signals, those that send vehicles to these approaches, and those that get what else these send."""
        feeding = {e for entry in approaches for e in self.exits.get(entry, ())}
        ahead = {s for e in feeding for s, _ in self.entries[e]}
        return tuple(sorted({*signals, *(s for s, _ in feeding), *ahead}))


def _reached(
    network: Network, signal: str, exit_edge: str, ways: dict[str, list[str]], stop_lines: dict[str, set[str]]
) -> list[Entry]:
    """Stop lines of other signals that come next, nearest by number of edges first."""
    length_m = {exit_edge: 0.0}
    queue = [exit_edge]
    found = []
    for edge in queue:
        at_end = length_m[edge] + network.edges[edge].length_m
        found += [(s, edge) for s in sorted(stop_lines.get(edge, ())) if s != signal]
        for following in dict.fromkeys(ways.get(edge, ())):
            if following not in length_m and at_end <= LONGEST_M and following in network.edges:
                length_m[following] = at_end
                queue.append(following)
    return found


def link_flows(
    onward: Onward,
    leaving: Mapping[Exit, Floats],
    arriving: Mapping[Entry, Floats],
    signals: Collection[str],
) -> dict[tuple[str, str], tuple[float, ...]]:
    """Vehicles that pass one of these signals and then another one next, a figure an interval.

    Of the vehicles that leave by an exit, each stop line that comes next gets its share by what these count; no more
    come to a stop line than it counts, and where more would, all that lead to it send fewer in proportion.

    leaving, arriving : float64[n_interval], veh by each exit and to each stop line of these signals and of those that
        `Onward.around` them
    """
    flows: dict[tuple[str, str], Floats] = {}
    inside = frozenset(signals)
    for entry in sorted(e for e in arriving if e[0] in inside):
        sent = {e: _share(onward, e, entry, leaving, arriving) for e in onward.exits.get(entry, ())}
        if not sent:
            continue
        room = arriving[entry]
        total = np.sum(list(sent.values()), axis=0)
        scale = np.where(total > room, room / np.maximum(total, 1e-12), 1.0)
        for (signal, _), flow in sent.items():
            if signal in inside:
                link = signal, entry[0]
                flows[link] = flows.get(link, 0.0) + flow * scale
    return {link: tuple(flow.tolist()) for link, flow in sorted(flows.items()) if flow.any()}


def _share(
    onward: Onward,
    exit_: Exit,
    entry: Entry,
    leaving: Mapping[Exit, Floats],
    arriving: Mapping[Entry, Floats],
) -> Floats:
    """What an exit sends to one of the stop lines that come next."""
    ahead = onward.entries[exit_]
    if len(ahead) == 1:
        return leaving[exit_]
    total = np.sum([arriving[e] for e in ahead], axis=0)
    part: Floats = leaving[exit_] * arriving[entry] / np.maximum(total, 1e-12)
    return part
