"""The phases of a unit in tenths of a second and bit masks, and the order in which its rings serve them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from signals.controllers.virtual.database import Values, integer
from signals.model.controller import ControllerRecord, PhaseOption


@dataclass(frozen=True, slots=True)
class Phase:
    """A phase as the engine times it: tenths of a second; `conflicts` has a bit `1 << n` for each phase n."""

    number: int
    ring: int
    bit: int
    conflicts: int
    min_green: int
    passage: int
    max_1: int
    max_2: int
    yellow: int
    red: int
    walk: int
    ped_clear: int
    options: PhaseOption
    clearance: int


Phases = Mapping[int, Phase]


def read_phases(record: ControllerRecord, values: Values) -> dict[int, Phase]:
    """The enabled phases of the record with the timings that the database holds now."""
    numbers = [
        p.number
        for p in record.phases
        if integer(values, "phaseOptions", p.number) & PhaseOption.ENABLED
        and integer(values, "phaseRing", p.number)
    ]
    lists = {n: set(_octets(values, "phaseConcurrency", n)) for n in numbers}
    found = {}
    for n in numbers:
        yellow, red = integer(values, "phaseYellowChange", n), integer(values, "phaseRedClear", n)
        conflicts = (m for m in numbers if m != n and not (m in lists[n] and n in lists[m]))
        found[n] = Phase(
            number=n,
            ring=integer(values, "phaseRing", n) - 1,
            bit=1 << n,
            conflicts=sum(1 << m for m in conflicts),
            min_green=10 * integer(values, "phaseMinimumGreen", n),
            passage=integer(values, "phasePassage", n),
            max_1=10 * integer(values, "phaseMaximum1", n),
            max_2=10 * integer(values, "phaseMaximum2", n),
            yellow=yellow,
            red=red,
            walk=10 * integer(values, "phaseWalk", n),
            ped_clear=10 * integer(values, "phasePedestrianClear", n),
            options=PhaseOption(integer(values, "phaseOptions", n)),
            clearance=yellow + red,
        )
    return found


@dataclass(frozen=True, slots=True)
class Layout:
    """A sequence in force: phases ring by ring, and which of them lie between the same barriers.

    Fields
    ------
    rings : phases of each ring in the order of service
    groups : how many stretches between barriers there are
    group_of : the stretch of each phase, from 0, in the order of service
    served : `served[ring][group]`, the phases of a ring between two barriers
    """

    rings: tuple[tuple[int, ...], ...]
    groups: int
    group_of: Mapping[int, int]
    served: tuple[tuple[tuple[int, ...], ...], ...]


def read_layout(phases: Phases, values: Values, sequence: int) -> Layout | None:
    """The layout of a row of sequenceData; None where it can't be served."""
    rings = integer(values, "maxRings")
    rows = [_octets(values, "sequenceData", sequence, r + 1) for r in range(rings)]
    return lay_out(phases, [tuple(row) for row in rows])


def lay_out(phases: Phases, rings: Sequence[Sequence[int]]) -> Layout | None:
    """The layout of a sequence.

    None unless each ring serves each of its phases once, and passes the barriers in the order of the other rings.
    """
    kept = [tuple(n for n in ring if n in phases) for ring in rings]
    if sorted(n for ring in kept for n in ring) != sorted(phases):
        return None
    if any(phases[n].ring != r for r, ring in enumerate(kept) for n in ring):
        return None
    component = _components(phases)
    order: list[int] = []
    visits = []
    for ring in kept:
        visit = [component[n] for k, n in enumerate(ring) if k == 0 or component[n] != component[ring[k - 1]]]
        if len(set(visit)) != len(visit):
            return None
        for k, group in enumerate(visit):
            if group not in order:
                behind = [order.index(g) for g in visit[k + 1 :] if g in order]
                order.insert(order.index(visit[k - 1]) + 1 if k else min(behind, default=len(order)), group)
        visits.append(visit)
    place = {group: k for k, group in enumerate(order)}
    if any([place[g] for g in visit] != sorted(place[g] for g in visit) for visit in visits):
        return None
    group_of = {n: place[component[n]] for n in phases}
    served = tuple(
        tuple(tuple(n for n in ring if group_of[n] == g) for g in range(len(order))) for ring in kept
    )
    return Layout(tuple(kept), len(order), group_of, served)


def _components(phases: Phases) -> dict[int, int]:
    """A number for each phase, the same for those that a chain of concurrent phases joins."""
    component: dict[int, int] = {}
    for start in phases:
        edge = [] if start in component else [start]
        while edge:
            n = edge.pop()
            component[n] = start
            edge += [
                m for m in phases if m not in component and m not in edge and not phases[n].conflicts >> m & 1
            ]
    return component


def _octets(values: Values, name: str, *index: int) -> bytes:
    value = values.get((name, index), b"")
    assert isinstance(value, bytes), name
    return value
