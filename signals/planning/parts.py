"""Parts of a large network, small enough to be handed to another process: some signals and the roads between them."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Collection
from dataclasses import replace

from signals.model.network import Connection, Network

FARTHEST_M = 3000.0
"""Roads are followed so far beyond a signal of the part, which is as far as a platoon is."""


class NetworkParts:
    """Cuts parts out of a network; what is looked up for every part is made once."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._from: dict[str, list[int]] = defaultdict(list)
        self._of_signal: dict[str, list[int]] = defaultdict(list)
        for position, connection in enumerate(network.connections):
            if connection.signal is None:
                self._from[connection.from_edge].append(position)
            else:
                self._of_signal[connection.signal].append(position)

    def part(self, signals: Collection[str]) -> Network:
        """The network of some signals alone, whole as far as these are concerned.

        It has their intersections, the edges that lead to and from them, and roads from their exits on to the next
        signals or for `FARTHEST_M`. Connections are numbered anew; other signals' are left out.

        Raises
        ------
        KeyError
            Where a signal isn't in the network.
        """
        network = self._network
        intersections = {s: network.intersections[s] for s in sorted(signals)}
        kept = {p for s in intersections for p in self._of_signal[s]}
        edges = {m.approach for i in intersections.values() for m in i.movements}
        for position in kept:
            edges.add(network.connections[position].from_edge)
        heap = [(0.0, edge) for edge in sorted({network.connections[p].to_edge for p in kept})]
        followed: set[str] = set()
        while heap:
            length_m, edge = heapq.heappop(heap)
            if edge in followed or length_m > FARTHEST_M:
                continue
            followed.add(edge)
            for position in self._from[edge]:
                kept.add(position)
                edges.add(network.connections[position].to_edge)
                onward_m = length_m + network.edges[edge].length_m
                heapq.heappush(heap, (onward_m, network.connections[position].to_edge))
        edges |= followed
        number = {old: new for new, old in enumerate(sorted(kept))}

        def renumbered(connection: Connection) -> Connection:
            return replace(
                connection,
                yields_to=tuple(number[p] for p in connection.yields_to if p in number),
                foes=tuple(number[p] for p in connection.foes if p in number),
            )

        return replace(
            network,
            edges={e: network.edges[e] for e in sorted(edges)},
            connections=tuple(renumbered(network.connections[p]) for p in sorted(kept)),
            intersections={
                s: replace(
                    i,
                    connections=tuple(
                        tuple(number[p] for p in paths if p in number) for paths in i.connections
                    ),
                )
                for s, i in intersections.items()
            },
        )
