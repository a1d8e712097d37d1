"""Jobs: work that takes longer than a request may wait."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from signals.model.states import JobKind, JobState
from signals.wire.base import Moment, Shown, example


class JobShown(Shown):
    """A job: what for, how far, and what came of it.

    `step` is what it does now, `steps_done` of `steps_of` how far that is. `result` names what was made, such as
    a plan's hash; `problem` says why it failed.
    """

    model_config = example(
        id=12,
        kind="plan",
        state="running",
        subject="plan-requests/3",
        area_id=4,
        step="searching",
        steps_done=120,
        steps_of=400,
        attempt=1,
        cancel_asked=False,
        problem="",
        result=None,
        created_by=2,
        created_at="2026-11-25T08:00:00Z",
        started_at="2026-11-25T08:00:01Z",
        finished_at=None,
        deadline_at=None,
    )
    id: int
    kind: JobKind
    state: JobState
    subject: str
    area_id: int
    step: str
    steps_done: int
    steps_of: int
    attempt: int = Field(description="how often it was begun; above 1 where a worker died")
    cancel_asked: bool
    problem: str
    result: dict[str, Any] | None
    created_by: int
    created_at: Moment
    started_at: Moment | None
    finished_at: Moment | None
    deadline_at: Moment | None
