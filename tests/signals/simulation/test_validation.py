"""A group's plans against those in place: equal, bad and better ones, the traffic behind them, and the sample."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from signals.demand.turning import turning_counts
from signals.errors import InputError
from signals.formats.sumo.config import Scenario, read_scenario
from signals.formats.sumo.demand import read_demand
from signals.formats.sumo.network import read_network
from signals.model.demand import TurningCounts
from signals.model.network import Network
from signals.model.phasing import GREEN, SignalProgram
from signals.model.plan import PlanSet, TimingPlan
from signals.simulation.validation import (
    AtStake,
    Outcome,
    Validation,
    expected_cost_s,
    sample_groups,
    validate_group,
)
from sumo_nets.generator import generate_grid

GROUP = tuple(f"r{row}c{column}" for row in (1, 2) for column in (1, 2))
WINDOW = (26100.0, 26700.0)
SHORT = (26100.0, 26400.0)


@dataclass(frozen=True)
class City:
    scenario: Scenario
    network: Network
    counts: TurningCounts

    def plans(self, *programs: SignalProgram, switch_s: float | None = None) -> PlanSet:
        """A plan set of the programs in place, with others instead where given."""
        own = {s: i.program for s, i in self.network.intersections.items() if s in GROUP}
        first = {s: TimingPlan(p) for s, p in own.items() if p is not None}
        second = {**first, **{p.intersection: TimingPlan(p) for p in programs}}
        if switch_s is None:
            return PlanSet((second,), {}, {}, 1, "v", "h")
        return PlanSet((first, second), dict.fromkeys(first, (switch_s,)), {}, 1, "v", "h")

    def starved(self) -> list[SignalProgram]:
        """Programs whose first stage takes three quarters of a cycle of three minutes."""
        made = []
        for signal in GROUP:
            program = self.network.intersections[signal].program
            assert program is not None
            greens = [k for k, i in enumerate(program.intervals) if not set(i.state).isdisjoint(GREEN)]
            greens = [k for k in greens if "y" not in program.intervals[k].state]
            intervals = list(program.intervals)
            for k in greens:
                intervals[k] = replace(intervals[k], duration_s=135.0 if k == greens[0] else 7.0)
            made.append(replace(program, intervals=tuple(intervals)))
        return made


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> City:
    """A grid of 4 x 4 signals at seven in the morning, with counts of its four inner ones."""
    scenario = read_scenario(
        generate_grid(4, 4, seed=5, directory=tmp_path_factory.mktemp("city"), demand_factor=0.6)
    )
    network = read_network(scenario)
    counted = turning_counts(network, read_demand(scenario))
    return City(
        scenario,
        network,
        replace(counted, begin_s=25200.0, counts={s: counted.counts[s] for s in GROUP}, link_flows={}),
    )


def validated(
    city: City,
    folder: Path,
    before: PlanSet | None,
    after: PlanSet,
    seeds: int = 2,
    window: tuple[float, float] = WINDOW,
) -> Validation:
    return validate_group(
        city.scenario,
        city.network,
        city.counts,
        before,
        after,
        windows=[window],
        seeds=range(1, seeds + 1),
        jobs_at_once=2,
        folder=folder,
        lead_in_s=200.0,
    )


def test_the_plans_in_place_differ_by_nothing_from_themselves(city: City, tmp_path: Path) -> None:
    found = validated(city, tmp_path, None, city.plans())
    assert found.outcome is found.windows[0].outcome is Outcome.NO_DIFFERENCE
    assert (found.difference.mean, found.difference.low, found.difference.high) == (0.0, 0.0, 0.0)
    assert found.before_s == found.after_s > 5.0
    assert found.sumo_cpu_s > 0


def test_a_bad_plan_is_found_worse_and_its_contrary_better(city: City, tmp_path: Path) -> None:
    bad = city.plans(*city.starved())
    found = validated(city, tmp_path / "worse", city.plans(), bad)
    assert found.outcome is Outcome.WORSE
    assert found.difference.low > 0
    assert found.after_s > 1.5 * found.before_s
    contrary = validated(city, tmp_path / "better", bad, city.plans())
    assert contrary.outcome is Outcome.BETTER
    assert contrary.difference.mean == pytest.approx(-found.difference.mean)


def test_vehicles_follow_the_counts(city: City, tmp_path: Path) -> None:
    (window,) = validated(city, tmp_path, None, city.plans()).windows
    assert window.geh_below_5_percent > 95
    assert window.got_veh == pytest.approx(window.asked_veh, rel=0.15)
    assert window.midway_percent < 10
    quarter = sum(row[1] for rows in city.counts.counts.values() for row in rows.values())
    assert window.asked_veh == pytest.approx(quarter * 600 / 900)


def test_the_same_seeds_give_the_same_answer(city: City, tmp_path: Path) -> None:
    first, second = (
        validated(city, tmp_path / name, None, city.plans(*city.starved())) for name in ("first", "second")
    )
    assert first == second
    assert json.dumps(first.to_json()) == json.dumps(second.to_json())
    files = [sorted(p.name for p in (tmp_path / name).iterdir()) for name in ("first", "second")]
    assert files[0] == files[1]
    for name in files[0]:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    draws = [(tmp_path / "first" / f"traffic-0-{seed}.rou.xml").read_bytes() for seed in (1, 2)]
    assert draws[0] != draws[1]


def test_a_day_of_plans_runs_by_its_clock(city: City, tmp_path: Path) -> None:
    """A switch before the window is past, one after it is to come, one within it happens there."""
    bad, good = city.plans(*city.starved()), city.plans()
    delays = {}
    for name, switch_s in (("past", 3600.0), ("within", 26150.0), ("to come", 80000.0)):
        day = city.plans(*city.starved(), switch_s=switch_s)
        delays[name] = validated(city, tmp_path / name, good, day, window=SHORT).after_s
    found = validated(city, tmp_path / "one period", good, bad, window=SHORT)
    assert delays["past"] == found.after_s
    assert delays["to come"] == found.before_s
    assert delays["to come"] < delays["within"] < delays["past"]


def test_what_does_not_fit_is_said(city: City, tmp_path: Path) -> None:
    def refused(message: str, **changes: object) -> None:
        arguments = {"windows": [WINDOW], "seeds": (1, 2), "folder": tmp_path, **changes}
        counts = arguments.pop("counts", city.counts)
        after = arguments.pop("after", city.plans())
        with pytest.raises(InputError, match=message):
            validate_group(city.scenario, city.network, counts, None, after, **arguments)  # type: ignore[arg-type]

    refused("at least two", seeds=(1,))
    refused("each once", seeds=(1, 1))
    refused("give at least one", windows=[])
    refused("counts go from 25200 s to 28800 s", windows=[(28000.0, 29000.0)])
    refused("lead-in", lead_in_s=-1.0)
    refused("isn't in", counts=replace(city.counts, counts={**city.counts.counts, "elsewhere": {}}))
    stranger = {**city.counts.counts["r1c1"], "nobody's": (1.0,) * 4}
    refused("hasn't: nobody's", counts=replace(city.counts, counts={**city.counts.counts, "r1c1": stranger}))
    negative = dict.fromkeys(city.counts.counts["r1c1"], (-1.0,) * 4)
    refused("0 or more", counts=replace(city.counts, counts={**city.counts.counts, "r1c1": negative}))
    program = city.network.intersections["r1c1"].program
    assert program is not None
    cut_short = replace(program, intervals=tuple(replace(i, state=i.state[1:]) for i in program.intervals))
    refused("another network", after=city.plans(cut_short))


def test_the_sample_has_the_worst_and_the_busiest_and_then_whom_chance_picks() -> None:
    groups = [AtStake(f"g{k:02}", 1.0 + k, 100.0, 10.0) for k in range(20)]
    groups += [
        AtStake("loses", -0.5, 10.0, 10.0),
        AtStake("loses more", -2.0, 10.0, 10.0),
        AtStake("busy", 9.0, 9e4, 10.0),
    ]
    chosen = sample_groups(groups, 80.0, seed=3)
    assert chosen[:3] == ("loses more", "loses", "busy")
    assert len(chosen) == len(set(chosen)) == 8
    assert chosen == sample_groups(groups[::-1], 80.0, seed=3)
    assert chosen != sample_groups(groups, 80.0, seed=4)
    assert sample_groups(groups, 0.0, seed=3) == chosen[:3]
    assert set(sample_groups(groups, 1e6, seed=3)) == {g.group for g in groups}
    assert sample_groups(groups[:3], 0.0, seed=3) == ("g00",)
    assert sample_groups([], 10.0, seed=1) == ()


def test_a_sample_of_groups_named_twice_is_refused() -> None:
    with pytest.raises(InputError, match="twice"):
        sample_groups([AtStake("g", 1.0, 1.0, 1.0)] * 2, 10.0, seed=1)
    with pytest.raises(InputError, match="must be numbers"):
        sample_groups([AtStake("g", float("nan"), 1.0, 1.0)], 10.0, seed=1)


def test_the_expected_cost_grows_with_vehicles_windows_and_seeds(city: City) -> None:
    once = expected_cost_s(city.counts, [WINDOW], 1)
    assert once > 0
    assert expected_cost_s(city.counts, [WINDOW], 5) == pytest.approx(5 * once)
    assert expected_cost_s(city.counts, [WINDOW, WINDOW], 1) == pytest.approx(2 * once)
