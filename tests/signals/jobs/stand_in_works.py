"""Works that stand in for the real ones: each does one thing that a worker must cope with.

Workers import this file by its name; its folder is on their path. Lines that a work writes to the file
`arguments["diary"]` tell which process began it and how often.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from signals.errors import InfeasiblePlan
from signals.jobs.context import Context, Finish
from signals.model.states import JobKind
from signals.store.audit import Actor, record

WORKS = {
    JobKind.PLAN: "stand_in_works:steady",
    JobKind.COMPARE: "stand_in_works:infeasible",
    JobKind.SCREEN: "stand_in_works:broken",
    JobKind.FORECAST: "stand_in_works:deaf",
    JobKind.READ_NETWORK: "stand_in_works:deadly",
}


def begun(context: Context) -> None:
    """A line with the process and its niceness in the diary."""
    (context.folder / "draft").write_text("…")
    with Path(context.arguments["diary"]).open("a") as diary:
        threads = os.environ.get("NUMBA_NUM_THREADS")
        diary.write(f"{os.getpid()} {os.nice(0)} {threads} {context.simulations}\n")


def writing(context: Context, result: dict[str, Any]) -> Finish:
    """An entry in the audit stands for the result's own rows."""

    def finish(session: Session) -> dict[str, Any]:
        record(session, Actor(None, "work"), "thing.write", f"things/{context.job_id}", **result)
        return result

    return finish


def steady(context: Context) -> Finish:
    """Adds up numbers, `steps` of them, and tells after each how far it is."""
    begun(context)
    total, steps = 0, int(context.arguments["steps"])
    for step in range(steps):
        context.progress("adding", step, steps)
        total += step
        time.sleep(0.05)
    return writing(context, {"total": total})


def infeasible(context: Context) -> Finish:
    """Fails as planning may."""
    begun(context)
    raise InfeasiblePlan("signal A0: 140 s of minimum greens, the cycle is 90 s; raise it")


def broken(context: Context) -> Finish:
    """Has a fault."""
    begun(context)
    raise ZeroDivisionError("secret detail")


def deaf(context: Context) -> Finish:
    """Holds no progress for `deaf_s` seconds."""
    begun(context)
    time.sleep(context.arguments["deaf_s"])
    return writing(context, {"deaf": context.arguments["deaf_s"]})


def deadly(context: Context) -> Finish:
    """Takes its process along."""
    begun(context)
    os._exit(3)
