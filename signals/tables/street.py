"""Tables of deployments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from signals.tables.style import add_columns, new_table, short
from signals.wire.street import DeploymentShown, StepShown

WAVES = ("pilot", "corridor", "rest")


def deployment_table(made: DeploymentShown) -> Table:
    """The units of a deployment: their wave, how far they are, what they run and what they ran."""
    table = new_table(f"deployment {made.id} of plan {made.plan[:16]}… is {made.state}")
    add_columns(
        table, "signal", "wave", "state", "pattern", "before", "cycle, s", "offset, s", "worth knowing"
    )
    for step in made.steps:
        pattern = step.pattern or {}
        table.add_row(
            short(step.signal),
            WAVES[step.wave],
            step.state,
            str(step.slot[0]) if step.slot else "",
            str(step.previous) if step.previous else "own plan",
            str(pattern.get("cycle_s", "")),
            str(pattern.get("offset_s", "")),
            short(step.problem or _differences(step)),
        )
    return table


def proof_table(
    made: DeploymentShown,
    proofs: Mapping[str, Any],
    asked: Mapping[str, int | None],
    sumo_after_s: Mapping[str, float | None],
) -> Table:
    """What a unit was sent, what its event log says, when SUMO's record became the plan, and what snmpget reads."""
    table = new_table(f"deployment {made.id} is {made.state}: what the street says")
    add_columns(table, "signal", "sent", "cycle\ns", "offset\ns", "log:\npattern", "cycle\ns", "offset\ns")
    add_columns(table, "in step\nafter, s", "SUMO shows it\nafter, s", "snmpget\nreads")
    for step in made.steps:
        pattern, proof, read = step.pattern or {}, proofs.get(step.signal), asked.get(step.signal)
        told = (
            [_figure(x) for x in (proof.pattern, proof.cycle_s, proof.offset_s, proof.in_step_after_s)]
            if proof
            else ["never", "", "", ""]
        )
        table.add_row(
            short(step.signal),
            str(step.slot[0]) if step.slot else "",
            str(pattern.get("cycle_s", "")),
            str(pattern.get("offset_s", "")),
            *told,
            _figure(sumo_after_s.get(step.signal)),
            _figure(read),
        )
    return table


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _differences(step: StepShown) -> str:
    return "; ".join(step.facts.get("differences", []))
