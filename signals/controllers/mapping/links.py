"""Which phases a vehicle's link hangs on: the fewest with which a replay shows the field's letters."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import combinations, product

from signals.controllers.mapping.blocks import Layout
from signals.controllers.mapping.replay import Moment, Service, letters_at, moments
from signals.errors import UnmappablePlan
from signals.model.controller import Cabinet, ControllerPhase, ControllerRecord, LinkWiring
from signals.model.phasing import GREEN
from signals.timing.rings import OPPOSING

NO_RECORD = ControllerRecord((ControllerPhase(1, 1, frozenset(), 5, 3.0, 0.0),), ((1,),))
"""Heads ask a cabinet for its links alone."""
KNOWN = frozenset("Ggyrs")


def wire_vehicles(
    layout: Layout, services: Sequence[Service], links: Collection[int]
) -> dict[int, LinkWiring]:
    """The wiring of each link.

    Raises
    ------
    UnmappablePlan
        Where a link shows what no wiring does; says which, when and what.
    """
    starts = []
    now = 0
    for interval in layout.intervals:
        starts.append(now)
        now += round(10 * interval.duration_s)
    sequence = moments(services, layout.cycle, starts)
    states = []
    k = 0
    for moment in sequence:
        while k + 1 < len(starts) and starts[k + 1] <= moment.begin:
            k += 1
        states.append(layout.intervals[k].state)
    return {link: _wire(layout, sequence, link, [s[link] for s in states]) for link in links}


def _wire(layout: Layout, sequence: Sequence[Moment], link: int, letters: Sequence[str]) -> LinkWiring:
    target = ["y" if c == "Y" else c for c in letters]
    unknown = sorted(set(target) - KNOWN)
    if unknown:
        raise UnmappablePlan(f"link {link} shows {', '.join(unknown)}, which no phase does; show red instead")
    red = "r" if "r" in target or "s" not in target else "s"
    target = [red if c in "rs" else c for c in target]
    closest = -1
    shown = ""
    for wiring in _candidates(layout, link, red):
        found = letters_at(Cabinet("", NO_RECORD, (wiring,)), sequence)
        k = next((k for k, (a, b) in enumerate(zip(found, target, strict=True)) if a != b), None)
        if k is None:
            return wiring
        if k > closest:
            closest, shown = k, found[k]
    if closest < 0:
        raise UnmappablePlan(f"link {link} is green with no phase, or with phases in which it is red too")
    raise UnmappablePlan(
        f"link {link} shows {target[closest]} at second {sequence[closest].begin / 10:g} of the cycle (from the "
        f"start of {layout.blocks[0].state}), where phases show {shown}"
    )


def _candidates(layout: Layout, link: int, red: str) -> Iterator[LinkWiring]:
    """Wirings that show the right letters in every block: on the link's own phase if possible, then on the fewest.

    A left turn is a permitted green with the through phase that it gives way to rather than with its neighbour, so
    that it keeps its arrow while that phase is red; other links are one with their own phase.
    """
    blocks = layout.blocks
    letters = [block.state[link] for block in blocks]
    green = [b.phases for b, c in zip(blocks, letters, strict=True) if c in GREEN]
    dark = [b.phases for b, c in zip(blocks, letters, strict=True) if c not in GREEN]
    permitted = [b.phases for b, c in zip(blocks, letters, strict=True) if c == "g"]
    protected = [b.phases for b, c in zip(blocks, letters, strict=True) if c == "G"]
    own = layout.own.get(link, 0)
    against = own + 1 if own and own not in OPPOSING else own
    covers = sorted(_covers(green, dark), key=lambda c: (own not in c, len(c), against not in c))
    modifiers = sorted(_covers(permitted, protected), key=lambda c: (len(c), against not in c))
    for phases, makes_permitted in product(covers, modifiers):
        held = len(phases) > 1
        cleared = _cleared(layout, link, frozenset(phases))
        yield LinkWiring(link, phases, frozenset(makes_permitted), held, cleared, red=red)


def _cleared(layout: Layout, link: int, phases: frozenset[int]) -> frozenset[tuple[int, int]]:
    """Pairs of phases between which the field shows yellow; a link stays green between any others, as plans have it."""
    found: set[tuple[int, int]] = set()
    for k, block in enumerate(layout.blocks):
        after = layout.blocks[(k + 1) % len(layout.blocks)]
        leaving, coming = block.phases & phases, after.phases & phases
        between = [
            c
            for b, c in layout.changes(link)
            if block.end <= b < after.begin + layout.cycle * (after is layout.blocks[0])
        ]
        if leaving and coming and leaving.isdisjoint(coming) and not set(between) <= GREEN:
            found.update(product(leaving, coming))
    return frozenset(found)


def _covers(
    wanted: Sequence[frozenset[int]], unwanted: Iterable[frozenset[int]]
) -> Iterator[tuple[int, ...]]:
    """Sets of phases of which each wanted block has one and no unwanted block any."""
    allowed = sorted(frozenset[int]().union(*wanted) - frozenset[int]().union(*unwanted))
    for size in range(len(allowed) + 1):
        for chosen in combinations(allowed, size):
            if all(not block.isdisjoint(chosen) for block in wanted):
                yield chosen
