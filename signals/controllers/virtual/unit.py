"""A virtual signal controller: what the agent in front of it, and a simulation behind it, see of it.

What runs: systemPatternControl where it isn't 0, else coordOperationalMode, else the time base. A pattern that can't
be run leaves the unit free, with the reason in localFreeStatus.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from enum import Enum

from signals.controllers.objects import Key
from signals.controllers.virtual.coordination import Plan, read_plan
from signals.controllers.virtual.database import Value, Values, integer
from signals.controllers.virtual.engine import Engine
from signals.controllers.virtual.events import Code, CoordState, Event
from signals.controllers.virtual.monitor import DARK, ConflictMonitor, Indications
from signals.controllers.virtual.phases import Layout, Phase, lay_out, read_layout, read_phases
from signals.controllers.virtual.preemption import Preemption, check_dwells, default_dwells
from signals.controllers.virtual.ring import NEVER
from signals.controllers.virtual.statuses import alarm_status, flash_status, read_status
from signals.controllers.virtual.timebase import TimeBase, read_time_base
from signals.model.controller import FLASH, FREE, ControllerRecord, FreeStatus

__all__ = ["TICK_S", "Event", "Indications", "Mode", "Unit"]

TICK_S = 0.1
"""One step of a unit."""
START_RED, START_FLASH = 30, 50
"""Tenths of all red before the first green, and of flash before that when power comes back."""
MINUTE = 600
MOST_EVENTS = 20_000
"""So many events a unit keeps for who reads its log: some hours' worth."""
ALL_RED = Indications(DARK, DARK, DARK, DARK, False)
FLASHING = Indications(DARK, DARK, DARK, DARK, True)
SYSTEM, MANUAL, TIME_BASE = 2, 5, 6
"""Values of unitControlStatus."""


class Mode(Enum):
    """What the unit as a whole does."""

    START_FLASH = "flash at start"
    START_RED = "all red at start"
    RUNNING = "running"
    ENDING = "ends its greens before flash"
    FLASH = "commanded flash"
    TRIPPED = "flash by the conflict monitor"


class Unit:
    """A unit on its own clock, a tenth of a second a step. It starts in all red.

    It knows of the phase options recalls, locking memory, dual entry, simultaneous gap-out and rest in walk; volume
    density, non-actuated modes, guaranteed passage and conditional service it doesn't have.

    `values` is the live database, which the unit reads, and in which it gives up systemPatternControl when the
    central has been silent for unitBackupTime. `dwells` are the phases in which each preempt dwells (see
    `preemption`). There is no daylight saving: controllerStandardTimeZone is all between UTC and local time.

    Raises
    ------
    ValueError
        Where no ring can serve the phases of the record in the order of its sequence, or phases to dwell in conflict.
    """

    values: Values
    phases: dict[int, Phase]
    engine: Engine
    time_base: TimeBase
    control: int
    findings: tuple[str, ...]

    def __init__(
        self, record: ControllerRecord, values: Values, dwells: Mapping[int, frozenset[int]] | None = None
    ) -> None:
        self.values = values
        self.preemption = Preemption({}, self._log)
        self.mode = Mode.START_RED
        self.manual = False
        self.free_status = FreeStatus.COMMAND
        self.control = TIME_BASE
        self.pattern = FREE
        self._record = record
        self._now = 0
        self._utc = 10 * integer(values, "globalTime")
        self._zone = integer(values, "controllerStandardTimeZone")
        self._events: deque[Event] = deque(maxlen=MOST_EVENTS)
        self._central_at = 0
        self._plan: Plan | None = None
        self._wanted = -1
        self._applied: object = None
        self._mask = self._ped_mask = 0
        self._state = CoordState.FREE
        self._flash_status = self._alarms = 0
        self.phases = read_phases(record, values)
        first = lay_out(self.phases, record.sequence)
        if first is None:
            raise ValueError(
                f"sequence {record.sequence} doesn't serve phases {sorted(self.phases)} once each"
            )
        self._first_layout = first
        self.preemption.dwells = check_dwells(
            self.phases, default_dwells(self.phases, first) if dwells is None else dwells
        )
        self.time_base = TimeBase(0, 0, 0, FREE)
        self._power_up(Mode.START_RED, START_RED)

    # ------------------------------------------------------------------------------------------------ time

    def step(
        self,
        vehicle_calls: Collection[int] = (),
        pedestrian_calls: Collection[int] = (),
        *,
        detectors: Collection[tuple[int, bool]] = (),
    ) -> None:
        """Go on by a tenth of a second, with the phases that are called now and the detectors that have changed."""
        if self._now >= self._select_at:
            self._select()
        self._now += 1
        self._utc += 1
        mask = 0
        for number in vehicle_calls:
            mask |= 1 << number
        if detectors:
            for number, on in detectors:
                self._log(Code.DETECTOR_ON if on else Code.DETECTOR_OFF, number)
        if self._now < self._wake and mask == self._mask and not pedestrian_calls:
            return
        self._mask = mask
        self._ped_mask = 0
        for number in pedestrian_calls:
            self._ped_mask |= 1 << number
        self._run()

    def _run(self) -> None:
        if self._now >= self._mode_until:
            self._go_on_starting()
        elif self.mode in (Mode.RUNNING, Mode.ENDING):
            self._wake, zero = self.engine.run(self._now, self._mask, self._ped_mask)
            self._watch()
            if self.mode is Mode.ENDING and not self.engine.phases_on:
                self._set_mode(Mode.FLASH)
            self._follow_timer(zero)
            self.preemption.look(self.engine.greens)
        else:
            self._wake = self._mode_until
        self._report()

    def _go_on_starting(self) -> None:
        if self.mode is Mode.START_FLASH:
            self._set_mode(Mode.START_RED, START_RED)
        else:
            self.engine.start()
            self._applied = None
            self._set_mode(Mode.RUNNING)
            self._apply()

    def _follow_timer(self, zero: bool) -> None:
        timer = self.engine.timer
        if zero:
            self._log(Code.COORD_STATE, CoordState.LOCAL_ZERO)
        state = CoordState.FREE if timer is None else timer.state
        if state is not self._state:
            self._state = state
            self._log(Code.COORD_STATE, state)

    def _resync(self) -> None:
        timer = self.engine.timer
        if timer is not None:
            target = timer.plan.master(self._local - self._now + self.engine.now)
            if timer.resync(target, integer(self.values, "coordCorrectionMode")):
                self._wake = self._now + 1

    @property
    def local_cycle(self) -> tuple[int, int] | None:
        """Tenths since local zero, and the cycle; None in free operation."""
        timer = self.engine.timer
        if timer is None:
            return None
        cycle = timer.plan.cycle
        return (timer.cycle_position + self._now - self.engine.now) % cycle, cycle

    @property
    def _local(self) -> int:
        """Local time in tenths since 1970."""
        return self._utc + 10 * self._zone

    def set_clock(self, utc_s: float) -> None:
        """Set the clock; in coordination the unit gets into step with it by a transition."""
        self._utc = round(10 * utc_s)
        self._log(Code.CLOCK_SET, 0)
        self._resync()
        self._select_at = self._now

    # ------------------------------------------------------------------------------------------ commands

    def reread(self) -> None:
        """The database has changed. What runs unchanged runs on undisturbed."""
        self._zone = integer(self.values, "controllerStandardTimeZone")
        phases = read_phases(self._record, self.values)
        layout = lay_out(phases, self._record.sequence)
        if phases != self.phases and layout is not None:
            self.phases, self._first_layout = phases, layout
        self._stale = True
        self._select_at = self._now
        self.system_command()

    def system_command(self) -> None:
        """The central has set something: unitBackupTime starts again."""
        self._central_at = self._now

    def preempt(self, number: int, on: bool) -> None:
        """A preempt input goes on or off.

        Raises
        ------
        ValueError
            Where there is no such preempt.
        """
        self.preemption.set_input(number, on)
        self._select_at = self._now

    def set_manual(self, on: bool) -> None:
        """Manual control enable: while it is on, the greens stay and coordination rests."""
        if on != self.manual:
            self.manual = on
            self._log(Code.MANUAL, int(on))
            self._select_at = self._now

    def power_cycle(self) -> None:
        """Power goes and comes back: flash, all red, the first phases. The database stays, a trip doesn't."""
        self._log(Code.POWER_LOST, 0)
        self._power_up(Mode.START_FLASH, START_FLASH)
        self._log(Code.POWER_BACK, 0)

    def _power_up(self, mode: Mode, length: int) -> None:
        self.findings = ()
        self.engine = Engine(self.phases, self._layout(), self._log)
        self._monitor = ConflictMonitor(self._record)
        self._shown = ALL_RED
        self._applied = None
        self._central_at = self._now
        self._stale = True
        self._select_at = self._now
        self._set_mode(mode, length)
        self._report()

    # ------------------------------------------------------------------------------------------- patterns

    def _select(self) -> None:
        """Find out what should run: at each full minute, and when told."""
        self._select_at = self._now + MINUTE - self._local % MINUTE
        backup = 10 * integer(self.values, "unitBackupTime")
        system = integer(self.values, "systemPatternControl")
        if system and backup:
            if self._now - self._central_at >= backup:
                self.values["systemPatternControl", ()] = system = 0
            else:
                self._select_at = min(self._select_at, self._central_at + backup)
        manual = integer(self.values, "coordOperationalMode")
        self.time_base = read_time_base(self.values, self._local // 10)
        self.control = SYSTEM if system else MANUAL if manual else TIME_BASE
        wanted = system or manual or self.time_base.pattern
        if wanted != self._wanted or self._stale:
            self._command(wanted)
        self._resync()
        self._apply()

    def _command(self, wanted: int) -> None:
        self._wanted, self._stale = wanted, False
        plan = read_plan(self.values, self.phases, wanted) if wanted < FREE else FreeStatus.COMMAND
        if isinstance(plan, Plan):
            self._plan, self.free_status, pattern = plan, FreeStatus.NOT_FREE, plan.number
        else:
            self._plan, self.free_status, pattern = None, plan, FLASH if wanted == FLASH else FREE
        if pattern != self.pattern:
            self.pattern = pattern
            self._log_pattern()

    def _log_pattern(self) -> None:
        self._log(Code.PATTERN, self.pattern)
        if self._plan is not None:
            self._log(Code.CYCLE, min(255, self._plan.cycle // 10))
            self._log(Code.OFFSET, min(255, self._plan.offset // 10))
            for number, split in self._plan.splits_s.items():
                if number <= 16:
                    self._log(Code.SPLIT_1 + number - 1, split)

    def _layout(self) -> Layout:
        """The sequence of free operation: the first one, or the record's where that can't be served."""
        return read_layout(self.phases, self.values, 1) or self._first_layout

    def _apply(self) -> None:
        """Have the engine do what is wanted, if it doesn't already."""
        if self.mode is Mode.FLASH and self.pattern != FLASH:
            self._power_up(Mode.START_RED, START_RED)
        if self.mode not in (Mode.RUNNING, Mode.ENDING):
            return
        special = 0 if self.pattern == FLASH else self.preemption.choose()
        mode = Mode.ENDING if special == 0 else Mode.RUNNING
        plan = self._plan if special is None and not self.manual else None
        wanted = (plan, special, self.manual, self.phases)
        if wanted == self._applied:
            return
        self._applied = wanted
        self._wake = self._now + 1
        engine = self.engine
        engine.configure(self.phases, self._layout(), integer(self.values, "coordMaximumMode"))
        engine.hold = -1 if self.manual and special is None else 0
        engine.serve_only(special)
        correction = integer(self.values, "coordCorrectionMode")
        engine.run_plan(self._now, plan, plan.master(self._local) if plan else 0, correction)
        if plan is not None:
            self._log(Code.COORD_STATE, CoordState.PICK_UP)
            self._state = CoordState.PICK_UP
        if mode is not self.mode:
            self._set_mode(mode)

    # -------------------------------------------------------------------------------------- what is shown

    def _watch(self) -> None:
        """Show the conflict monitor what the heads show, and have it trip."""
        shown = self.engine.indications
        if shown is self._shown:
            return
        self._shown = shown
        findings = self._monitor.feed(shown, self._now)
        if findings:
            self.findings = findings
            self._set_mode(Mode.TRIPPED)

    def _set_mode(self, mode: Mode, length: int = NEVER) -> None:
        self.mode = mode
        self._mode_until = self._now + length
        self._wake = min(self._mode_until, self._now + 1)
        if mode not in (Mode.RUNNING, Mode.ENDING):
            self._shown = ALL_RED if mode is Mode.START_RED else FLASHING
            self._monitor.feed(self._shown, self._now)

    def _report(self) -> None:
        """Log a change of flash and alarms."""
        flash, alarms = flash_status(self), alarm_status(self)
        if flash != self._flash_status:
            self._flash_status = flash
            self._log(Code.FLASH, flash)
        if alarms != self._alarms:
            self._alarms = alarms
            self._log(Code.ALARM, alarms)

    def status(self, key: Key) -> Value:
        """The value of a read-only status object.

        Raises
        ------
        KeyError
            Where it isn't one, or the row doesn't exist.
        """
        return read_status(self, key)

    @property
    def indications(self) -> Indications:
        """What the heads show from `utc_ms` on."""
        return self._shown

    @property
    def utc_ms(self) -> int:
        """The unit's own clock, in milliseconds."""
        return 100 * self._utc

    @property
    def tripped(self) -> bool:
        """Whether the conflict monitor has put the unit to flash; `findings` says why. Power ends it."""
        return self.mode is Mode.TRIPPED

    def drain_events(self) -> list[Event]:
        """The events since the last call; of more than `MOST_EVENTS` the last ones."""
        events = list(self._events)
        self._events.clear()
        return events

    def _log(self, code: int, parameter: int) -> None:
        self._events.append(Event(100 * self._utc, int(code), int(parameter)))
