"""One SUMO run in its own process, and many of them side by side."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from signals.errors import InputError, SimulationError
from signals.formats.sumo.binaries import ending_with_us, find_binary, sumo_environment
from signals.formats.sumo.config import Scenario
from signals.formats.sumo.xml import elements, root_tag
from signals.model.network import Network
from signals.simulation.movements import movement_delays
from signals.simulation.outputs import (
    NAN,
    MovementDelay,
    Queue,
    RunResult,
    count_stops,
    read_messages,
    read_queue,
    read_statistic,
    read_trips,
    result_of,
    sums_of,
)

__all__ = ["MovementDelay", "RunResult", "RunSpec", "simulate", "simulate_many"]

_OWN_LOGS = ("log", "message-log", "error-log", "netstate-dump")
"""Outputs of a .sumocfg whose names do not end in -output."""

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
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    @contextmanager
    def started(self, command: Sequence[str], messages: Path) -> Iterator[subprocess.Popen[bytes]]:
        """A process that is gone when the block is left, however it is left."""
        env = sumo_environment(Path(command[0]))
        with messages.open("wb") as stderr:
            with self._lock:
                if self._stopped:
                    raise SimulationError("the run was cancelled, since another one failed")
                process = subprocess.Popen(
                    ending_with_us(command),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=stderr,
                    env=env,
                )
                self._running.add(process)
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()
                process.wait()
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
        command = _command(spec, folder)
        with children.started(command, messages) as process:
            # Popen.wait(timeout) polls every 50 ms, an eighth of a short run; a timer costs nothing
            late = threading.Event()

            def give_up(late: threading.Event = late, process: subprocess.Popen[bytes] = process) -> None:
                late.set()
                process.kill()

            timer = threading.Timer(spec.timeout_s, give_up)
            timer.daemon = True
            timer.start()
            try:
                code = process.wait()
            finally:
                timer.cancel()
        warnings, errors = read_messages(messages)
        if code:
            raise SimulationError(_failure(spec, code, late.is_set(), errors))
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
    command = [str(find_binary("sumo")), *scenario.arguments()]
    if scenario.config is not None:
        # Two runs at once must not write over each other, nor any over the user's own results.
        for option in _own_outputs(scenario.config):
            command += [f"--{option}", os.devnull]
    command += ["--seed", str(spec.seed)]
    if scenario.end_s is not None:
        command += ["--end", str(scenario.end_s + spec.drain_s)]
    for plan in spec.plans:
        root_tag(plan)
    # On the command line -a replaces what the .sumocfg names, so those are repeated.
    additional = [*scenario.additional, *(plan.resolve() for plan in spec.plans)]
    for path in additional:
        if "," in str(path):
            raise InputError(
                f"{path}: SUMO splits its list of files at commas; rename the file or its folder"
            )
    if additional:
        command += ["-a", ",".join(map(str, additional))]
    command += [*_AS_WE_READ_IT, "--statistic-output", str(folder / "statistic.xml")]
    command += ["--tripinfo-output", str(folder / "tripinfo.xml")]
    if spec.light:
        command += ["--duration-log.disable", "false", "--duration-log.statistics", "true"]
    else:
        command += ["--duration-log.disable", "true"]
        command += ["--summary-output", str(folder / "summary.xml"), "--summary-output.period", "-1"]
    if spec.movements is not None:
        command += ["--vehroute-output", str(folder / "vehroutes.xml")]
        for choice in ("exit-times", "write-unfinished", "last-route"):
            command += [f"--vehroute-output.{choice}", "true"]
    if spec.emissions:
        command += ["--device.emissions.probability", "1"]
    return [*command, *spec.extra]


def _own_outputs(config: Path) -> list[str]:
    """Options of a .sumocfg that would write a file, other than those that a run sets itself."""
    ours = {"statistic-output", "tripinfo-output", "summary-output", "vehroute-output"}
    found: set[str] = set()
    for root in elements(config, root_tag(config)):
        for option in root.iter():
            if (option.tag.endswith("-output") and option.tag not in ours) or option.tag in _OWN_LOGS:
                found.add(option.tag)
    return sorted(found)


def _failure(spec: RunSpec, code: int, late: bool, errors: Sequence[str]) -> str:
    scenario = spec.scenario
    with_plans = f" with {', '.join(p.name for p in spec.plans)}" if spec.plans else ""
    what = f"{scenario.config or scenario.net}{with_plans}, seed {spec.seed}: "
    if late:
        remedy = (
            "the scenario has no end, and not everybody arrives: give it one"
            if scenario.end_s is None
            else "allow more time, or shorten the window"
        )
        return f"{what}SUMO was still running after {spec.timeout_s:g} s and was ended; {remedy}"
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        return f"{what}SUMO was killed by {name}" + (f": {' '.join(errors)}" if errors else "")
    return f"{what}SUMO ended with an error: {' '.join(errors) or f'exit code {code}, without a message'}"
