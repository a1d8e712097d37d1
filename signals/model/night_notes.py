"""What goes with a night's plans: who decides on them, what was wrong with the data, and which plans have aged."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum


class ApprovalState(StrEnum):
    """How far a group's plans are on their way to the street.

    `waiting` for a person; `automatic` within the bounds that the agency set; `approved` or `rejected` by a person;
    `kept` where the plans in place stay, since the new ones weren't shown to be better; `refused` by the safety check;
    `failed` where there are none.
    """

    WAITING = "waiting"
    AUTOMATIC = "automatic"
    APPROVED = "approved"
    REJECTED = "rejected"
    KEPT = "kept"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ApprovalLine:
    """The state of a group's plans and the reason for it.

    `by` is who decided, or, of plans that wait, who must; `at` is when it was decided, as ISO 8601, and `note` what the
    person said.
    """

    state: ApprovalState
    reason: str = ""
    by: str = ""
    at: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class DataProblem:
    """A stream of counts that is unusable as a whole or in part, and why.

    `share` is the part of its slots that can't be used, 0 to 1. A stream that is `left_out` took no part in the
    forecast; `instead` says what stands in for it. `signals` are those that it matters to.
    """

    stream: str
    reason: str
    share: float
    left_out: bool
    instead: str = ""
    signals: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0.0 <= self.share <= 1.0:
            raise ValueError(f"stream {self.stream}: a share of {self.share:g}: must be 0 to 1")


@dataclass(frozen=True, slots=True)
class AgeingAlarm:
    """Plans in force whose measured delay [s/veh] has drifted from the one predicted when they were made.

    `since` is the first day of the drift that has lasted to this night, `days` how many days were measured since.
    """

    group: str
    predicted_s: float
    measured_s: float
    since: date
    days: int

    def __post_init__(self) -> None:
        if not self.predicted_s > 0.0:
            raise ValueError(
                f"group {self.group}: a predicted delay of {self.predicted_s:g} s: must be positive"
            )

    @property
    def drift_percent(self) -> float:
        """By how much the measured delay exceeds the predicted one."""
        return 100.0 * (self.measured_s / self.predicted_s - 1.0)
