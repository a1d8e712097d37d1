"""The coordination pattern that shows a plan's program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from signals.controllers.mapping.parsing import Green, Reader, Tape
from signals.controllers.mapping.replay import (
    Moment,
    letters_at,
    moments,
    services_of,
    states_of,
    tenths,
)
from signals.errors import UnmappablePlan
from signals.model.controller import Cabinet, Pattern, Rings, Split, SplitMode
from signals.model.phasing import GREEN, SignalProgram

SHORTEST_CYCLE_S, LONGEST_CYCLE_S = 30, 255
LONGEST_OFFSET_S = 254
THROUGH = frozenset({2, 6})
"""Phases of the major street's through movements, in dual rings."""


def pattern_of(cabinet: Cabinet, program: SignalProgram) -> Pattern:
    """Splits, sequence and offset with which the unit shows a program; phases that it leaves out are omitted.

    The pattern is expanded again and compared: vehicles' letters are those of the program at every tenth of a
    second, save that links turn on red (`s`) wherever they do in the field, changes included. Crossings have the
    unit's own walk and clearance, which must fit into their phase's green, and walks only where the program lets
    people walk beside the same vehicles.

    Raises
    ------
    UnmappablePlan
        Where the unit can't show the program: which, why, and what to do.
    """
    where = f"signal {cabinet.intersection}, program {program.program}"
    try:
        _require_whole(program, len(cabinet.links))
        tape = Tape(cabinet, program)
        greens = Reader(cabinet, tape).read()
        pattern = _pattern(cabinet, program, greens, len(tape))
        _require_same(cabinet, pattern, program, tape)
        _require_walks(cabinet, pattern, program, tape)
    except UnmappablePlan as error:
        raise UnmappablePlan(f"{where}: {error}") from error
    return pattern


def _require_whole(program: SignalProgram, n_links: int) -> None:
    cycle_s = program.cycle_s
    if program.n_links != n_links:
        raise UnmappablePlan(
            f"states of {program.n_links} links, the cabinet has {n_links}; plan with the cabinet's network"
        )
    if not SHORTEST_CYCLE_S <= round(cycle_s, 3) <= LONGEST_CYCLE_S:
        raise UnmappablePlan(
            f"a cycle of {cycle_s:g} s; units hold {SHORTEST_CYCLE_S} to {LONGEST_CYCLE_S} s: "
            "bound the cycle when planning"
        )
    for name, value in (("cycle", cycle_s), ("offset", program.offset_s)):
        if abs(value - round(value)) > 1e-3:
            raise UnmappablePlan(f"{name} of {value:g} s; units hold whole seconds: round it")
    for interval in program.intervals:
        if abs(10 * interval.duration_s - tenths(interval.duration_s)) > 1e-2:
            raise UnmappablePlan(
                f"{interval.state} lasts {interval.duration_s:g} s; units time clearances in tenths: round it"
            )


def _pattern(cabinet: Cabinet, program: SignalProgram, greens: Sequence[Green], cycle: int) -> Pattern:
    greens = _from_barrier(cabinet, greens)
    served = _served(cabinet, greens, cycle)
    splits = {}
    for n, (begin, over) in served.items():
        if (over - begin) % 10:
            raise UnmappablePlan(
                f"phase {n} has {(over - begin) / 10:g} s with yellow and red clearance; units hold splits in whole "
                "seconds: round the stage"
            )
        splits[n] = (over - begin) // 10
    coordinated = _coordinated(cabinet, splits)
    begin = min(served[n][0] for n in coordinated)
    offset = (tenths(program.offset_s) + begin) % cycle
    if offset % 10 or offset > 10 * LONGEST_OFFSET_S:
        raise UnmappablePlan(
            f"phase {min(coordinated, key=lambda n: served[n][0])} begins {offset / 10:g} s after midnight's cycle; "
            f"units hold whole seconds up to {LONGEST_OFFSET_S}: move the plan's offset"
        )
    return Pattern(
        cycle_s=cycle // 10,
        offset_s=offset // 10,
        splits=tuple(
            Split(p.number, splits[p.number], _mode(p.walk_s), p.number in coordinated)
            if p.number in splits
            else Split(p.number, 0, SplitMode.OMITTED)
            for p in cabinet.record.phases
        ),
        sequence=_sequence(cabinet, served),
    )


def _mode(walk_s: int) -> SplitMode:
    return SplitMode.MAX_AND_PEDESTRIAN if walk_s else SplitMode.MAX_VEHICLE


def _from_barrier(cabinet: Cabinet, greens: Sequence[Green]) -> list[Green]:
    """Greens from the first after a barrier on: that into the side of phase 2, or of the sequence's first phase."""
    groups = cabinet.record.groups
    last = len(greens) - 1
    fresh = [k for k in range(len(greens)) if greens[k].phases.isdisjoint(greens[k - 1].phases)]
    first = next(
        (k for k in fresh if greens[k].phases <= groups[0] and not greens[k - 1].phases <= groups[0]), None
    )
    if first is None:
        if not fresh:
            raise UnmappablePlan(
                f"of phases {sorted(greens[last].phases)} and those after them one is always green; "
                "rings end all of them at a barrier once a cycle"
            )
        first = fresh[0]
    return [*greens[first:], *greens[:first]]


def _served(cabinet: Cabinet, greens: Sequence[Green], cycle: int) -> dict[int, tuple[int, int]]:
    """Begin and end [tenths] of each served phase with its clearance, in the order in which they begin."""
    groups = cabinet.record.groups
    sides = [next(g for g in groups if green.phases <= g) for green in greens]
    passed = [side for k, side in enumerate(sides) if k == 0 or side != sides[k - 1]]
    if len(set(passed)) < len(passed):
        raise UnmappablePlan(
            f"it serves one street in {len(passed) - len(set(passed)) + 1} parts with another between; rings pass each "
            "barrier once a cycle: keep the stages of a street together"
        )
    zero = greens[0].begin
    found: dict[int, tuple[int, int]] = {}
    for k, green in enumerate(greens):
        for n in sorted(green.phases):
            begin, over = ((t - zero) % cycle for t in (green.begin, green.over))
            over = over or cycle
            if n not in found:
                found[n] = (begin, over)
            elif n in greens[k - 1].phases and k:
                found[n] = (found[n][0], over)
            else:
                raise UnmappablePlan(
                    f"phase {n} is served twice a cycle; rings serve it once: join its stages"
                )
    return {n: (begin + zero, over + zero) for n, (begin, over) in found.items()}


def _coordinated(cabinet: Cabinet, split_s: Mapping[int, int]) -> frozenset[int]:
    """Through phases of the major street, or in a single ring (or without them) the longest, with its neighbours."""
    record = cabinet.record
    if len(record.sequence) > 1 and THROUGH & set(split_s):
        return THROUGH & frozenset(split_s)
    longest = max(split_s, key=lambda n: (split_s[n], -n))
    return frozenset({longest})


def _sequence(cabinet: Cabinet, served: Mapping[int, tuple[int, int]]) -> Rings:
    """Phases of each ring in the order of service, omitted ones where the record has them on their side."""
    record = cabinet.record
    order = list(dict.fromkeys(g for n in served for g in record.groups if n in g))
    order += [g for g in record.groups if g not in order]
    rings = []
    for ring in record.sequence:
        numbers: list[int] = []
        for group in order:
            own = [n for n in ring if n in group]
            half = [n for n in served if n in own]
            for k, n in enumerate(own):
                if n not in half:
                    half.insert(half.index(own[k - 1]) + 1 if k else 0, n)
            numbers += half
        rings.append(tuple(numbers))
    return tuple(rings)


# ------------------------------------------------------------------------------------------- comparison


def _require_same(cabinet: Cabinet, pattern: Pattern, program: SignalProgram, tape: Tape) -> None:
    """Vehicles' letters agree on the clock, at every tenth of a second."""
    shown = states_of(cabinet, pattern)
    again = Tape(cabinet, shown)
    shift = tenths(program.offset_s) - tenths(shown.offset_s)
    if len(again) != len(tape):
        raise UnmappablePlan(
            f"its phases take {len(again) / 10:g} s of a cycle of {len(tape) / 10:g} s, as rings add them up; keep the "
            "changes of the program in place"
        )
    for t in range(len(tape)):
        if tape[t] != again[t + shift]:
            link = next(i for i, (a, b) in enumerate(zip(tape[t], again[t + shift], strict=True)) if a != b)
            raise UnmappablePlan(
                f"at second {t / 10:g} of its cycle link {link} shows {tape[t][link]}, where the unit would show "
                f"{again[t + shift][link]}; keep the changes of the program in place"
            )


def _require_walks(cabinet: Cabinet, pattern: Pattern, program: SignalProgram, tape: Tape) -> None:
    """Walk and clearance fit into the green, and people walk beside the vehicles of the program's own walks."""
    services = services_of(cabinet.record, pattern)
    cycle = 10 * pattern.cycle_s
    for service in services:
        phase = cabinet.record.by_number[service.phase]
        if service.walk and service.green < 10 * (phase.walk_s + phase.pedestrian_clear_s):
            raise UnmappablePlan(
                f"phase {phase.number} is green for {service.green / 10:g} s, walk and clearance of its crossing take "
                f"{phase.walk_s} and {phase.pedestrian_clear_s} s; lengthen it by "
                f"{phase.walk_s + phase.pedestrian_clear_s - service.green / 10:g} s"
            )
    sequence = moments(services, cycle)
    shown = letters_at(cabinet, sequence)
    for link in cabinet.links:
        if link.pedestrian:
            beside = {tape.vehicles(i.state) for i in program.intervals if i.state[link.link] in GREEN}
            _require_beside(link.link, beside, tape, sequence, shown)


def _require_beside(
    link: int, beside: set[str], tape: Tape, sequence: Sequence[Moment], shown: Sequence[str]
) -> None:
    for moment, state in zip(sequence, shown, strict=True):
        if state[link] in GREEN and tape.vehicles(state) not in beside:
            raise UnmappablePlan(
                f"the unit would let people walk over link {link} beside {tape.vehicles(state)}, at second "
                f"{moment.begin / 10:g} from its barrier, which the program never does; keep the order of its stages"
            )
