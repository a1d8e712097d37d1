"""What can go wrong, as one small tree.

::

    GreensplitError
    ├── InputError            a file, option or network that can't be used as given
    ├── InfeasiblePlan        the fixed constraints of a signal fit no cycle
    ├── UnmappablePlan        a signal or plan that phases of a controller can't show
    ├── UnsafePlan            a plan failed the safety check; carries the findings
    ├── SimulationError       SUMO or one of its tools ended with an error
    ├── ControllerError       a controller on the street
    │   ├── ControllerUnreachable  gives no answer, or none in time
    │   ├── ControllerRefused      says no, or is in a state in which nothing is to be done
    │   └── ReadBackDiffers        holds other values than were written; carries them
    ├── Stopped               work is to end now, unfinished
    ├── StoreUnavailable      the database is down, full, locked or of another release
    ├── NotFound              there is no such thing, or none that the asking person may see
    ├── Forbidden             the person's roles don't allow it
    ├── QueueFull             too many jobs wait; carries when to come back
    └── Conflict              it doesn't fit what is there: stale, taken, or in another state

Each message says what, where, how much and what to do.
"""

from __future__ import annotations

from collections.abc import Sequence


class GreensplitError(Exception):
    """Base of every error that Greensplit raises on purpose."""


class InputError(GreensplitError):
    """A file, an option or a network that can't be used as given."""


class InfeasiblePlan(GreensplitError):
    """The fixed constraints of a signal fit no cycle."""


class UnmappablePlan(GreensplitError):
    """A signal or a plan that the phases of a NEMA controller can't show; the message says why and what to do."""


class UnsafePlan(GreensplitError):
    """A plan failed the safety check and never leaves the program.

    `findings` holds one line a rule broken, each naming the signal, the rule and the figure.
    """

    def __init__(self, findings: Sequence[str]) -> None:
        self.findings = tuple(findings)
        shown = "\n  ".join(self.findings[:12])
        more = f"\n  … and {len(self.findings) - 12} more" if len(self.findings) > 12 else ""
        super().__init__(f"{len(self.findings)} safety finding(s); the plan is refused:\n  {shown}{more}")


class SimulationError(GreensplitError):
    """SUMO, or one of the tools that come with it, ended with an error."""


class ControllerError(GreensplitError):
    """A controller on the street can't be used, or did something else than it was told."""


class ControllerUnreachable(ControllerError):
    """A controller gives no answer, or none in time."""


class ControllerRefused(ControllerError):
    """A controller says no, or is in a state in which nothing is to be done to it."""


class ReadBackDiffers(ControllerError):
    """A controller holds other values than were written. `differences` has one line an object."""

    def __init__(self, where: str, differences: Sequence[str]) -> None:
        self.differences = tuple(differences)
        shown = "; ".join(self.differences[:4]) + ("; …" if len(self.differences) > 4 else "")
        super().__init__(
            f"{where}: {len(self.differences)} object(s) read back differ from what was written: {shown}"
        )


class Stopped(GreensplitError):
    """Work is to end now: it was cancelled, its deadline has passed, or another worker has taken over.

    `hands_off` says that it is another worker's now, so that nothing may be undone either.
    """

    def __init__(self, message: str, *, hands_off: bool = False) -> None:
        self.hands_off = hands_off
        super().__init__(message)


class StoreUnavailable(GreensplitError):
    """The database can't do its work now: it is down, full, locked, or of another release."""


class NotFound(GreensplitError):
    """There is no such thing, or none that the asking person may see."""


class Forbidden(GreensplitError):
    """The person's roles don't allow it; the message says which role is needed where."""


class Conflict(GreensplitError):
    """What is asked doesn't fit what is there: it is stale, taken, or in another state."""


class QueueFull(GreensplitError):
    """Too many jobs wait already. `retry_after_s` is when there may be room."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)
