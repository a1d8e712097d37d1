"""Comparisons: the statistics against scipy and a textbook's data, the verdicts, who is harmed, the JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from signals.errors import InputError
from signals.formats.sumo.config import Scenario
from signals.formats.sumo.network import read_network
from signals.simulation.compare import (
    Alternative,
    Comparison,
    PlanFigures,
    Verdict,
    compare,
    judge,
    paired_difference,
)
from signals.simulation.run import MovementDelay, RunResult

from .conftest import FAIR, STARVED, program

# Student (1908), The probable error of a mean, Biometrika 6: extra hours of sleep of ten patients under two
# drugs. R's t.test(paired=TRUE) on its data set `sleep`: mean -1.58, interval -2.4598858 to -0.7001142.
SLEEP_1 = (0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0)
SLEEP_2 = (1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4)


def run(delay_s: float, *, movements: Sequence[MovementDelay] = (), **changed: Any) -> RunResult:
    """A run of a hundred vehicles with this mean delay."""
    plain = {
        "seed": 1, "demand": 100, "inserted": 100, "arrived": 90, "unfinished": 10, "never_inserted": 0,
        "discarded": 0, "mean_delay_s": delay_s, "mean_time_loss_s": delay_s, "mean_depart_delay_s": 0.0,
        "mean_travel_time_s": 60.0 + delay_s, "mean_waiting_s": delay_s / 2, "stops_per_vehicle": 1.0,
        "mean_speed_mps": 8.0, "congestion_index": 1.5, "throughput_vph": 90.0, "teleports": 0,
        "teleport_reasons": {}, "collisions": 0, "emergency_stops": 0, "emergency_braking": 0,
        "movements": tuple(movements),
    }  # fmt: skip
    return RunResult(**{**plain, **changed})


def against(current: Sequence[RunResult], other: Sequence[RunResult]) -> Alternative:
    """The judgement of one plan against another."""
    comparison = judge(
        "test",
        range(len(current)),
        PlanFigures("built-in", None, tuple(current)),
        [PlanFigures("new", Path("new.add.xml"), tuple(other))],
    )
    return comparison.alternatives[0]


# --------------------------------------------------------------------------------------------- statistics


def test_the_interval_is_the_textbooks() -> None:
    d = paired_difference(SLEEP_2, SLEEP_1)
    assert (d.mean, d.low, d.high) == pytest.approx((-1.58, -2.4598858, -0.7001142), abs=1e-6)
    assert d.n == 10
    assert d.falls
    assert not d.rises


@pytest.mark.parametrize("n", [2, 3, 5, 30])
def test_the_interval_is_scipys(n: int) -> None:
    random = np.random.default_rng(n)
    before = random.normal(60, 5, n)
    after = before + random.normal(-1, 2, n)
    d = paired_difference(before.tolist(), after.tolist())
    expected = stats.ttest_rel(after, before).confidence_interval(0.95)
    assert (d.low, d.high) == pytest.approx((expected.low, expected.high))
    assert d.sd == pytest.approx(np.std(after - before, ddof=1))


def test_pairs_without_a_figure_are_left_out() -> None:
    d = paired_difference([1.0, math.nan, 3.0, 4.0], [2.0, 5.0, math.nan, 6.0])
    assert (d.n, d.mean) == (2, 1.5)
    nothing = paired_difference([math.nan], [1.0])
    assert (nothing.n, nothing.low, nothing.high) == (0, -math.inf, math.inf)


def test_one_pair_cannot_decide() -> None:
    d = paired_difference([60.0], [20.0])
    assert (d.mean, d.low, d.high) == (-40.0, -math.inf, math.inf)
    assert not d.falls


def test_equal_differences_have_no_spread() -> None:
    # 0.1 + 0.2 and the like must not give a spread of 1e-17 either
    d = paired_difference([10.0, 20.0, 40.0], [9.0, 19.0, 39.0])
    assert (d.mean, d.low, d.high, d.sd) == (-1.0, -1.0, -1.0, 0.0)
    assert d.falls
    same = paired_difference([10.0, 20.0], [10.0, 20.0])
    assert not same.falls
    assert not same.rises


# ----------------------------------------------------------------------------------------------- verdicts


def test_a_clear_gain_is_adopted() -> None:
    a = against([run(60), run(62), run(58)], [run(50), run(51), run(49)])
    assert a.verdict is Verdict.ADOPT
    assert a.gain_percent == pytest.approx(100 * (60 - 50) / 60)
    assert a.difference.mean == pytest.approx(-10)


def test_noise_keeps_the_current_plan() -> None:
    a = against([run(60), run(62), run(58)], [run(70), run(51), run(49)])
    assert a.difference.mean < 0 < a.difference.high
    assert a.verdict is Verdict.KEEP_CURRENT
    assert "noise" in a.reason


def test_seeds_are_paired() -> None:
    # Seeds differ by far more than plans do; only pairing shows that each one gains a second.
    before, after = [20.0, 50.0, 90.0, 140.0], [19.1, 48.9, 89.0, 138.9]
    assert stats.ttest_ind(before, after).pvalue > 0.9
    assert against([run(s) for s in before], [run(s) for s in after]).verdict is Verdict.ADOPT


def test_a_loss_and_a_single_seed_keep_the_current_plan() -> None:
    worse = against([run(50), run(51)], [run(60), run(61.1)])
    assert worse.verdict is Verdict.KEEP_CURRENT
    assert "rises" in worse.reason
    single = against([run(50)], [run(20)])
    assert single.verdict is Verdict.KEEP_CURRENT
    assert "one seed" in single.reason
    same = against([run(50), run(51)], [run(50), run(51)])
    assert same.verdict is Verdict.KEEP_CURRENT


@pytest.mark.parametrize("danger", ["teleports", "emergency_stops", "collisions", "discarded"])
def test_no_gain_makes_up_for_new_dangers(danger: str) -> None:
    before, after = [run(60), run(62)], [run(30), run(31, **{danger: 1})]
    a = against(before, after)
    assert a.verdict is Verdict.KEEP_CURRENT
    assert "new" in a.reason
    # as many as before are not new
    assert against([run(60, **{danger: 1}), run(62)], after).verdict is Verdict.ADOPT


def test_no_demand_is_a_stated_result() -> None:
    a = against([run(0.0, demand=0)] * 2, [run(0.0, demand=0)] * 2)
    assert a.verdict is Verdict.KEEP_CURRENT
    assert "nobody" in a.reason


def test_the_worst_seed_is_the_slowest_or_the_highest() -> None:
    figures = PlanFigures("x", None, (run(60, mean_speed_mps=7.0), run(62, mean_speed_mps=6.0)))
    assert figures.measure("mean_delay_s").worst == 62
    assert figures.measure("mean_speed_mps").worst == 6.0
    assert figures.measure("mean_delay_s").sd == pytest.approx(np.std([60, 62], ddof=1))
    assert math.isnan(figures.measure("co2_kg").mean)


# --------------------------------------------------------------------------------------------- who is harmed


def streets(*, main_s: float, side_s: float, left_s: float = 30.0) -> list[MovementDelay]:
    """A signal with two busy approaches, one of them with a left turn, and a quiet one."""
    return [
        MovementDelay("1", "NBT", "north", 400, 400 * main_s),
        MovementDelay("1", "NBL", "north", 20, 20 * left_s),
        MovementDelay("1", "SBT", "south", 300, 300 * main_s),
        MovementDelay("1", "EBT", "east", 50, 50 * side_s),
    ]


def test_a_side_street_that_pays_is_named() -> None:
    before = [run(40 + i, movements=streets(main_s=40, side_s=30 + i)) for i in range(3)]
    after = [run(30 + i, movements=streets(main_s=25, side_s=45 + 1.1 * i)) for i in range(3)]
    a = against(before, after)
    assert a.verdict is Verdict.ADOPT
    assert "1 movement(s) pay" in a.reason
    (harmed,) = a.movements
    assert (harmed.intersection, harmed.movement, harmed.vehicles, harmed.side_street) == (
        "1",
        "EBT",
        50,
        True,
    )
    assert harmed.difference.mean == pytest.approx(15.1)
    assert [s.approach for s in a.approaches] == ["east"]
    assert a.side_streets is not None
    assert a.main_streets is not None
    assert a.side_streets.current_s == pytest.approx(31)
    assert a.main_streets.vehicles == 720
    assert a.main_streets.difference.falls


@pytest.mark.parametrize(
    ("after_s", "harmed"),
    [
        ((34.0, 34.1, 34.2), False),  # +4 s: under 5 s
        ((36.2, 36.3, 36.4), True),  # +6 s: over 5 s, and over 20 % of 30 s
        ((80.0, 31.0, 29.0), False),  # +17 s, but one seed alone
    ],
)
def test_harm_is_large_and_beyond_noise(after_s: tuple[float, ...], harmed: bool) -> None:
    before = [run(40, movements=streets(main_s=40, side_s=30)) for _ in after_s]
    after = [run(35, movements=streets(main_s=35, side_s=s)) for s in after_s]
    assert bool(against(before, after).movements) == harmed


def test_harm_on_a_slow_movement_is_a_fifth_of_its_delay() -> None:
    # +12 s on 100 s is 12 %: less than a fifth; on 30 s it is harm
    before = [run(40, movements=streets(main_s=40, side_s=100, left_s=30)) for _ in range(3)]
    after = [run(35, movements=streets(main_s=35, side_s=112, left_s=42)) for _ in range(3)]
    assert [s.movement for s in against(before, after).movements] == ["NBL"]


# ------------------------------------------------------------------------------------------------ in SUMO


@pytest.fixture(scope="module")
def compared(scenario: Scenario, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """A starved current plan against the same one again and a fair one, three seeds."""
    folder = tmp_path_factory.mktemp("plans")
    files: dict[str, Path | None] = {}
    for name, phases in (("starved", STARVED), ("again", STARVED), ("fair", FAIR)):
        files[name] = folder / f"{name}.add.xml"
        (folder / f"{name}.add.xml").write_text(program(*phases, name=name))
    return compare(scenario, files, seeds=(1, 2, 3), movements=read_network(scenario))


def test_compare_runs_each_plan_with_each_seed(compared: Comparison) -> None:
    again, fair = compared.alternatives
    assert [r.seed for r in compared.current.runs] == [r.seed for r in fair.figures.runs] == [1, 2, 3]
    assert (again.difference.low, again.difference.high) == (0.0, 0.0)
    assert again.verdict is Verdict.KEEP_CURRENT
    assert not again.movements
    # The starved plan gives 110 of 120 s to the street that overflows: the fair one takes green from it, and
    # from the approach opposite, for the sake of the third.
    assert [s.approach for s in fair.approaches] == ["top0A0", "bottom0A0"]
    assert fair.verdict is Verdict.KEEP_CURRENT
    assert fair.main_streets is not None
    assert {r.demand for r in fair.figures.runs} == {compared.current.runs[0].demand}


def test_json_is_plain_and_finite(compared: Comparison, scenario: Scenario) -> None:
    read = json.loads(json.dumps(compared.to_json(), allow_nan=False))
    assert read["current"]["measures"]["co2_kg"]["mean"] is None
    assert read["alternatives"][1]["difference_s"]["mean"] == compared.alternatives[1].difference.mean
    assert read["alternatives"][1]["verdict"] in {v.value for v in Verdict}
    single = judge("x", (1,), PlanFigures("a", None, (run(9),)), [PlanFigures("b", None, (run(8),))])
    read = json.loads(json.dumps(single.to_json(), allow_nan=False))
    assert read["alternatives"][0]["difference_s"]["low"] is None


def test_compare_refuses_what_it_cannot_compare(scenario: Scenario, plan_file: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="at least one other"):
        compare(scenario, {"built-in": None}, seeds=(1, 2))
    plans = {"built-in": None, "new": plan_file("new", *FAIR)}
    with pytest.raises(InputError, match="once"):
        compare(scenario, plans, seeds=(1, 1))
    with pytest.raises(InputError, match="at least one"):
        compare(scenario, plans, seeds=())
