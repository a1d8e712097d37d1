"""Controls to compare the loop with, as files for SUMO: a nightly plan, and SUMO's own actuated programs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, tostring

from signals.errors import InfeasiblePlan
from signals.formats.sumo.programs import write_plans
from signals.model.plan import PlanRequest, Refinement
from signals.planning import plan_case
from signals.planning.case import Case
from signals.timing.stages import stage_plan

MAX_GREEN_S = 50.0
"""Longest green of actuated programs, netconvert's own figure, where the program in place has no longer one."""


@dataclass(frozen=True, slots=True)
class Actuated:
    """How SUMO ends greens: by gaps (`actuated`) or by time loss of those who come (`delay_based`)."""

    kind: str
    max_green_s: float = MAX_GREEN_S


ACTUATED = (
    Actuated("actuated"),
    Actuated("actuated", 80.0),
    Actuated("delay_based"),
)
"""What is tried on tuning days; the best is compared."""


def nightly_plan(
    case: Case, path: Path, request: PlanRequest, *, refinement: Refinement = Refinement.RACE
) -> Path:
    """The plan of a night for a typical day, written as an additional file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_plans(plan_case(case, request, refinement=refinement).plans, path)
    return path


def actuated_plan(case: Case, how: Actuated, path: Path) -> Path:
    """Every program as one that SUMO actuates: its own stages, changes and minimums, people's included.

    Detectors, gaps and thresholds are SUMO's defaults. A signal that can't be read as stages keeps its program.
    """
    root = Element("additional")
    for signal, intersection in case.network.intersections.items():
        try:
            plan = stage_plan(intersection, PlanRequest(), case.network.connections)
        except InfeasiblePlan:
            continue
        logic = SubElement(root, "tlLogic", id=signal, type=how.kind, programID=how.kind)
        logic.set("offset", f"{plan.offset_s:g}")
        for stage, change in zip(plan.stages, plan.changes, strict=True):
            phase = SubElement(logic, "phase", duration=f"{stage.duration_s:g}", state=stage.state)
            phase.set("minDur", f"{stage.min_s:g}")
            phase.set("maxDur", f"{max(how.max_green_s, stage.duration_s):g}")
            for interval in change:
                if interval.duration_s > 0:
                    SubElement(logic, "phase", duration=f"{interval.duration_s:g}", state=interval.state)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tostring(root))
    return path
