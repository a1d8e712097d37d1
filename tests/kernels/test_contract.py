"""What holds for all kernels together: the product compiles each of them once, whatever it is asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kernels._jit import JIT_ENABLED

ROOT = Path(__file__).resolve().parents[2]

EVERYTHING = """
import json, sys
from datetime import date
import numpy as np
from numba.core.types import unliteral
from signals.formats.sumo.config import read_scenario
from signals.model.counts import CountForecast
from signals.model.night import DayDemand, DayType, Subarea
from signals.model.plan import PlanRequest, Objective, Refinement, StagePolicy
from signals.planning import path, plan_case, read_case
from signals.planning.day import GroupCase, plan_day
from signals.report.plans import planned_facts
from signals.timing.coordination import coordinate
from signals.timing.isolated import IsolatedRequest, plan_all
from signals.timing.isolated_phases import IsolatedIntersection, IsolatedPhase, LeftTurn
from signals.timing.schedule import ScheduleRequest
from signals.timing.subareas import subareas
from sumo_nets import find_network

path.FEWEST_EVALUATIONS = path.MOST_EVALUATIONS = 40
for name, request in (
    ("single", PlanRequest()),
    ("single", PlanRequest(objective=Objective.INDEX, stages=StagePolicy.DROP_PROTECTED)),
    ("arterial", PlanRequest(signals=("j2", "j3"))),
):
    case = read_case(read_scenario(find_network(name)))
    planned_facts(plan_case(case, request, refinement=Refinement.NONE), None)
programs = {s: i.program for s, i in case.network.intersections.items() if i.program}
coordinate(case.network, programs, case.counts)

names = tuple(m.id for i in case.network.intersections.values() for m in i.movements)
mean = np.full((96, len(names)), 20.0)
times = np.datetime64("2026-11-24T00:00", "m") + 15 * np.arange(96)
quantiles = mean[:, :, None] * np.array([0.8, 1.0, 1.2])
demand = DayDemand(
    date(2026, 11, 24), DayType.WEEKDAY, CountForecast(names, times, 15, mean, (0.1, 0.5, 0.9), quantiles)
)
groups = subareas(case.network, [case.counts], request=PlanRequest())
planned = plan_day(GroupCase(case.network, groups[0], demand, PlanRequest(), ScheduleRequest(), ""))
assert not planned.failed, planned.failed

def phase(number, left=LeftTurn.PROTECTED):
    return IsolatedPhase(number, (200.0,), 1800.0, 5.0, 60.0, 5.0, left_turn=left)

gaps = LeftTurn.PERMITTED
plan_all([IsolatedIntersection("a", tuple(phase(n) for n in (2, 4, 6, 8)))], IsolatedRequest())
lefts = tuple(phase(n, gaps if n % 2 else LeftTurn.PROTECTED) for n in range(1, 9))
plan_all([IsolatedIntersection("b", lefts)], IsolatedRequest())

found = {}
for name, module in sorted(sys.modules.items()):
    if name.startswith("kernels."):
        for kernel in vars(module).values():
            if hasattr(kernel, "signatures"):
                # a constant that one kernel hands to another has a type of its own while types are inferred
                kinds = {tuple(map(unliteral, signature)) for signature in kernel.signatures}
                found[f"{kernel.__module__}.{kernel.__name__}"] = len(kinds)
print(json.dumps(found))
"""


@pytest.mark.skipif(not JIT_ENABLED, reason="GREENSPLIT_JIT=0: there is no compiled kernel")
def test_the_product_compiles_each_kernel_once(tmp_path: Path) -> None:
    """Against an empty cache: what is loaded from one doesn't say which kernels it was compiled of."""
    ended = subprocess.run(
        [sys.executable, "-c", EVERYTHING],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    signatures = json.loads(ended.stdout)
    assert sum(signatures.values()) > 60, "kernels were used"
    assert {name: n for name, n in signatures.items() if n > 1} == {}
