"""The controller that would run a field's program: its phases, and the signal's links on them."""

from __future__ import annotations

import math
from collections.abc import Mapping

from signals.controllers.mapping.blocks import (
    SHORTEST_YELLOW,
    Layout,
    dual_layout,
    single_layout,
    stages_in_place,
    walkers,
)
from signals.controllers.mapping.links import wire_vehicles
from signals.controllers.mapping.replay import Service
from signals.errors import UnmappablePlan
from signals.model.controller import Cabinet, ControllerPhase, ControllerRecord, LinkWiring, PhaseOption
from signals.model.network import Crossing, Intersection, Network, Turn
from signals.model.phasing import GREEN

MIN_GREEN_S = 5
WALK_S, SHORTEST_WALK_S = 7, 4
"""Walk that pedestrians get, and the least of it where the field's own green is short (MUTCD)."""
WALKING_SPEED_MPS = 1.07
SHORTEST_CLEARANCE_S = 3
"""A flashing don't walk below this isn't noticed."""
LONGEST_GREEN_S = 255


def cabinet_of(intersection: Intersection, network: Network) -> Cabinet:
    """The unit that would run the program in place, and how the signal's links hang on it.

    Dual rings where the program follows them, otherwise a single ring with a phase a stage. The unit shows exactly
    the vehicles' letters of the program at every tenth of a second; a link that may turn on red in a part of its
    red only is held back for all of it. Crossings get the unit's own walk and clearance.

    Raises
    ------
    UnmappablePlan
        Where neither shows the program; with the reasons.
    """
    plan = stages_in_place(intersection)
    try:
        return _cabinet(intersection, dual_layout(intersection, network, plan))
    except UnmappablePlan as error:
        dual = str(error)
    try:
        return _cabinet(intersection, single_layout(intersection, plan))
    except UnmappablePlan as error:
        raise UnmappablePlan(
            f"signal {intersection.id}: no controller shows its program. Dual ring: {dual}. Single ring: {error}. "
            "Change the program in place so that links end and begin with stages, or leave the signal as it is"
        ) from error


def _cabinet(intersection: Intersection, layout: Layout) -> Cabinet:
    services = _services(layout)
    crossings = _crossing_phases(intersection, layout)
    record = ControllerRecord(
        tuple(_phase(intersection, layout, services[n], crossings) for n in sorted(services)),
        layout.rings,
    )
    vehicles = [i for i in range(intersection.n_links) if i not in walkers(intersection)]
    wired = wire_vehicles(layout, tuple(services.values()), vehicles)
    for link, phases in crossings.items():
        wired[link] = LinkWiring(link, phases, pedestrian=True)
    return Cabinet(intersection.id, record, tuple(wired[i] for i in range(intersection.n_links)))


def _services(layout: Layout) -> dict[int, Service]:
    """The field's green of each phase; one that ends unseen is cleared like the others, before the next begins."""
    n = len(layout.blocks)
    yellows = [b.yellow for b in layout.blocks if b.yellow]
    reds = [b.red or 0 for b in layout.blocks if b.yellow]
    unseen = (max(yellows, default=SHORTEST_YELLOW), max(reds, default=0))
    found = {}
    for ring, numbers in enumerate(layout.rings, start=1):
        for number in numbers:
            blocks = layout.served(number)
            first, last = layout.blocks[blocks[0]], layout.blocks[blocks[-1]]
            yellow, red = (last.yellow, last.red or 0) if last.yellow else unseen
            over = layout.blocks[(blocks[-1] + 1) % n].begin
            green = (over - first.begin - 1) % layout.cycle + 1 - yellow - red
            if green < 10:
                raise UnmappablePlan(
                    f"phase {number} would be green for {green / 10:g} s beside yellow and red clearance of "
                    f"{(yellow + red) / 10:g} s; lengthen the stage {first.state}"
                )
            found[number] = Service(number, ring, first.begin, green, yellow, red)
    return found


def _phase(
    intersection: Intersection,
    layout: Layout,
    service: Service,
    crossings: Mapping[int, tuple[int, ...]],
) -> ControllerPhase:
    number = service.phase
    green_s, change_s = service.green // 10, (service.yellow + service.red) / 10
    stated_s = max(layout.blocks[k].stated_s for k in layout.served(number))
    options = PhaseOption.ENABLED | PhaseOption.MAX_VEHICLE_RECALL
    if len(layout.rings) > 1 and number % 2 == 0:
        options |= PhaseOption.DUAL_ENTRY
    walk_s = clear_s = 0
    lengths = [c.length_m for c in intersection.crossings if number in crossings[c.link]]
    if lengths:
        clear_s = max(math.ceil(max(lengths) / WALKING_SPEED_MPS - change_s - 1e-9), SHORTEST_CLEARANCE_S)
        walk_s = min(WALK_S, green_s - clear_s)
        if walk_s < SHORTEST_WALK_S:
            raise UnmappablePlan(
                f"phase {number} is green for {green_s} s, too little for {SHORTEST_WALK_S} s of walk and "
                f"{clear_s} s of clearance over {max(lengths):.1f} m; lengthen its green"
            )
        options |= PhaseOption.PED_RECALL | PhaseOption.ACTUATED_REST_IN_WALK
    side = next(s for s in layout.sides if number in s)
    own = next(frozenset(ring) for ring in layout.rings if number in ring)
    return ControllerPhase(
        number=number,
        ring=service.ring,
        concurrent=side - own,
        min_green_s=min(max(MIN_GREEN_S, math.ceil(stated_s - 1e-9)), green_s),
        yellow_s=service.yellow / 10,
        red_clear_s=service.red / 10,
        walk_s=walk_s,
        pedestrian_clear_s=clear_s,
        max_green_1_s=min(green_s, LONGEST_GREEN_S),
        max_green_2_s=min(green_s, LONGEST_GREEN_S),
        options=options,
    )


# --------------------------------------------------------------------------------------------- pedestrians


def _crossing_phases(intersection: Intersection, layout: Layout) -> dict[int, tuple[int, ...]]:
    """Phases in whose walk each crossing is green: those that begin where the field lets people walk."""
    return {c.link: _walks_with(intersection, layout, c) for c in intersection.crossings}


def _walks_with(intersection: Intersection, layout: Layout, crossing: Crossing) -> tuple[int, ...]:
    link = crossing.link
    blocks = layout.blocks
    walking = [_is_walking(layout, k, link) for k in range(len(blocks))]
    found = []
    for k in range(len(blocks)):
        if not walking[k] or walking[k - 1]:
            continue
        starting = blocks[k].phases - blocks[k - 1].phases
        safe = [n for n in sorted(starting) if not _meets_protected(intersection, layout, n, link)]
        if not safe:
            raise UnmappablePlan(
                f"crossing {crossing.id} (link {link}) would walk with phases {sorted(blocks[k].phases)}, of which "
                f"none begins with it and keeps conflicting protected greens away; let a stage of its own begin there"
            )
        found.append(max(safe, key=lambda n: (_turns_across(intersection, layout, n, link), -n)))
    return tuple(sorted(set(found)))


def _is_walking(layout: Layout, k: int, link: int) -> bool:
    block = layout.blocks[k]
    return any(letter in GREEN and block.begin <= begin < block.end for begin, letter in layout.changes(link))


def _meets_protected(intersection: Intersection, layout: Layout, phase: int, link: int) -> bool:
    """Whether a vehicle that doesn't give way to the crossing has a protected green while the phase is green."""
    conflicts = intersection.conflicts
    return any(
        layout.blocks[k].state[i] == "G" and conflicts.conflict(i, link) and not conflicts.may_yield(i, link)
        for k in layout.served(phase)
        for i in intersection.vehicle_links
    )


def _turns_across(intersection: Intersection, layout: Layout, phase: int, link: int) -> int:
    """How many right turns of a phase cross the crossing: it lies beside that phase."""
    rights = {i for m in intersection.movements if m.turn is Turn.RIGHT for i in m.links}
    return sum(layout.own.get(i) == phase and intersection.conflicts.conflict(i, link) for i in rights)
