"""Plans that SUMO's own means give, to measure ours against: `python -m benchmarks.peers [NETWORK ...]`.

* *tlsCycleAdaptation*: SUMO's tool for Webster's cycle and splits, at the best of a list of its options,
  chosen by mean delay on training seeds. It reads nothing but vehicles with routes: duarouter makes them.
* *actuated*: the network's own stages with SUMO's gap-based control on top of them.

Networks are RESCO's, as the sumo-rl package ships them, or any .sumocfg. The table has the mean delay over
everybody due, by `signals.simulation`, on seeds that the choice of options has not seen.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean, stdev
from xml.sax.saxutils import quoteattr

from signals.errors import InputError, SimulationError
from signals.formats.sumo.binaries import find_binary, sumo_environment, sumo_home
from signals.formats.sumo.config import Scenario, read_scenario
from signals.formats.sumo.programs import read_programs
from signals.formats.sumo.xml import elements
from signals.model.phasing import GREEN, SignalProgram
from signals.simulation.run import RunSpec, simulate_many

_CITIES = ("cologne1", "cologne3", "cologne8", "ingolstadt1", "ingolstadt7", "ingolstadt21")
RESCO = (*_CITIES, "grid4x4", "arterial4x4")

NO_SIGNAL = "wrote a plan without any signal"

ACTUATED_MIN_S, ACTUATED_MAX_S = 5.0, 50.0
"""Bounds of a green that netconvert itself gives to actuated programs (tls.min-dur, tls.max-dur)."""

OPTIONS: tuple[tuple[str, ...], ...] = (
    (),
    ("--keep-yellow",),
    ("--keep-yellow", "--unified-cycle"),
    ("--keep-yellow", "--min-cycle", "40"),
    ("--keep-yellow", "--min-cycle", "60"),
    ("--keep-yellow", "--min-cycle", "60", "--unified-cycle"),
    ("--keep-yellow", "--min-cycle", "90"),
    ("--keep-yellow", "--max-cycle", "60", "--restrict-cyclelength"),
    ("--keep-yellow", "--existing-cycle"),
    ("--keep-yellow", "--existing-cycle", "--min-green", "10"),
    ("--keep-yellow", "--saturation-headway", "1.8"),
    ("--keep-yellow", "--min-green", "8"),
    ("--existing-cycle",),
    ("--min-cycle", "60"),
)
"""What is tried with tlsCycleAdaptation; --keep-yellow stands for its -y and -l at the field's own yellow."""


@dataclass(frozen=True)
class Delay:
    """Mean delay over seeds [s/veh]; teleports and emergency stops summed over them."""

    mean_s: float
    sd_s: float
    teleports: int
    emergency_stops: int


def resco_configs() -> dict[str, Path]:
    """The .sumocfg of each RESCO network, by name, where sumo-rl is installed.

    Raises
    ------
    InputError
        Where it isn't.
    """
    spec = find_spec("sumo_rl")
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            "RESCO's networks come with sumo-rl, which isn't installed: pip install 'greensplit[bench]'"
        )
    folder = Path(next(iter(spec.submodule_search_locations))) / "nets" / "RESCO"
    return {name: folder / name / f"{name}.sumocfg" for name in RESCO}


def actuated_plan(scenario: Scenario, out: Path) -> Path:
    """An additional file that makes each program of a scenario an actuated one of the same stages.

    Greens last 5 to 50 s as traffic wants; yellow and red clearance stay as they are.
    """
    programs, _ = read_programs(scenario)
    lines = ["<additional>"]
    for signal in sorted(programs):
        program = programs[signal]
        lines.append(f'    <tlLogic id={quoteattr(signal)} type="actuated" programID="actuated" offset="0">')
        for interval in program.intervals:
            bounds = ""
            if _is_stage(interval.state):
                low = (
                    interval.min_s if interval.min_s is not None else min(ACTUATED_MIN_S, interval.duration_s)
                )
                high = (
                    interval.max_s if interval.max_s is not None else max(ACTUATED_MAX_S, interval.duration_s)
                )
                bounds = f' minDur="{low!r}" maxDur="{high!r}"'
            lines.append(
                f'        <phase duration="{interval.duration_s!r}" state="{interval.state}"{bounds}/>'
            )
        lines.append("    </tlLogic>")
    out.write_text("\n".join([*lines, "</additional>", ""]))
    return out


def explicit_routes(scenario: Scenario, out: Path) -> Path:
    """The scenario's demand as vehicles with routes, found by duarouter at free-flow speeds.

    Raises
    ------
    SimulationError
        Where duarouter ends with an error.
    """
    router = find_binary("duarouter")
    routes = ",".join(map(str, scenario.routes))
    command = [str(router), "-n", str(scenario.net), "-r", routes, "-o", str(out)]
    command += ["--begin", str(scenario.begin_s), "--ignore-errors", "true", "--no-warnings", "true"]
    if scenario.end_s is not None:
        command += ["--end", str(scenario.end_s)]
    if scenario.additional:
        command += ["--additional-files", ",".join(map(str, scenario.additional))]
    done = subprocess.run(
        command, capture_output=True, text=True, env=sumo_environment(router), timeout=600, check=False
    )
    if done.returncode:
        raise SimulationError(f"duarouter, {scenario.net}: {_last_line(done.stderr or done.stdout)}")
    return out


def cycle_adaptation_plan(scenario: Scenario, routes: Path, out: Path, options: Sequence[str] = ()) -> Path:
    """A plan by SUMO's tools/tlsCycleAdaptation.py on explicit routes (see `explicit_routes`).

    `options` are the tool's, or --keep-yellow: its -y and -l at the most frequent yellow of the scenario's
    programs, in place of the tool's 4 s.

    Raises
    ------
    SimulationError
        Where the tool isn't installed, ends with an error, or writes a plan without any signal.
    """
    home = sumo_home(find_binary("sumo"))
    tool = (home or Path()) / "tools" / "tlsCycleAdaptation.py"
    if not tool.is_file():
        raise SimulationError(f"{tool}: not there; it comes with the eclipse-sumo package")
    arguments = [o for o in options if o != "--keep-yellow"]
    if "--keep-yellow" in options:
        yellow = str(round(_usual_yellow(read_programs(scenario)[0].values())))
        arguments += ["-y", yellow, "-l", yellow]
    command = [sys.executable, str(tool), "-n", str(scenario.net), "-r", str(routes), "-o", str(out)]
    command += ["-b", str(scenario.begin_s), "--program", "cycle-adaptation", *arguments]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=sumo_environment(find_binary("sumo")),
        timeout=600,
        check=False,
    )
    if done.returncode:
        raise SimulationError(f"tlsCycleAdaptation {' '.join(options)}: {_last_line(done.stderr)}")
    if not any(True for _ in elements(out, "tlLogic")):
        raise SimulationError(f"tlsCycleAdaptation {' '.join(options)}: {NO_SIGNAL}")
    return out


def best_cycle_adaptation(
    scenario: Scenario, folder: Path, seeds: Sequence[int], *, jobs_at_once: int = 2
) -> tuple[Path | None, tuple[str, ...], list[str]]:
    """The best plan of tlsCycleAdaptation over `OPTIONS` by mean delay, its options, and what failed.

    The plan is None where the tool gave none at all.
    """
    routes = explicit_routes(scenario, folder / "explicit.rou.xml")
    plans: dict[tuple[str, ...], Path] = {}
    failures: list[str] = []
    skip: tuple[str, ...] = ()
    try:
        cycle_adaptation_plan(scenario, routes, folder / "probe.add.xml")
    except SimulationError as error:
        # one signal that it can't read costs the tool the whole network: without it, the others get a plan
        broken = _signals_that_fail(scenario, routes, folder)
        failures.append(f"{error}; left out: {', '.join(broken)}")
        skip = ("--skip", ",".join(broken)) if broken else ()
    for k, options in enumerate(OPTIONS):
        out = folder / f"adapted{k}.add.xml"
        try:
            plans[options] = cycle_adaptation_plan(scenario, routes, out, (*options, *skip))
        except SimulationError as error:
            failures.append(str(error))
    if not plans:
        return None, (), failures
    jobs = [RunSpec(scenario, seed, (plan,), light=True) for plan in plans.values() for seed in seeds]
    runs = simulate_many(jobs, jobs_at_once=jobs_at_once)
    n = len(seeds)
    means = {
        options: fmean(r.mean_delay_s for r in runs[k * n : (k + 1) * n]) for k, options in enumerate(plans)
    }
    best = min(means, key=lambda options: (means[options], options))
    return plans[best], best, failures


def mean_delay(
    scenario: Scenario, plan: Path | None, seeds: Sequence[int], *, jobs_at_once: int = 2
) -> Delay:
    """Mean delay of a scenario under a plan, over seeds."""
    plans = (plan,) if plan is not None else ()
    runs = simulate_many(
        [RunSpec(scenario, seed, plans, light=True) for seed in seeds], jobs_at_once=jobs_at_once
    )
    delays = [run.mean_delay_s for run in runs]
    return Delay(
        fmean(delays),
        stdev(delays) if len(delays) > 1 else 0.0,
        sum(run.teleports for run in runs),
        sum(run.emergency_stops for run in runs),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="*", default=list(RESCO), help="RESCO names or .sumocfg files")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--training-seeds", type=int, nargs="+", default=[101, 102])
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args(arguments)
    print("| network | built-in | tlsCycleAdaptation, best | its options | actuated |\n|---|---|---|---|---|")
    for name in given.networks:
        scenario = read_scenario(Path(name) if name.endswith(".sumocfg") else resco_configs()[name])
        with tempfile.TemporaryDirectory(prefix="greensplit-peers-") as temporary:
            folder = Path(temporary)
            plan, options, failures = best_cycle_adaptation(
                scenario, folder, given.training_seeds, jobs_at_once=given.jobs
            )
            actuated = actuated_plan(scenario, folder / "actuated.add.xml")
            figures = [
                _shown(mean_delay(scenario, p, given.seeds, jobs_at_once=given.jobs)) if known else "no plan"
                for p, known in ((None, True), (plan, plan is not None), (actuated, True))
            ]
        print(
            f"| {scenario.name} | {figures[0]} | {figures[1]} | {' '.join(options)} | {figures[2]} |",
            flush=True,
        )
        for failure in failures:
            print(f"    {failure}", file=sys.stderr, flush=True)
    return 0


def _signals_that_fail(scenario: Scenario, routes: Path, folder: Path) -> list[str]:
    """Signals with which tlsCycleAdaptation crashes, found by giving it one at a time."""
    signals = sorted(read_programs(scenario)[0])
    broken: list[str] = []
    for signal in signals:
        others = ",".join(s for s in signals if s != signal)
        try:
            cycle_adaptation_plan(scenario, routes, folder / "probe.add.xml", ("--skip", others))
        except SimulationError as error:
            if NO_SIGNAL not in str(error):
                broken.append(signal)
    return broken


def _is_stage(state: str) -> bool:
    return any(letter in GREEN for letter in state) and not any(letter in "yYu" for letter in state)


def _usual_yellow(programs: Iterable[SignalProgram]) -> float:
    """Most frequent duration of a yellow; the tool's own 4 s where there is none."""
    lengths = Counter(i.duration_s for p in programs for i in p.intervals if set(i.state) & set("yYu"))
    return min(lengths, key=lambda s: (-lengths[s], s), default=4.0)


def _shown(delay: Delay) -> str:
    incidents = [f"{n} {what}" for n, what in ((delay.teleports, "tp"), (delay.emergency_stops, "es")) if n]
    return f"{delay.mean_s:.1f} ± {delay.sd_s:.1f}" + (f" ({', '.join(incidents)})" if incidents else "")


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no message")


if __name__ == "__main__":
    sys.exit(main())
