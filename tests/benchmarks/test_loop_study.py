"""The study of the loop: its days, and that the controls beside it show nothing unsafe and do what they say."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pytest

from benchmarks.loop import change_percent, table
from benchmarks.loop_control import Actuated, actuated_plan
from benchmarks.loop_scenarios import HOURS_3, SLOT_S, draw_day, network_of
from benchmarks.max_pressure import Pressure, Queues, run_max_pressure
from signals.formats.sumo.xml import elements
from signals.model.plan import PlanRequest
from signals.planning import read_case
from signals.planning.case import Case
from signals.safety.check import check_timeline
from signals.simulation.run import simulate
from signals.timing.stages import stage_plan

SHORT_S = 600.0


def short(name: str) -> Case:
    """A network's first ten minutes."""
    own = network_of(name)
    return read_case(replace(own, end_s=own.begin_s + SHORT_S))


@pytest.fixture(scope="module")
def case() -> Case:
    """Ten minutes of the grid."""
    return short("grid")


def test_a_day_is_the_same_for_its_seed_and_follows_the_profile(tmp_path: Path) -> None:
    first, again, other = (draw_day("grid", seed, tmp_path / f"{k}") for k, seed in enumerate((1, 1, 2)))
    texts = [day.scenario.routes[0].read_bytes() for day in (first, again, other)]
    assert texts[0] == texts[1] != texts[2]
    slots = Counter(
        int(float(v.get("depart", "")) // SLOT_S) for v in elements(first.scenario.routes[0], "vehicle")
    )
    assert (first.scenario.begin_s, first.scenario.end_s) == (0.0, 3 * 3600.0)
    assert set(slots) == set(range(12))
    # 7094 vehicles are due in the own hour
    hours = [sum(slots[4 * hour + k] for k in range(4)) for hour in range(3)]
    assert hours == pytest.approx([7094 * sum(HOURS_3[4 * h : 4 * h + 4]) / 4 for h in range(3)], rel=0.05)
    assert len(first.disturbances) == 1
    assert draw_day("grid", 3, tmp_path / "quiet", incident=False).disturbances == ()


@pytest.mark.parametrize(("name", "signals"), [("grid", 16), ("arterial", 8)])
def test_max_pressure_shows_nothing_that_the_safety_check_minds(
    name: str, signals: int, tmp_path: Path
) -> None:
    case = short(name)
    record = tmp_path / "record.add.xml"
    lines = "".join(
        f'<timedEvent type="SaveTLSStates" source="{s}" dest="{tmp_path / "states.xml"}"/>'
        for s in case.network.intersections
    )
    record.write_text(f"<additional>{lines}</additional>")
    setting = Pressure(5)
    run_max_pressure(case.scenario, case.network, case.counts, setting, seed=1, plans=(record,))
    shown: dict[str, list[str]] = defaultdict(list)
    for row in elements(tmp_path / "states.xml", "tlsState"):
        shown[row.get("id", "")].append(row.get("state", ""))
    request = PlanRequest()
    for signal, states in shown.items():
        intersection = case.network.intersections[signal]
        pieces = [(float(len(list(same))), state) for state, same in groupby(states)]
        # the program is left at the start
        window = (case.scenario.begin_s + 100.0, case.scenario.begin_s + SHORT_S - 100.0)
        findings = check_timeline(
            intersection, pieces, case.scenario.begin_s, window, request, connections=case.network.connections
        )
        assert findings == (), signal
        stages = {s.state for s in stage_plan(intersection, request).stages}
        assert len({state for _, state in pieces} & stages) >= 2, signal
    assert len(shown) == signals


def test_pressure_is_the_queue_less_the_mean_queue_ahead(case: Case) -> None:
    queues = Queues(case.network, case.counts)
    edge, ahead = "r0c1_r0c2_pocket", "r0c2_r0c3_pocket"
    own, after = queues.movements[edge], queues.movements[ahead]
    through = next(m for m in own if m.turn.value == "T")
    found = queues.queues({f"{edge}_0": 3.0, f"{edge}_1": 2.0, f"{edge}_2": 1.0}, {ahead: 0.0})
    assert sum(found[m.id] for m in own) == pytest.approx(6.0)
    assert queues.pressure(through, found) == pytest.approx(found[through.id])
    # whoever stands on the edge before is shared out too
    blocked = queues.queues({f"{edge}_1": 2.0}, {"r0c2_r0c3": 8.0})
    assert sum(blocked[m.id] for m in after) == pytest.approx(8.0)
    mean = sum(queues.share[m.id] * blocked[m.id] for m in after)
    assert queues.pressure(through, blocked) == pytest.approx(blocked[through.id] - mean)


def test_actuated_programs_keep_stages_and_minimums(case: Case, tmp_path: Path) -> None:
    path = actuated_plan(case, Actuated("actuated"), tmp_path / "actuated.add.xml")
    for logic in elements(path, "tlLogic"):
        intersection = case.network.intersections[logic.get("id", "")]
        plan = stage_plan(intersection, PlanRequest())
        bounds = [(p.get("state"), float(p.get("minDur", ""))) for p in logic if p.get("minDur")]
        assert bounds == [(s.state, s.min_s) for s in plan.stages]
    assert simulate(case.scenario, seed=1, plans=(path,), light=True).demand > 0


def test_changes_are_paired_by_seed() -> None:
    before = [{"mean_speed_mps": 10.0}, {"mean_speed_mps": 5.0}]
    after = [{"mean_speed_mps": 11.0}, {"mean_speed_mps": 6.0}]
    found = change_percent(before, after, "mean_speed_mps")
    assert found.mean == pytest.approx(15.0)
    assert found.low < 0 < found.high


def test_the_table_has_a_row_a_control() -> None:
    row = {
        "mean_speed_mps": 8.0,
        "congestion_index": 2.0,
        "mean_delay_s": 50.0,
        "stops_per_vehicle": 1.0,
        "unfinished": 3.0,
        "teleports": 0.0,
    }
    faster = {**row, "mean_speed_mps": 10.0}
    lines = table({"fixed": [row, row], "loop": [faster, faster]}).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| fixed", "| loop"]
    assert "+25.0 % (+25.0 … +25.0)" in lines[3]
