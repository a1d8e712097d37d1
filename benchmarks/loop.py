"""The loop beside other controls, on the same days with the same seeds and measured by the same code.

    python -m benchmarks.loop [--networks arterial,grid,cologne3] [--seeds 5] [--first-seed 1]
        [--controls fixed,nightly,actuated,max-pressure,loop] [--stages keep] [--keep FOLDER] [--json]

*fixed* is the shipped plan; *nightly* what `optimize` makes of a typical day (`loop_scenarios`); *actuated* and
*max-pressure* are set on a tuning day that isn't compared, by mean delay, from what `loop_control.ACTUATED` and
`max_pressure.TRIED` list; *loop* is `operate`, begun with the nightly plan. Each figure is the mean over the seeds,
each change the mean of paired changes in percent with its 95 % interval. With --stages drop-protected the nightly plan
and the loop may leave out protected stages, as max-pressure may. --keep reuses runs that a folder holds from
before, so that a control can be measured anew alone: delete its files there after a change to it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.loop_control import ACTUATED, actuated_plan, nightly_plan
from benchmarks.loop_scenarios import Day, draw_day
from benchmarks.max_pressure import TRIED, Pressure, run_max_pressure
from signals.model.plan import PlanRequest, StagePolicy
from signals.planning import read_case
from signals.planning.case import Case
from signals.simulation.compare import Difference, paired_difference
from signals.simulation.run import RunResult, simulate

CONTROLS = ("fixed", "nightly", "actuated", "max-pressure", "loop")
AGAINST = ("fixed", "nightly")
MEASURES = (
    *("mean_speed_mps", "congestion_index", "mean_delay_s", "stops_per_vehicle"),
    *("demand", "unfinished", "never_inserted", "teleports", "collisions", "emergency_braking"),
    "pedestrian_delay_s",
)
TYPICAL_SEED, TUNING_SEED = 1001, 901
TUNING_HOUR_S = (2700.0, 6300.0)
"""Part of a day of three hours in which settings are tuned: its peak. Shorter days are taken whole."""
TIMEOUT_S = 1800.0
AT_ONCE = 2

Figures = Mapping[str, float]
Run = Callable[[Day], RunResult]


class Bench:
    """One network: its typical day, its controls, and the runs that have been made."""

    def __init__(self, name: str, folder: Path, stages: StagePolicy) -> None:
        self.name = name
        self.folder = folder / name
        self.request = PlanRequest(stages=stages)
        self.typical = draw_day(name, TYPICAL_SEED, self.folder / "typical", incident=False)
        self.case: Case = read_case(self.typical.scenario)
        self._days: dict[int, Day] = {}

    def day(self, seed: int) -> Day:
        """The day of a seed."""
        if seed not in self._days:
            self._days[seed] = draw_day(self.name, seed, self.folder / f"day-{seed}")
        return self._days[seed]

    def run_of(self, control: str) -> Run:
        """How a control is run for a day; what has to be planned or tuned first is."""
        if control == "fixed":
            return partial(_simulated, ())
        if control == "nightly":
            return partial(_simulated, (self._nightly(),))
        if control == "loop":
            return self._loop()
        runs: dict[str, Run] = {}
        if control == "actuated":
            for k, how in enumerate(ACTUATED):
                path = actuated_plan(self.case, how, self.folder / f"actuated{k}.add.xml")
                runs[repr(how)] = partial(_simulated, (path,))
        else:
            runs = {repr(setting): partial(_max_pressure, self.case, setting) for setting in TRIED}
        return runs[self._tuned(control, runs)]

    def figures(self, control: str, seeds: Sequence[int]) -> list[Figures]:
        """The measures of a control on the days of the seeds."""
        missing = [seed for seed in seeds if not self._entry(control, seed).exists()]
        if missing:
            run = self.run_of(control)
            for seed in missing:
                self.day(seed)
            with ThreadPoolExecutor(AT_ONCE) as pool:
                for seed, result in zip(missing, pool.map(run, map(self.day, missing)), strict=True):
                    _store(self._entry(control, seed), _measures(result))
        return [json.loads(self._entry(control, seed).read_text()) for seed in seeds]

    def setting(self, control: str) -> str:
        """What tuning chose for a control, empty where nothing is tuned."""
        entry = self.folder / "runs" / f"{control}-tuned.json"
        return str(json.loads(entry.read_text())["chosen"]) if entry.exists() else ""

    def _entry(self, control: str, seed: int) -> Path:
        return self.folder / "runs" / f"{control}{self._policy(control)}-{seed}.json"

    def _policy(self, control: str) -> str:
        """What tells runs of a control that obeys the request from those under another policy."""
        keeps = self.request.stages is StagePolicy.KEEP
        return "" if keeps or control not in ("nightly", "loop") else f"-{self.request.stages}"

    def _nightly(self) -> Path:
        plan = self.folder / f"nightly{self._policy('nightly')}.add.xml"
        return plan if plan.exists() else nightly_plan(self.case, plan, self.request)

    def _tuned(self, control: str, runs: Mapping[str, Run]) -> str:
        """Which of several settings has the least mean delay on the tuning day."""
        entry = self.folder / "runs" / f"{control}-tuned.json"
        if not entry.exists():
            day = self.day(TUNING_SEED)
            whole = day.scenario
            begin_s, end_s = (whole.begin_s + part for part in TUNING_HOUR_S)
            if whole.end_s is None or end_s < whole.end_s:
                day = replace(day, scenario=replace(whole, begin_s=begin_s, end_s=end_s))
            with ThreadPoolExecutor(AT_ONCE) as pool:
                delays = list(pool.map(lambda run: run(day).mean_delay_s, runs.values()))
            by_setting = dict(zip(runs, delays, strict=True))
            chosen = min(by_setting, key=lambda name: by_setting[name])
            _store(entry, {"chosen": chosen, "delays_s": by_setting})
        return self.setting(control)

    def _loop(self) -> Run:
        from signals.formats.sumo.demand import default_cache
        from signals.operation import OperateSettings, operate

        plan = self._nightly()
        return lambda day: (
            operate(
                day.scenario,
                OperateSettings(self.request, cache=default_cache()),
                seed=day.seed,
                start=plan,
                extra=day.disturbances,
                typical=self.typical.scenario,
            ).run
        )


def change_percent(before: Sequence[Figures], after: Sequence[Figures], measure: str) -> Difference:
    """Mean of paired changes of a measure in percent, with its 95 % interval."""
    changes = [
        100.0 * (b[measure] / a[measure] - 1.0) for a, b in zip(before, after, strict=True) if a[measure] > 0
    ]
    return paired_difference([0.0] * len(changes), changes)


def table(found: Mapping[str, Sequence[Figures]]) -> str:
    """The controls of one network side by side, as Markdown."""
    against = [c for c in AGAINST if c in found]
    head = ["control", "mean speed, m/s", *(f"efficiency against {c}" for c in against), "congestion index"]
    head += [f"against {c}" for c in against]
    head += ["delay, s/veh", "stops/veh", "unfinished", "teleports"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for control, rows in found.items():
        cells = [control]
        for measure in ("mean_speed_mps", "congestion_index"):
            cells.append(f"{_mean(rows, measure):.2f}")
            for other in against:
                cells.append("-" if other == control else _shown(change_percent(found[other], rows, measure)))
        cells += [f"{_mean(rows, 'mean_delay_s'):.1f}", f"{_mean(rows, 'stops_per_vehicle'):.2f}"]
        cells += [f"{_mean(rows, 'unfinished'):.0f}", f"{sum(row['teleports'] for row in rows):.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _simulated(plans: Sequence[Path], day: Day) -> RunResult:
    plans = (*plans, *day.disturbances)
    return simulate(day.scenario, seed=day.seed, plans=plans, timeout_s=TIMEOUT_S)


def _max_pressure(case: Case, setting: Pressure, day: Day) -> RunResult:
    return run_max_pressure(
        day.scenario,
        case.network,
        case.counts,
        setting,
        seed=day.seed,
        plans=day.disturbances,
        timeout_s=TIMEOUT_S,
    )


def _measures(result: RunResult) -> dict[str, float]:
    known = asdict(result)
    return {name: float(known[name]) for name in MEASURES}


def _store(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1))


def _mean(rows: Sequence[Figures], measure: str) -> float:
    return fmean(row[measure] for row in rows)


def _shown(d: Difference) -> str:
    return f"{d.mean:+.1f} % ({d.low:+.1f} … {d.high:+.1f})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", default="arterial,grid,cologne3")
    parser.add_argument("--controls", default=",".join(CONTROLS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--stages", type=StagePolicy, default=StagePolicy.KEEP, choices=list(StagePolicy))
    parser.add_argument("--keep", type=Path, help="folder with days, plans and runs")
    parser.add_argument("--json", action="store_true", help="every run's figures, in place of tables")
    options = parser.parse_args(arguments)
    controls = options.controls.split(",")
    unknown = [c for c in controls if c not in CONTROLS]
    if unknown:
        parser.error(f"no control {unknown[0]}; there are {', '.join(CONTROLS)}")
    folder = options.keep or Path(tempfile.mkdtemp(prefix="greensplit-loop-"))
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    everything: dict[str, Any] = {}
    for name in options.networks.split(","):
        bench = Bench(name, folder, options.stages)
        found = {}
        for control in controls:
            found[control] = bench.figures(control, seeds)
            print(f"{name}, {control}: {_mean(found[control], 'mean_delay_s'):.1f} s/veh", file=sys.stderr)
        settings = {c: s for c in controls if (s := bench.setting(c))}
        everything[name] = {"seeds": list(seeds), "settings": settings, "runs": found}
        if not options.json:
            print(f"### {name}, seeds {seeds[0]} to {seeds[-1]}\n\n{table(found)}\n", flush=True)
            print("".join(f"{c}: {s}\n" for c, s in settings.items()), flush=True)
    if options.json:
        print(json.dumps(everything, indent=1))


if __name__ == "__main__":
    main()
