"""A unit that does nothing, an agent in front of it, and who may ask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from signals.controllers.objects import Key
from signals.controllers.virtual.agent import AccessRights, Address, Agent
from signals.controllers.virtual.database import Value, Values
from signals.controllers.virtual.secured import User
from signals.controllers.virtual.transactions import Database
from signals.model.controller import ControllerPhase

RINGS = ((1, 2, 3, 4), (5, 6, 7, 8))
SPLITS_S = {1: 15, 2: 35, 3: 15, 4: 35, 5: 20, 6: 30, 7: 15, 8: 35}
NOW_S = 1_800_000_000
WRITER = User("operator", "auth-of-writer", "priv-of-writer", writes=True)
READER = User("viewer", "auth-of-reader", "priv-of-reader")
ACCESS = AccessRights("public", "secret", (WRITER, READER))


def phase(number: int, ring: int) -> ControllerPhase:
    other = (5, 6) if number in (1, 2) else (7, 8) if number in (3, 4) else (1, 2) if number < 7 else (3, 4)
    walk, clear = (7, 14) if number % 2 == 0 else (0, 0)
    return ControllerPhase(number, ring, frozenset(other), 7, 4.0, 1.5, walk, clear)


class QuietUnit:
    """A unit that does nothing but count what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.clock_s = float(NOW_S)
        self.preempts: dict[int, bool] = {}

    @property
    def utc_ms(self) -> int:
        return round(1000 * self.clock_s)

    def reread(self) -> None:
        self.told.append("reread")

    def system_command(self) -> None:
        self.told.append("system_command")

    def power_cycle(self) -> None:
        self.told.append("power_cycle")

    def set_clock(self, utc_s: float) -> None:
        self.clock_s = utc_s

    def preempt(self, number: int, on: bool) -> None:
        self.preempts[number] = on

    def status(self, key: Key) -> Value:
        return int(self.clock_s) if key[0] == "globalTime" else 7


@dataclass
class Bench:
    """An agent, and what is behind it."""

    values: Values
    unit: QuietUnit
    database: Database
    agent: Agent


MakeBench = Callable[..., Bench]
Serve = Callable[[Bench], Address]
