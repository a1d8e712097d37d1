"""The ring engine: what each ring serves next, actuated and coordinated.

A green ends only when min green, walk and pedestrian clearance are served, whatever pattern, preempt or call asks
for. Between barriers each ring goes on by itself. At a barrier the rings cross together: their clearances end in the
same tenth, so that the ring with the longest clearance ends its green first.
"""

from __future__ import annotations

from collections.abc import Sequence

from signals.controllers.virtual.events import Code
from signals.controllers.virtual.intervals import Intervals
from signals.controllers.virtual.phases import Phase
from signals.controllers.virtual.ring import NEVER, Interval, Ped, Ring


class Engine(Intervals):
    """Rings that serve calls, free or by a plan."""

    def run(self, now: int, present: int, ped_calls: int) -> tuple[int, bool]:
        """Go on to tick `now`: when to be run again if no call changes, and whether local zero has come."""
        zero = False
        if self.timer is not None:
            zero = self.timer.advance(now - self.now, self._room(), self._steady(), self._dwelling())
        self.now = now
        self._take_calls(present, ped_calls)
        self._end_intervals()
        self._begin_greens()
        self._demanded = self._demand()
        self._set_slacks()
        for ring in self.rings:
            if ring.interval is Interval.GREEN:
                self._time_green(ring)
        self._move_within_group()
        self._cross()
        self._begin_greens()
        self._recycle_walks()
        return self._wake(), zero

    # -------------------------------------------------------------------------------------------- decisions

    def _set_slacks(self) -> None:
        longest = 0
        for ring in self.rings:
            if ring.phase is not None and ring.in_green:
                longest = max(longest, ring.phase.clearance)
        for ring in self.rings:
            ring.slack = longest - ring.phase.clearance if ring.phase is not None and ring.in_green else 0

    def _why_ready(self, ring: Ring, slack: int) -> int | None:
        """The code with which a green may end in `slack` ticks, 0 for a preempt; None where it may not."""
        phase = ring.phase
        assert phase is not None
        resting = ring.ped is Ped.WALK and ring.walk_at <= self.now
        if resting or ring.must(self.now) > slack or self.hold & phase.bit:
            return None
        if self.special is not None:
            return None if self.special & phase.bit else 0
        if self.timer is not None:
            if self._released(ring, phase) or self._left(ring) <= slack:
                return Code.FORCE_OFF
            if self._orders.coordinated & phase.bit:
                return None
        if ring.gap_at <= self.now:
            return Code.GAP_OUT
        return Code.MAX_OUT if ring.max_at <= self.now else None

    def _next_in_group(self, ring: Ring, *, ahead: int = 0, again: bool = False) -> tuple[Phase, int] | None:
        """The next phase that the ring has to serve before the barrier, and its force-off.

        Its own phase ends `ahead` from now. With `again` it is one that comes before that in the sequence.
        """
        served = self.layout.rings[ring.index]
        clearance = ring.phase.clearance if ring.phase is not None else 0
        last = ring.place + (ring.interval is Interval.IDLE)
        places = range(0 if again else ring.place + 1, last if again else len(served))
        for place in places:
            phase = self.phases[served[place]]
            if self.layout.group_of[phase.number] == self.group and self._demanded & phase.bit:
                force = self._fit(phase, clearance, ahead)
                if force:
                    return phase, force
        return None

    def _end_green(self, ring: Ring, code: int, chosen: tuple[Phase, int] | None, delay: int) -> None:
        phase = ring.phase
        assert phase is not None
        ring.code = code
        ring.next, ring.next_force = chosen if chosen is not None else (None, NEVER)
        ring.end_at = self.now + delay
        if not delay:
            self._begin_yellow(ring, phase)

    def _move_within_group(self) -> None:
        waiting = sum(r.next.bit for r in self.rings if r.next is not None and r.interval is Interval.IDLE)
        for ring in self.rings:
            if ring.interval is Interval.IDLE and ring.next is None:
                chosen = self._next_in_group(ring)
                if chosen is not None:
                    ring.next, ring.next_force = chosen
            elif ring.in_green and ring.phase is not None:
                code = self._why_ready(ring, 0)
                if code is None:
                    continue
                chosen = self._next_in_group(ring)
                if chosen is not None or waiting & ring.phase.conflicts or self.special == 0:
                    self._end_green(ring, code, chosen, 0)

    def _cross(self) -> None:
        """Cross the barrier together, once each ring is ready and another group has somebody to serve."""
        codes: list[int | None] = []
        for ring in self.rings:
            code: int | None = None if ring.clearing else 0
            if ring.in_green:
                code = self._why_ready(ring, ring.slack)
                if code is not None and self._next_in_group(ring, ahead=ring.slack) is not None:
                    code = None
            codes.append(code)
        ready = [code for code in codes if code is not None]
        if len(ready) == len(codes):
            for step in range(1, self.layout.groups):
                group = (self.group + step) % self.layout.groups
                chosen = self._choose(group)
                if chosen is not None:
                    self._enter(group, chosen, ready)
                    return
            self._serve_again(codes)
        elif not self._demanded & ~self._group_masks[self.group]:
            self._serve_again(codes)

    def _choose(self, group: int) -> list[tuple[Phase, int] | None] | None:
        """What each ring would serve first behind a barrier; None where nobody has called there.

        A ring whose first call conflicts with what another ring begins with waits for that in red.
        """
        chosen = [self._first_of(ring, group, self._demanded) for ring in self.rings]
        free = [k for k, target in enumerate(chosen) if target is None]
        taken = 0
        for k, target in enumerate(chosen):
            if target is not None and taken & target[0].conflicts:
                chosen[k] = None
            elif target is not None:
                taken |= target[0].bit
        if not taken:
            return None
        if self.special is None:
            for k in free:
                target = self._first_of(self.rings[k], group, self._orders.dual & ~self._orders.omit)
                if target is not None and not taken & target[0].conflicts:
                    chosen[k] = target
                    taken |= target[0].bit
        return chosen

    def _first_of(self, ring: Ring, group: int, mask: int) -> tuple[Phase, int] | None:
        """The first phase in a mask that a ring could serve behind a barrier, and its force-off."""
        clearance = ring.phase.clearance if ring.phase is not None else 0
        for n in self.layout.served[ring.index][group]:
            phase = self.phases[n]
            if mask & phase.bit:
                force = self._fit(phase, clearance, ring.slack)
                if force:
                    return phase, force
        return None

    def _enter(self, group: int, chosen: Sequence[tuple[Phase, int] | None], codes: Sequence[int]) -> None:
        self._log(Code.BARRIER, self.group + 1)
        self.group = group
        for ring, target, code in zip(self.rings, chosen, codes, strict=True):
            ring.place = -1
            if ring.interval is Interval.GREEN:
                self._end_green(ring, code, target, ring.slack)
            elif target is not None:
                ring.next, ring.next_force = target

    def _serve_again(self, codes: Sequence[int | None]) -> None:
        """With nobody behind the barriers, a ring serves an earlier phase again."""
        for ring, code in zip(self.rings, codes, strict=True):
            chosen = self._next_in_group(ring, again=True) if code is not None else None
            if chosen is None:
                continue
            if ring.interval is Interval.IDLE:
                ring.next, ring.next_force = chosen
            elif code is not None and self._why_ready(ring, 0) is not None:
                self._end_green(ring, code, chosen, 0)

    # ------------------------------------------------------------------------------------------------- wake

    def _wake(self) -> int:
        """The next tick at which something can happen while no call changes."""
        now = self.now
        timer = self.timer
        if timer is not None and (timer.error or self._room() < 0):
            return now + 1
        moments = [NEVER]
        for ring in self.rings:
            phase = ring.phase
            if phase is None:
                continue
            if ring.interval is not Interval.GREEN:
                moments.append(ring.until)
                continue
            own = [ring.end_at, ring.min_at, ring.gap_at, ring.max_at]
            if ring.ped is not Ped.DONT_WALK:
                own += [ring.walk_at, ring.ped_at, ring.ped_at if ring.ped is Ped.CLEAR else NEVER]
            if timer is not None:
                force = now + ring.force_at - timer.position
                own += [force, force - phase.ped_clear]
            moments += own
            if ring.slack:
                moments += [t - ring.slack for t in own]
        if timer is not None:
            moments.append(now + timer.plan.cycle - timer.cycle_position)
        return min(t for t in moments if t > now)
