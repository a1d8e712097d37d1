"""The emergency corridor measured: an ambulance through 21 signals, without priority and with it.

    python -m benchmarks.emergency [--seeds 5] [--first-seed 1] [--jobs 2] [--bluelight] [--no-queues]

Prints, for each seed, the ambulance's travel time, the delay of everybody and of those who cross the corridor without
following it, on the road in the hour from departure on, and what the safety check says of every state that was shown.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from statistics import fmean

from signals.demand.turning import flows_vph
from signals.emergency.corridor import CorridorPlanner, plan_corridor
from signals.emergency.play import Drive, Played, play_with, play_without
from signals.formats.sumo.config import read_scenario
from signals.planning import read_case
from sumo_nets import find_network
from sumo_nets.corridor.build import corridor_route

DEPARTS_S = 7 * 3600.0
TIMED_PLANS = 10

Flows = dict[str, dict[str, float]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--bluelight", action="store_true", help="others make way, in both runs")
    parser.add_argument("--no-queues", action="store_true", help="the planner isn't told of queues")
    options = parser.parse_args(arguments)
    case = read_case(read_scenario(find_network("corridor")))
    slot = int((DEPARTS_S - case.counts.begin_s) // case.counts.interval_s)
    flows = {s: flows_vph(case.counts, s, slot, slot) for s in case.network.intersections}
    edges = tuple(corridor_route())
    spent = []
    for _ in range(TIMED_PLANS):
        start = time.perf_counter()
        plan = plan_corridor(
            case.network, edges, departs_s=DEPARTS_S, flows_vph=flows, now_s=DEPARTS_S - 60.0
        )
        spent.append(time.perf_counter() - start)
    print(
        f"plan for {len(plan.signals)} signals over {plan.route.length_m / 1000.0:.2f} km: best {min(spent):.2f} s, "
        f"worst {max(spent):.2f} s of {TIMED_PLANS}; predicted {plan.travel_s:.0f} s instead of "
        f"{plan.travel_without_s:.0f} s, cross streets lose at most {plan.cross_delay_s / 3600.0:.1f} veh·h\n"
    )
    print(
        "| seed | without, s | with, s | ratio | everybody, s/veh | cross streets, s/veh | cross streets, veh·h more "
        "| longest red, s | teleports | signals held | findings | seconds unlike the plan | slowest re-plan, s |\n"
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|"
    )
    ratios = []
    drives = [
        Drive(
            case.scenario,
            case.network,
            edges,
            DEPARTS_S,
            seed=seed,
            bluelight=options.bluelight,
            observe_queues=not options.no_queues,
        )
        for seed in range(options.first_seed, options.first_seed + options.seeds)
    ]
    with ProcessPoolExecutor(options.jobs) as pool:
        for drive, (without, played) in zip(
            drives, pool.map(both, drives, [flows] * len(drives)), strict=True
        ):
            ratios += _row(drive.seed, without, played)
    if ratios:
        print(f"\nmean ratio {fmean(ratios):.3f}, worst {max(ratios):.3f}, of {len(ratios)} seeds")


def both(drive: Drive, flows: Flows) -> tuple[Played, Played]:
    """The two runs of a seed."""
    planner = CorridorPlanner(drive.network, drive.edges, flows_vph=flows)
    return play_without(drive), play_with(drive, planner)


def _row(seed: int, without: Played, played: Played) -> list[float]:
    arrived = without.travel_s is not None and played.travel_s is not None
    ratio = [played.travel_s / without.travel_s] if arrived else []  # type: ignore[operator]
    more_h = (played.cross_streets.total_s - without.cross_streets.total_s) / 3600.0
    print(
        f"| {seed} | {_seconds(without)} | {_seconds(played)} | {ratio[0] if ratio else float('nan'):.2f} "
        f"| {without.everybody.mean_s:.1f} → {played.everybody.mean_s:.1f} "
        f"| {without.cross_streets.mean_s:.1f} → {played.cross_streets.mean_s:.1f} | {more_h:+.1f} "
        f"| {played.longest_red_s:.0f} "
        f"| {without.teleports} → {played.teleports} | {played.held} | {len(played.findings)} "
        f"| {played.differing_s} | {played.slowest_plan_s:.2f} |",
        flush=True,
    )
    return ratio


def _seconds(played: Played) -> str:
    return "not arrived" if played.travel_s is None else f"{played.travel_s:.0f}"


if __name__ == "__main__":
    main()
