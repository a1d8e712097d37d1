"""One SUMO run in its own process, and many of them side by side."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from signals.errors import InputError, SimulationError
from signals.formats.sumo.config import Scenario
from signals.formats.sumo.running import SumoProcess, how_it_ended, sumo_command
from signals.formats.sumo.xml import root_tag
from signals.model.network import Network
from signals.simulation.movements import movement_delays
from signals.simulation.outputs import (
    NAN,
    MovementDelay,
    Queue,
    RunResult,
    count_messages,
    count_stops,
    read_queue,
    read_statistic,
    read_trips,
    result_of,
    sums_of,
)

__all__ = ["MovementDelay", "RunResult", "RunSpec", "simulate", "simulate_many"]

_AS_WE_READ_IT = (
    *("--random", "false"),
    *("--no-warnings", "false"),
    *("--no-step-log", "true"),
    *("--human-readable-time", "false"),
    *("--device.tripinfo.probability", "1"),
    *("--tripinfo-output.write-unfinished", "true"),
    *("--tripinfo-output.write-undeparted", "true"),
    # milliseconds, all that SUMO has: the light figures are means over thousands
    *("--precision", "3"),
    # the schemas of a network take a tenth of a short run, and SUMO's own parser checks again
    *("--xml-validation", "never"),
)
"""Options that change what is written, never what drives; a .sumocfg may have set them otherwise."""


@dataclass(frozen=True)
class RunSpec:
    """One run to make; the fields are `simulate`'s arguments."""

    scenario: Scenario
    seed: int
    plans: tuple[Path, ...] = ()
    drain_s: float = 0.0
    emissions: bool = False
    movements: Network | None = None
    extra: tuple[str, ...] = ()
    timeout_s: float = 3600.0
    light: bool = False

    def __post_init__(self) -> None:
        if self.light and (self.emissions or self.movements is not None):
            raise ValueError("a light run measures neither emissions nor movements; drop light or those")
        if not self.timeout_s > 0 or not self.drain_s >= 0:
            raise ValueError(
                f"timeout_s={self.timeout_s:g} must be positive, drain_s={self.drain_s:g} 0 or more"
            )


def simulate(
    scenario: Scenario,
    *,
    seed: int,
    plans: Sequence[Path] = (),
    drain_s: float = 0.0,
    emissions: bool = False,
    movements: Network | None = None,
    extra: Sequence[str] = (),
    timeout_s: float = 3600.0,
    light: bool = False,
) -> RunResult:
    """The measures of one seeded run of a scenario, with plans on top of its own additional files.

    The scenario runs as its files say. Outputs that its .sumocfg asks for are not written, those of its
    additional files are. Without an end it runs until everybody has arrived, within `timeout_s`.

    Parameters
    ----------
    seed
        SUMO's --seed.
    plans
        Additional files, read after the scenario's own: a program with a new programID takes over.
    drain_s
        Run on for so long after the scenario's end [s]; who is due then counts as well. Without an end it
        means nothing.
    emissions
        Also measure CO2, about a tenth slower.
    movements
        The scenario's network, where delay by movement is wanted.
    extra
        Further options for SUMO.
    timeout_s
        Wall-clock time after which the run is given up [s].
    light
        Read SUMO's own totals and count stops: for searches over thousands of plans. What that leaves out is said at
        `RunResult`; the mean delay is the full one but for vehicles due within the last step
        (`outputs.sums_of`).

    Raises
    ------
    InputError
        Where a plan is absent or is no XML.
    SimulationError
        Where SUMO ends with an error, is killed, or takes too long.
    """
    spec = RunSpec(
        scenario, seed, tuple(plans), drain_s, emissions, movements, tuple(extra), timeout_s, light
    )
    return _run(spec, _Children())


def simulate_many(
    jobs: Sequence[RunSpec],
    *,
    jobs_at_once: int = 2,
    on_done: Callable[[int, RunResult], None] | None = None,
) -> list[RunResult]:
    """The results of many runs in the order of `jobs`, `jobs_at_once` SUMO processes at a time.

    `on_done(position, result)` is called in the caller's thread as each run ends. The first error, or Ctrl-C,
    kills the runs under way and drops those that wait.

    Raises
    ------
    InputError, SimulationError
        As `simulate` does.
    """
    if jobs_at_once < 1:
        raise InputError(f"{jobs_at_once} runs at once: at least 1")
    results: dict[int, RunResult] = {}
    children = _Children()
    with ThreadPoolExecutor(max_workers=jobs_at_once, thread_name_prefix="sumo") as pool:
        try:
            waiting: dict[Future[RunResult], int] = {
                pool.submit(_run, spec, children): i for i, spec in enumerate(jobs)
            }
            for done in as_completed(waiting):
                i = waiting[done]
                results[i] = done.result()
                if on_done is not None:
                    on_done(i, results[i])
        except BaseException:
            children.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [results[i] for i in range(len(jobs))]


class _Children:
    """The SUMO processes under way, so that all can be ended at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[SumoProcess] = set()
        self._stopped = False

    @contextmanager
    def started(self, command: Sequence[str], messages: Path) -> Iterator[SumoProcess]:
        """A process that is gone when the block is left, however it is left."""
        with self._lock:
            if self._stopped:
                raise SimulationError("the run was cancelled, since another one failed")
            process = SumoProcess(command, messages)
            self._running.add(process)
        try:
            with process:
                yield process
        finally:
            with self._lock:
                self._running.discard(process)

    def stop(self) -> None:
        """Kill what runs and let nothing new start."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.kill()


def _run(spec: RunSpec, children: _Children) -> RunResult:
    with tempfile.TemporaryDirectory(prefix="greensplit-run-") as name:
        folder = Path(name)
        messages = folder / "messages.txt"
        with children.started(_command(spec, folder), messages) as process:
            code = process.wait(spec.timeout_s)
        warnings, errors = count_messages(messages)
        if code != 0:
            raise SimulationError(_failure(spec, code, errors))
        statistic = read_statistic(folder / "statistic.xml")
        if spec.light:
            dropped = statistic.loaded - statistic.inserted - statistic.waiting
            return result_of(
                spec.seed,
                sums_of(statistic, count_stops(folder / "tripinfo.xml")),
                statistic,
                queue=Queue(NAN, NAN, dropped),
                warnings=warnings,
            )
        sums = read_trips(folder / "tripinfo.xml", keep=spec.movements is not None)
        if not spec.emissions:
            sums.co2_mg = NAN
        by_movement: tuple[MovementDelay, ...] = ()
        if spec.movements is not None:
            by_movement = movement_delays(folder / "vehroutes.xml", sums, spec.scenario, spec.movements)
        return result_of(
            spec.seed,
            sums,
            statistic,
            queue=read_queue(folder / "summary.xml"),
            warnings=warnings,
            movements=by_movement,
        )


def _command(spec: RunSpec, folder: Path) -> list[str]:
    scenario = spec.scenario
    options = ["--seed", str(spec.seed)]
    if scenario.end_s is not None:
        options += ["--end", str(scenario.end_s + spec.drain_s)]
    for plan in spec.plans:
        root_tag(plan)
    options += [*_AS_WE_READ_IT, "--statistic-output", str(folder / "statistic.xml")]
    options += ["--tripinfo-output", str(folder / "tripinfo.xml")]
    if spec.light:
        options += ["--duration-log.disable", "false", "--duration-log.statistics", "true"]
    else:
        options += ["--duration-log.disable", "true"]
        options += ["--summary-output", str(folder / "summary.xml"), "--summary-output.period", "-1"]
    if spec.movements is not None:
        options += ["--vehroute-output", str(folder / "vehroutes.xml")]
        for choice in ("exit-times", "write-unfinished", "last-route"):
            options += [f"--vehroute-output.{choice}", "true"]
    if spec.emissions:
        options += ["--device.emissions.probability", "1"]
    return sumo_command(scenario, [*options, *spec.extra], [plan.resolve() for plan in spec.plans])


def _failure(spec: RunSpec, code: int | None, errors: Sequence[str]) -> str:
    scenario = spec.scenario
    with_plans = f" with {', '.join(p.name for p in spec.plans)}" if spec.plans else ""
    what = f"{scenario.config or scenario.net}{with_plans}, seed {spec.seed}: "
    if code is None:
        remedy = (
            "the scenario has no end, and not everybody arrives: give it one"
            if scenario.end_s is None
            else "allow more time, or shorten the window"
        )
        return f"{what}SUMO was still running after {spec.timeout_s:g} s and was ended; {remedy}"
    return f"{what}{how_it_ended(code, errors)}"
