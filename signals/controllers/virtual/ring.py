"""One ring of the engine: which phase it serves and where in it, with deadlines in tenths of a second."""

from __future__ import annotations

from enum import IntEnum

from signals.controllers.virtual.phases import Phase

NEVER = 1 << 60


class Interval(IntEnum):
    """What a ring times."""

    IDLE = 0
    GREEN = 1
    YELLOW = 2
    RED = 3


class Ped(IntEnum):
    """What the pedestrians of a ring's phase see."""

    DONT_WALK = 0
    WALK = 1
    CLEAR = 2


class Ring:
    """State of one ring. Deadlines are ticks of the engine; `force_at` is a position of the cycle timer."""

    __slots__ = (
        *("index", "phase", "interval", "until", "min_at", "min_logged", "gap_at", "max_at", "force_at"),
        *("released", "ped", "walk_at", "ped_at", "end_at", "next", "next_force", "place", "slack", "code"),
    )

    def __init__(self, index: int) -> None:
        self.index = index
        self.phase: Phase | None = None
        self.interval = Interval.IDLE
        self.until = NEVER
        """End of yellow or red clearance."""
        self.min_at = 0
        self.min_logged = False
        self.gap_at = NEVER
        self.max_at = NEVER
        self.force_at = NEVER
        self.released = False
        """A coordinated phase has passed its force-off and rests."""
        self.ped = Ped.DONT_WALK
        self.walk_at = 0
        self.ped_at = 0
        self.end_at = NEVER
        """When the green ends, once that has been decided."""
        self.code = 0
        """Why it ends: an event's code, 0 for a preempt."""
        self.next: Phase | None = None
        self.next_force = NEVER
        self.place = -1
        """Position in its sequence of the phase served last between these barriers; -1 before the first."""
        self.slack = 0
        """By how much its clearance is shorter than the longest of the greens now."""

    @property
    def in_green(self) -> bool:
        """Whether it is green and nobody has decided to end that."""
        return self.interval is Interval.GREEN and self.end_at == NEVER

    @property
    def clearing(self) -> bool:
        """Whether it is between two greens, or a green's end has been decided."""
        return not self.in_green and (self.interval is not Interval.IDLE or self.next is not None)

    def must(self, now: int) -> int:
        """How long the green has to go on for min green, walk and pedestrian clearance."""
        least = self.min_at
        if self.ped is Ped.CLEAR:
            least = max(least, self.ped_at)
        elif self.ped is Ped.WALK and self.phase is not None:
            least = max(least, max(self.walk_at, now) + self.phase.ped_clear)
        return max(0, least - now)
