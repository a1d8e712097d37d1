"""What a job's work gets to see, and what it gives back.

Work is a plain function from a `Context` to a `Finish`. It holds no transaction while it computes; what it
found is written by the `Finish`, in the transaction that marks the job as done, and only if the job is still
the worker's. So a result is there once and whole, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from signals.store.session import Store


@dataclass(frozen=True)
class Context:
    """A job as its work sees it.

    `progress(step, done, of)` is to be called often; it raises `Stopped` when the work is to end.
    `folder` is empty, belongs to this attempt, and is removed afterwards. `hold` is for work that writes before its
    end: it keeps the job from being given to another worker until the transaction ends, or raises `Stopped`.
    `simulations` is how many may run at the same time, `credentials` the file with those of controllers.
    """

    store: Store
    job_id: int
    arguments: Mapping[str, Any]
    progress: Callable[[str, int, int], None]
    folder: Path
    hold: Callable[[Session], None]
    simulations: int = 1
    credentials: Path | None = None


Finish = Callable[[Session], dict[str, Any]]
"""Writes what the work found, in the transaction that ends the job, and gives the job's result."""
Work = Callable[[Context], Finish]
