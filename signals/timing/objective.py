"""What a plan makes small, as each judge of plans reads it: one figure of two means, or weights for splits."""

from __future__ import annotations

from typing import Protocol

from kernels.lane_cost import Goal
from signals.model.plan import Objective

ANALYSIS_PERIOD_H = 0.25
"""Of HCM's delay, where demand is known by quarter hours."""


class Aim(Protocol):
    """Any request that says what to make small; the weight [s] is what a stop is worth in the index."""

    @property
    def objective(self) -> Objective:
        """Delay, stops, or an index of both."""

    @property
    def stop_weight_s(self) -> float:
        """Delay that a stop is worth, s."""


def weighed(aim: Aim, delay_s: float, stops: float) -> float:
    """The objective's value of a mean delay [s/veh] and of stops a vehicle; the smaller the better."""
    match aim.objective:
        case Objective.DELAY:
            return delay_s
        case Objective.STOPS:
            return stops
        case Objective.INDEX:
            return delay_s + aim.stop_weight_s * stops


def goal_of(aim: Aim, period_h: float) -> Goal:
    """The objective as kernels of splits read it: what a second of delay and a stop weigh each."""
    return Goal(weighed(aim, 1.0, 0.0), weighed(aim, 0.0, 1.0), period_h)
