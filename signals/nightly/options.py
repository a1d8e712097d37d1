"""What is asked of a night."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from signals.model.plan import PlanRequest

if TYPE_CHECKING:
    from signals.timing.schedule import ScheduleRequest


class Extent(StrEnum):
    """Which groups are validated in SUMO: none, a sample within a budget, or all."""

    NONE = "none"
    SAMPLE = "sample"
    ALL = "all"


@dataclass(frozen=True)
class NightOptions:
    """What is asked of a night's plans, and how many of them SUMO looks at; the budget is CPU time of SUMO."""

    request: PlanRequest
    schedule: ScheduleRequest
    validate: Extent = Extent.NONE
    validation_budget_min: float = 0.0
