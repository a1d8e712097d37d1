"""Which phases a program shows when: its letters read against those that a cabinet can show.

Times are tenths of a second from the start of the program.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from signals.controllers.mapping.replay import tenths
from signals.controllers.virtual.wiring import Heads
from signals.errors import UnmappablePlan
from signals.model.controller import Cabinet
from signals.model.phasing import SignalProgram


@dataclass(frozen=True, slots=True)
class Green:
    """Phases that are green together from `begin` until the change at `end`; the next ones begin at `over`."""

    phases: frozenset[int]
    begin: int
    end: int
    over: int


class Tape:
    """A program's vehicle letters, tenth by tenth, as a cabinet's heads would write them."""

    def __init__(self, cabinet: Cabinet, program: SignalProgram) -> None:
        self._red = [link.red for link in cabinet.links]
        self._walks = [link.pedestrian for link in cabinet.links]
        states: list[str] = []
        for interval in program.intervals:
            states += [self.vehicles(interval.state)] * tenths(interval.duration_s)
        self._states = states

    def __len__(self) -> int:
        return len(self._states)

    def __getitem__(self, time: int) -> str:
        return self._states[time % len(self._states)]

    def vehicles(self, state: str) -> str:
        """A state with crossings red, and red links as the cabinet shows them."""
        return "".join(
            red if walks or letter in "rs" else "y" if letter == "Y" else letter
            for letter, red, walks in zip(state, self._red, self._walks, strict=True)
        )

    def starts(self) -> Iterator[int]:
        """Times at which the letters change."""
        return (t for t in range(len(self)) if self[t] != self[t - 1])


class Reader:
    """Reads a tape as a round of greens."""

    def __init__(self, cabinet: Cabinet, tape: Tape) -> None:
        self._cabinet, self._tape = cabinet, tape
        self._phases = cabinet.record.by_number
        self._ring = {p.number: p.ring for p in cabinet.record.phases}
        self._shown = {phases: self._heads(phases)[1] for phases in self._together()}

    def read(self) -> list[Green]:
        """Greens in the order of the tape, the first beginning at the first change that begins some.

        Raises
        ------
        UnmappablePlan
            Where no round of the cabinet's phases shows the tape; says how far the best of them came.
        """
        furthest = -1
        for begin in self._tape.starts():
            for phases, letters in self._shown.items():
                if letters != self._tape[begin]:
                    continue
                found, reached = self._follow(phases, begin)
                if found:
                    return found
                furthest = max(furthest, reached)
        if furthest < 0:
            raise UnmappablePlan(
                "none of its states is one that the unit's phases show together; "
                "keep the stages of the program in place"
            )
        raise UnmappablePlan(
            f"from second {furthest / 10 % (len(self._tape) / 10):g} of its cycle on, it shows "
            f"{self._tape[furthest]}, which the unit's phases don't show next: a stage that isn't the field's, or "
            f"other clearances than the unit's; keep the stages, and the changes of the program in place"
        )

    def _together(self) -> Iterator[frozenset[int]]:
        """Phases that may be green at once: one of each ring that has some between two barriers."""
        for group in self._cabinet.record.groups:
            rings: dict[int, list[int]] = {}
            for n in sorted(group):
                rings.setdefault(self._ring[n], []).append(n)
            for chosen in product(*rings.values()):
                if all(b in self._phases[a].concurrent for a in chosen for b in chosen if a != b):
                    yield frozenset(chosen)

    def _heads(self, phases: frozenset[int]) -> tuple[Heads, str]:
        heads = Heads(self._cabinet)
        return heads, heads.letters(phases, frozenset(), frozenset())

    def _follow(self, phases: frozenset[int], begin: int) -> tuple[list[Green], int]:
        """The round that begins so; empty where there is none, with the time up to which there was."""
        first, total = phases, begin + len(self._tape)
        furthest = begin
        # depth first: each entry is the greens so far, the phases now on, and since when
        waiting: list[tuple[list[Green], frozenset[int], int]] = [([], phases, begin)]
        while waiting:
            done, on, since = waiting.pop()
            if since == total and on == first and done:
                return done, total
            if since >= total or len(done) > 2 * len(self._phases):
                continue
            until = next((t for t in range(since, total + 1) if self._tape[t] != self._shown[on]), None)
            if until is None:
                continue
            furthest = max(furthest, until)
            for following in self._shown:
                over = self._over(on, following, since, until)
                if over is not None:
                    leaving = on - following
                    end = over - max(self._change(n) for n in leaving)
                    waiting.append(([*done, Green(on, since, end, over)], following, over))
        return [], furthest

    def _change(self, phase: int) -> int:
        return tenths(self._phases[phase].yellow_s) + tenths(self._phases[phase].red_clear_s)

    def _over(self, on: frozenset[int], following: frozenset[int], since: int, until: int) -> int | None:
        """When the change to `following` is over, if the tape shows it at the end of the letters of `on`."""
        if on == following or self._shown[on] == self._shown[following]:
            return None
        letters = self._between(on, following)
        unseen = next((k for k, c in enumerate(letters) if c != self._shown[on]), len(letters))
        start = until - unseen
        over = start + len(letters)
        if start <= since or self._tape[over] != self._shown[following]:
            return None
        return over if all(self._tape[start + k] == c for k, c in enumerate(letters)) else None

    def _between(self, on: frozenset[int], following: frozenset[int]) -> Sequence[str]:
        """Letters of the change, tenth by tenth: all that leave are clear at its end."""
        leaving = on - following
        length = max(self._change(n) for n in leaving)
        heads, _ = self._heads(on)
        found = []
        for k in range(length):
            greens, yellows = set(on & following), set()
            for n in leaving:
                since = k - (length - self._change(n))
                if since < 0:
                    greens.add(n)
                elif since < tenths(self._phases[n].yellow_s):
                    yellows.add(n)
            nexts = {
                n
                for n in following - on
                if any(self._ring[m] == self._ring[n] and m not in greens for m in leaving)
            }
            found.append(heads.letters(greens, yellows, frozenset(), nexts))
        return found
