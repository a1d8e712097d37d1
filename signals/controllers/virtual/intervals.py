"""What the rings time, in tenths of a second: calls, greens, walks, pedestrian clearances, yellows, red clearances.

A phase begins its green only where every phase that is on (green, yellow or red clearance) is concurrent with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from signals.controllers.objects import bits_of, numbers_of
from signals.controllers.virtual.coordination import CycleTimer, Plan, Standing, pick_up
from signals.controllers.virtual.events import Code
from signals.controllers.virtual.monitor import Indications
from signals.controllers.virtual.orders import read_orders
from signals.controllers.virtual.phases import Layout, Phase, Phases
from signals.controllers.virtual.ring import NEVER, Interval, Ped, Ring

MAX_1, MAX_2, INHIBIT = 2, 3, 4
"""Values of coordMaximumMode with which greens max out in coordination as well."""

Log = Callable[[int, int], None]


class Intervals:
    """The rings with what they time: calls, greens, pedestrians, clearances. `Engine` decides what comes next.

    All masks have bit `1 << n` for phase n; time is in ticks of a tenth of a second. `hold` keeps greens.
    """

    def __init__(self, phases: Phases, layout: Layout, log: Log) -> None:
        self.now = 0
        self.timer: CycleTimer | None = None
        self.special: int | None = None
        """See `serve_only`."""
        self.hold = 0
        self.ped_calls = 0
        self.rings: list[Ring] = [Ring(k) for k in range(len(layout.rings))]
        self.group = 0
        self._log = log
        self._present = self._latched = self._logged_calls = 0
        self._on = 0
        self._demanded = 0
        self._shown: Indications | None = None
        self.configure(phases, layout, INHIBIT)

    # ---------------------------------------------------------------------------------------- from outside

    def configure(self, phases: Phases, layout: Layout, maximum_mode: int) -> None:
        """Take over timings and sequence; what is timed now runs to its end as it began."""
        self.phases = phases
        self.layout = layout
        for ring in self.rings:
            ring.next = phases.get(ring.next.number) if ring.next is not None else None
        self.plan: Plan | None = None
        self.timer = None
        self._maximum_mode = maximum_mode
        self._place_rings()
        self._orders = read_orders(self.phases, self.plan)

    def start(self) -> None:
        """From all red: the last phase of each ring before the first barrier begins."""
        for ring in self.rings:
            served = self.layout.served[ring.index][0]
            ring.next = None
            if served and not any(
                r.next and r.next.conflicts & self.phases[served[-1]].bit for r in self.rings
            ):
                ring.next = self.phases[served[-1]]
        self.group = 0

    def run_plan(self, now: int, plan: Plan | None, target: int, mode: int) -> None:
        """Go over to a pattern, from the position that fits the rings best; None for free operation.

        `now` is before the tick at which the engine asked to be run again.
        """
        self.now = now
        self.plan = plan
        self.timer = None
        if plan is not None:
            self.layout = plan.layout
            standing = [s for s in map(self._standing, self.rings) if s is not None]
            self.timer = CycleTimer(plan, pick_up(plan, target, standing, mode), target, mode)
        self._place_rings()
        self._orders = read_orders(self.phases, self.plan)
        for ring in self.rings:
            ring.released = False
            ring.force_at = ring.next_force = NEVER
            if ring.in_green and ring.phase is not None:
                ring.force_at = self._force_from(ring.phase)
                ring.max_at = NEVER
                if not self._orders.max_recall & ring.phase.bit and ring.gap_at == NEVER:
                    ring.gap_at = self.now + ring.phase.passage
            elif ring.next is not None:
                ring.next_force = self._force_from(ring.next)

    def serve_only(self, special: int | None) -> None:
        """Serve nothing but these phases and stay in them; 0 ends all greens, None is normal service."""
        self.special = special
        for ring in self.rings:
            if special is not None and ring.next is not None and not special & ring.next.bit:
                ring.next = None

    def _standing(self, ring: Ring) -> Standing | None:
        if ring.in_green and ring.phase is not None:
            return Standing(ring.phase.number, 0, ring.must(self.now))
        if ring.next is None:
            return None
        wait = 0
        if ring.phase is not None:
            begun = {Interval.YELLOW: ring.until + ring.phase.red, Interval.RED: ring.until}
            wait = begun.get(ring.interval, ring.end_at + ring.phase.clearance) - self.now
        return Standing(ring.next.number, wait, ring.next.min_green)

    def _force_from(self, phase: Phase) -> int:
        """The force-off of a phase that a plan finds, as a position of the timer."""
        if self.timer is None:
            return NEVER
        force = self.timer.plan.force.get(phase.number)
        if force is None:
            return self.timer.position
        cycle = self.timer.plan.cycle
        ahead = (force - self.timer.position) % cycle
        late = ahead > cycle // 2 and not self.timer.plan.coordinated & phase.bit
        return self.timer.position + ahead - (cycle if late else 0)

    def _place_rings(self) -> None:
        for ring in self.rings:
            phase = ring.next or ring.phase
            if phase is not None and phase.number in self.layout.group_of:
                self.group = self.layout.group_of[phase.number]
                ring.place = self.layout.rings[ring.index].index(phase.number)
        self.group = min(self.group, self.layout.groups - 1)
        groups = self.layout.group_of
        self._group_masks = [
            bits_of(n for n, k in groups.items() if k == g) for g in range(self.layout.groups)
        ]

    # ------------------------------------------------------------------------------------------- what there is

    @property
    def indications(self) -> Indications:
        """What the heads show."""
        if self._shown is None:
            on = [r for r in self.rings if r.phase is not None]
            self._shown = Indications(
                _numbers(on, Interval.GREEN),
                _numbers(on, Interval.YELLOW),
                frozenset(r.phase.number for r in on if r.phase and r.ped is Ped.WALK),
                frozenset(r.phase.number for r in on if r.phase and r.ped is Ped.CLEAR),
                False,
            )
        return self._shown

    @property
    def vehicle_calls(self) -> int:
        """Phases with a vehicle call, present or remembered."""
        return self._present | self._latched

    @property
    def phases_on(self) -> int:
        """Phases in green, yellow or red clearance."""
        return self._on

    @property
    def phases_next(self) -> int:
        """Phases that come next, as far as decided."""
        return sum(r.next.bit for r in self.rings if r.next is not None)

    @property
    def greens(self) -> int:
        """Phases in green."""
        return sum(r.phase.bit for r in self.rings if r.phase and r.interval is Interval.GREEN)

    def _take_calls(self, present: int, ped_calls: int) -> None:
        present &= self._orders.enabled
        for ring in self.rings:
            phase = ring.phase
            if phase is None or ring.interval is not Interval.GREEN:
                continue
            if self._orders.max_recall & phase.bit or present & phase.bit:
                if not (self._orders.gap_disable & phase.bit and ring.gap_at <= self.now):
                    ring.gap_at = NEVER
            elif ring.gap_at == NEVER:
                ring.gap_at = self.now + phase.passage
        self._latched |= (self._present | present) & self._orders.lock & ~self.greens
        self._present = present
        new = ped_calls & self._orders.walks & ~self.ped_calls
        for ring in self.rings:
            if ring.phase is not None and ring.ped is Ped.WALK:
                new &= ~ring.phase.bit
        self.ped_calls |= new
        self._log_calls(new)

    def _log_calls(self, new_peds: int) -> None:
        for number in numbers_of(new_peds):
            self._log(Code.PED_CALL, number)
        calls = self.vehicle_calls
        changed = calls ^ self._logged_calls
        for number in numbers_of(changed):
            self._log(Code.CALL_ON if calls >> number & 1 else Code.CALL_OFF, number)
        self._logged_calls = calls

    def _demand(self) -> int:
        if self.special is not None:
            return self.special
        demand = (self._present | self._latched | self.ped_calls | self._orders.recall) & ~self._orders.omit
        for number in numbers_of(self._orders.soft & ~demand):
            if not demand & self.phases[number].conflicts:
                demand |= 1 << number
        return demand

    # ----------------------------------------------------------------------------------------- coordination

    def _room(self) -> int:
        """By how much the tightest force-off is later than the minimums before it."""
        room = NEVER
        if self.timer is not None:
            for ring in self.rings:
                if ring.in_green:
                    must = ring.must(self.now)
                    left = ring.force_at - self.timer.position
                    if must or left > 0:
                        room = min(room, left - must)
        return room

    def _steady(self) -> bool:
        return not any(ring.clearing for ring in self.rings)

    def _dwelling(self) -> bool:
        return self.timer is not None and not self.timer.plan.dwell & ~self.greens

    def _left(self, ring: Ring) -> int:
        return NEVER if self.timer is None else ring.force_at - self.timer.position

    def _released(self, ring: Ring, phase: Phase) -> bool:
        """Whether a coordinated phase rests behind its force-off, and its next split hasn't begun."""
        return (
            self.timer is not None
            and ring.released
            and self._left(ring) > self.timer.plan.green.get(phase.number, 0)
        )

    def _fit(self, phase: Phase, clearance: int, ahead: int) -> int:
        """The force-off of a phase whose predecessor ends `ahead` from now; NEVER when free, 0 where none fits.

        A phase fits where its min green can be served before its force-off, and that comes before the ring's
        coordinated phase has its own.
        """
        timer = self.timer
        if timer is None or self.special is not None:
            return NEVER
        plan = timer.plan
        force = plan.force.get(phase.number)
        if force is None:
            return 0
        end = timer.position + ahead
        away = (force - end - 1) % plan.cycle + 1
        if not plan.coordinated & phase.bit:
            service = (plan.reference[phase.ring] - end - 1) % plan.cycle + 1
            if away > service or away - clearance < phase.min_green:
                return 0
        return end + away

    # -------------------------------------------------------------------------------------------- intervals

    def _end_intervals(self) -> None:
        for ring in self.rings:
            phase = ring.phase
            if phase is None:
                continue
            if ring.interval is Interval.GREEN and ring.end_at <= self.now:
                self._end_ped_clear(ring, phase)
                self._begin_yellow(ring, phase)
            if ring.interval is Interval.YELLOW and ring.until <= self.now:
                self._log(Code.YELLOW_END, phase.number)
                self._shown = None
                ring.interval = Interval.RED
                ring.until = self.now + phase.red
                if phase.red:
                    self._log(Code.RED_CLEAR_BEGIN, phase.number)
            if ring.interval is Interval.RED and ring.until <= self.now:
                if phase.red:
                    self._log(Code.RED_CLEAR_END, phase.number)
                self._log(Code.PHASE_INACTIVE, phase.number)
                ring.interval = Interval.IDLE
                ring.phase = None
                self._on &= ~phase.bit

    def _begin_yellow(self, ring: Ring, phase: Phase) -> None:
        ring.end_at = NEVER
        ring.interval = Interval.YELLOW
        ring.until = self.now + phase.yellow
        if self._orders.coordinated & phase.bit and self._left(ring) <= 0:
            self._log(Code.YIELD_POINT, phase.number)
        if ring.code:
            self._log(ring.code, phase.number)
        self._log(Code.GREEN_END, phase.number)
        self._log(Code.YELLOW_BEGIN, phase.number)
        self._shown = None

    def _begin_greens(self) -> None:
        for ring in self.rings:
            phase = ring.next
            if phase is None or ring.interval is not Interval.IDLE or self._on & phase.conflicts:
                continue
            self._shown = None
            self._on |= phase.bit
            ring.phase, ring.next = phase, None
            ring.interval = Interval.GREEN
            ring.place = self._place(ring, phase)
            ring.min_at, ring.min_logged = self.now + phase.min_green, False
            held = self._orders.max_recall & phase.bit or self._present & phase.bit
            ring.gap_at = NEVER if held else self.now + phase.passage
            ring.max_at = ring.end_at = NEVER
            ring.released = False
            ring.force_at = ring.next_force
            if (
                self.timer is not None
                and self.timer.plan.floating
                and not self._orders.coordinated & phase.bit
            ):
                own = self.timer.plan.green.get(phase.number, 0)
                ring.force_at = min(ring.force_at, self.timer.position + own)
            self._latched &= ~phase.bit
            self._log(Code.PHASE_ON, phase.number)
            self._log(Code.GREEN_BEGIN, phase.number)
            if (self.ped_calls | self._orders.ped_recall) & self._orders.walks & phase.bit:
                self._begin_walk(ring, phase)

    def _place(self, ring: Ring, phase: Phase) -> int:
        served = self.layout.rings[ring.index]
        return served.index(phase.number) if phase.number in served else -1

    def _begin_walk(self, ring: Ring, phase: Phase) -> None:
        self._shown = None
        ring.ped = Ped.WALK
        ring.walk_at = self.now + phase.walk
        self.ped_calls &= ~phase.bit
        self._log(Code.WALK_BEGIN, phase.number)

    def _end_ped_clear(self, ring: Ring, phase: Phase) -> None:
        if ring.ped is Ped.CLEAR and ring.ped_at <= self.now:
            self._shown = None
            ring.ped = Ped.DONT_WALK
            self._log(Code.DONT_WALK_BEGIN, phase.number)

    def _time_green(self, ring: Ring) -> None:
        phase = ring.phase
        assert phase is not None
        if not ring.min_logged and ring.min_at <= self.now:
            ring.min_logged = True
            self._log(Code.MIN_COMPLETE, phase.number)
        if self.timer is not None and self._orders.coordinated & phase.bit and self._left(ring) <= 0:
            if ring.end_at == NEVER:
                self._log(Code.YIELD_POINT, phase.number)
                ring.released = True
                ring.force_at += self.timer.plan.cycle
        if ring.ped is Ped.WALK and ring.walk_at <= self.now and not self._rests_in_walk(ring, phase):
            self._shown = None
            ring.ped = Ped.CLEAR
            ring.ped_at = self.now + phase.ped_clear
            self._log(Code.PED_CLEAR_BEGIN, phase.number)
        self._end_ped_clear(ring, phase)
        if ring.in_green:
            self._time_maximum(ring, phase)

    def _time_maximum(self, ring: Ring, phase: Phase) -> None:
        if self.timer is not None and (
            self._orders.coordinated & phase.bit or self._maximum_mode not in (MAX_1, MAX_2)
        ):
            return
        if not self._demanded & phase.conflicts:
            ring.max_at = NEVER
        elif ring.max_at == NEVER:
            second = self.timer is not None and self._maximum_mode == MAX_2
            ring.max_at = self.now + (phase.max_2 if second else phase.max_1)

    def _rests_in_walk(self, ring: Ring, phase: Phase) -> bool:
        if ring.end_at != NEVER:
            return False
        if self.special is not None:
            return bool(self.special & self._orders.rest_in_walk & phase.bit)
        if self.timer is None:
            return bool(self._orders.rest_in_walk & phase.bit) and not self._demanded & phase.conflicts
        if not self._orders.coordinated & (self._orders.ped_recall | self._orders.rest_in_walk) & phase.bit:
            return False
        if self._left(ring) <= max(phase.ped_clear, ring.slack):
            return False
        return not (self._released(ring, phase) and self._wanted_elsewhere(phase))

    def _wanted_elsewhere(self, phase: Phase) -> bool:
        """Whether a conflicting call could be served once this phase's walk is cleared."""
        return any(
            self._fit(self.phases[n], phase.clearance, phase.ped_clear)
            for n in numbers_of(self._demanded & phase.conflicts)
        )

    def _recycle_walks(self) -> None:
        """Serve a pedestrian call that comes while a phase rests, where there is time."""
        for ring in self.rings:
            phase = ring.phase
            if (
                phase is None
                or not ring.in_green
                or ring.ped is not Ped.DONT_WALK
                or self.special is not None
            ):
                continue
            calls = self.ped_calls
            if self.timer is not None:
                coordinated = self._orders.coordinated & phase.bit
                if not coordinated or self._left(ring) < phase.walk + phase.ped_clear:
                    continue
                if self._released(ring, phase):
                    calls |= self._orders.ped_recall
                    if self._wanted_elsewhere(phase):
                        continue
            elif self._demanded & phase.conflicts:
                continue
            if calls & phase.bit & self._orders.walks:
                self._begin_walk(ring, phase)


def _numbers(rings: Iterable[Ring], interval: Interval) -> frozenset[int]:
    return frozenset(r.phase.number for r in rings if r.phase is not None and r.interval is interval)
