"""The safety check of a coordination pattern: what every pattern must pass before it goes to a controller.

A pattern is held against the unit's own record, read from it, and against what the unit says it can hold. It shares
no code with the mapping that makes patterns, nor with the virtual unit that verifies them at the end of a transaction.

Rules, each a member of `PatternRule`:

* cycle: 30 to 255 s; offset: from 0 to below the cycle, and at most 254 s;
* room: phases, rings and sequences that the unit has, a sync point where it knows them;
* sequence: each ring serves each enabled phase of its own once, and no other;
* barrier: every ring serves the phases of one side of a barrier in a row, and the sides in the same order;
* splits: one for each phase of the sequence and no other, 0 to 255 s;
* minimum: a served phase's split holds its min green, yellow and red clearance;
* pedestrian: and walk, pedestrian clearance, yellow and red clearance, where pedestrians are served;
* simultaneity: splits between two barriers are equal over rings. A ring that serves nothing there rests in red,
  as NTCIP 1202 has it for T junctions;
* sum: splits from barrier to barrier make the cycle;
* coordination: a coordinated phase at least, one a ring at most, all between the same barriers, none omitted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from signals.model.controller import (
    Capabilities,
    ControllerPhase,
    ControllerRecord,
    Pattern,
    PhaseOption,
    Split,
    SplitMode,
    SyncPoint,
)

CYCLE_S = (30, 255)
OFFSET_S = (0, 254)
SPLIT_S = (0, 255)


class PatternRule(StrEnum):
    """What a finding is about."""

    CYCLE = "cycle"
    OFFSET = "offset"
    ROOM = "room"
    SEQUENCE = "sequence"
    BARRIER = "barrier"
    SPLITS = "splits"
    MINIMUM = "minimum"
    PEDESTRIAN = "pedestrian"
    SIMULTANEITY = "simultaneity"
    SUM = "sum"
    COORDINATION = "coordination"


@dataclass(frozen=True, slots=True)
class PatternFinding:
    """One rule that a pattern breaks; the message says where, by how much and what to do."""

    rule: PatternRule
    message: str

    def __str__(self) -> str:
        return self.message


def check_pattern(
    record: ControllerRecord, pattern: Pattern, capabilities: Capabilities | None = None
) -> tuple[PatternFinding, ...]:
    """Everything unsafe about a pattern for a unit; empty where it is safe.

    Where the sequence or the splits are malformed, times aren't looked at.
    """
    check = _Check(record, pattern)
    found = [*check.cycle(), *(check.room(capabilities) if capabilities else ())]
    malformed = [*check.sequence(), *check.splits()]
    malformed = malformed or list(check.barriers())
    if malformed:
        return (*found, *malformed)
    return (*found, *check.minimums(), *check.times(), *check.coordination())


class _Check:
    """The rules for one pattern of one unit."""

    def __init__(self, record: ControllerRecord, pattern: Pattern) -> None:
        self.pattern = pattern
        self.enabled = {p.number: p for p in record.phases if p.options & PhaseOption.ENABLED}
        self.split_of: Mapping[int, Split] = {s.phase: s for s in pattern.splits}
        self.side_of = _sides(self.enabled)

    def _is_served(self, phase: int) -> bool:
        return self.split_of[phase].mode != SplitMode.OMITTED

    def cycle(self) -> Iterator[PatternFinding]:
        """Bounds of cycle and offset."""
        cycle_s, offset_s = self.pattern.cycle_s, self.pattern.offset_s
        low, high = CYCLE_S
        if not low <= cycle_s <= high:
            yield _finding(PatternRule.CYCLE, f"cycle of {cycle_s} s; take {low} to {high} s")
        low, high = OFFSET_S
        if not low <= offset_s <= high:
            yield _finding(PatternRule.OFFSET, f"offset of {offset_s} s; take {low} to {high} s")
        elif offset_s >= cycle_s:
            yield _finding(
                PatternRule.OFFSET,
                f"offset of {offset_s} s in a cycle of {cycle_s} s; take it modulo the cycle",
            )

    def room(self, capabilities: Capabilities) -> Iterator[PatternFinding]:
        """What the unit can hold."""
        highest = max((s.phase for s in self.pattern.splits), default=0)
        rings = len(self.pattern.sequence)
        if highest > capabilities.max_phases:
            text = f"split of phase {highest}; the unit has {capabilities.max_phases} phases"
            yield _finding(PatternRule.ROOM, text)
        if rings > capabilities.max_rings:
            text = f"sequence of {rings} rings; the unit has {capabilities.max_rings}"
            yield _finding(PatternRule.ROOM, text)
        if self.pattern.sync_point is not SyncPoint.UNIT and not capabilities.sync_points:
            text = (
                f"offset refers to {self.pattern.sync_point.name}; the unit has a sync point of its own: "
                "restate the offset for it"
            )
            yield _finding(PatternRule.ROOM, text)

    def sequence(self) -> Iterator[PatternFinding]:
        """Each enabled phase once, in its ring."""
        seen: set[int] = set()
        for ring, numbers in enumerate(self.pattern.sequence, start=1):
            for number in numbers:
                phase = self.enabled.get(number)
                if phase is None:
                    text = f"ring {ring} serves phase {number}, which the unit hasn't enabled; leave it out"
                    yield _finding(PatternRule.SEQUENCE, text)
                elif phase.ring != ring:
                    text = f"ring {ring} serves phase {number}, which is of ring {phase.ring}; move it there"
                    yield _finding(PatternRule.SEQUENCE, text)
                elif number in seen:
                    text = f"ring {ring} serves phase {number} more than once; once is all it can"
                    yield _finding(PatternRule.SEQUENCE, text)
                seen.add(number)
        for number in sorted(set(self.enabled) - seen):
            text = (
                f"no ring serves phase {number}; name it in ring {self.enabled[number].ring}, omitted or not"
            )
            yield _finding(PatternRule.SEQUENCE, text)

    def splits(self) -> Iterator[PatternFinding]:
        """One for each enabled phase, and in range."""
        numbers = [s.phase for s in self.pattern.splits]
        for number in sorted({n for n in numbers if numbers.count(n) > 1}):
            yield _finding(PatternRule.SPLITS, f"phase {number} has {numbers.count(number)} splits; give one")
        for number in sorted(set(self.enabled) - set(numbers)):
            yield _finding(PatternRule.SPLITS, f"phase {number} has no split; give one, or omit it")
        for number in sorted(set(numbers) - set(self.enabled)):
            text = f"split of phase {number}, which the unit hasn't enabled; leave it out"
            yield _finding(PatternRule.SPLITS, text)
        low, high = SPLIT_S
        for split in self.pattern.splits:
            if not low <= split.time_s <= high:
                text = f"split of {split.time_s} s for phase {split.phase}; take {low} to {high} s"
                yield _finding(PatternRule.SPLITS, text)

    def barriers(self) -> Iterator[PatternFinding]:
        """The sides in a row, and in one order."""
        orders = []
        for ring, numbers in enumerate(self.pattern.sequence, start=1):
            order = _runs([self.side_of[n] for n in numbers])
            if len(set(order)) < len(order):
                text = f"ring {ring} serves {_listed(numbers)} across a barrier and back; keep each side together"
                yield _finding(PatternRule.BARRIER, text)
                return
            orders.append(order)
        for a, first in enumerate(orders):
            for b, second in enumerate(orders[a + 1 :], start=a + 1):
                both = set(first) & set(second)
                if [s for s in first if s in both] != [s for s in second if s in both]:
                    text = f"rings {a + 1} and {b + 1} pass the barriers in different orders; give them one"
                    yield _finding(PatternRule.BARRIER, text)

    def minimums(self) -> Iterator[PatternFinding]:
        """What the splits of served phases must hold."""
        for number, phase in sorted(self.enabled.items()):
            split = self.split_of[number]
            if split.mode == SplitMode.OMITTED:
                continue
            change = _tenths(phase.yellow_s) + _tenths(phase.red_clear_s)
            vehicles = 10 * phase.min_green_s + change
            people = 10 * (phase.walk_s + phase.pedestrian_clear_s) + change
            if 10 * split.time_s < vehicles:
                text = (
                    f"phase {number} has a split of {split.time_s} s; min green, yellow and red clearance take "
                    f"{vehicles / 10:g} s: lengthen it"
                )
                yield _finding(PatternRule.MINIMUM, text)
            if _serves_people(phase, split) and 10 * split.time_s < people:
                text = (
                    f"phase {number} has a split of {split.time_s} s; walk, pedestrian clearance, yellow and red "
                    f"clearance take {people / 10:g} s: lengthen it"
                )
                yield _finding(PatternRule.PEDESTRIAN, text)

    def times(self) -> Iterator[PatternFinding]:
        """Rings reach barriers together, and the last one with the cycle."""
        total = 0
        for side in sorted(set(self.side_of.values())):
            lengths: dict[int, int] = {}
            for number, phase in self.enabled.items():
                if self.side_of[number] == side and self._is_served(number):
                    lengths[phase.ring] = lengths.get(phase.ring, 0) + self.split_of[number].time_s
            if len(set(lengths.values())) > 1:
                shown = ", ".join(f"ring {ring} {length} s" for ring, length in sorted(lengths.items()))
                text = (
                    f"the side of phase {side} takes {shown}; rings reach a barrier together: make them equal"
                )
                yield _finding(PatternRule.SIMULTANEITY, text)
            total += max(lengths.values(), default=0)
        if total != self.pattern.cycle_s:
            text = f"splits add up to {total} s in a cycle of {self.pattern.cycle_s} s; make them equal"
            yield _finding(PatternRule.SUM, text)

    def coordination(self) -> Iterator[PatternFinding]:
        """Which phases the offset may hang on."""
        numbers = sorted(s.phase for s in self.pattern.splits if s.coordinated)
        rule = PatternRule.COORDINATION
        if not numbers:
            yield _finding(rule, "no phase is coordinated; the offset needs one")
        for number in numbers:
            if not self._is_served(number):
                yield _finding(rule, f"phase {number} is coordinated and omitted; coordinate a served one")
        rings = [self.enabled[n].ring for n in numbers]
        if len(set(rings)) < len(rings):
            yield _finding(
                rule, f"phases {_listed(numbers)} are coordinated, two in one ring; keep one a ring"
            )
        if len({self.side_of[n] for n in numbers}) > 1:
            yield _finding(
                rule, f"phases {_listed(numbers)} are coordinated across a barrier; keep those of one side"
            )


def _finding(rule: PatternRule, message: str) -> PatternFinding:
    return PatternFinding(rule, message)


def _tenths(seconds: float) -> int:
    return round(10 * seconds)


def _serves_people(phase: ControllerPhase, split: Split) -> bool:
    asked = split.mode in (SplitMode.PEDESTRIAN, SplitMode.MAX_AND_PEDESTRIAN)
    return asked or bool(phase.options & PhaseOption.PED_RECALL)


def _sides(enabled: Mapping[int, ControllerPhase]) -> dict[int, int]:
    """The lowest phase between the same barriers, for each phase: concurrency joins them, in either direction."""
    lowest: dict[int, int] = {}
    for start in sorted(enabled):
        reached: set[int] = set()
        edge: Collection[int] = {start} if start not in lowest else ()
        while edge:
            reached |= set(edge)
            edge = {
                b
                for a in edge
                for b in enabled
                if b not in reached and (b in enabled[a].concurrent or a in enabled[b].concurrent)
            }
        lowest |= dict.fromkeys(reached, start)
    return lowest


def _runs(sides: Sequence[int]) -> list[int]:
    return [side for k, side in enumerate(sides) if k == 0 or side != sides[k - 1]]


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
