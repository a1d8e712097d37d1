"""Commands from a SUMO scenario to a plan that has been proven: inspect, optimize, compare, diagram."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from signals.cli.app import app
from signals.cli.console import (
    Json,
    console,
    print_json,
    progress_bars,
    require_folder,
    require_place,
    status,
)
from signals.errors import InputError
from signals.model.plan import (
    ClearancePolicy,
    ControllerPolicy,
    Objective,
    PlanRequest,
    Refinement,
    StagePolicy,
)

if TYPE_CHECKING:
    from signals.formats.sumo.config import Scenario
    from signals.model.network import Network
    from signals.model.phasing import SignalProgram
    from signals.planning import Planned
    from signals.simulation.compare import Comparison

COMPARE_SEED = 101
"""First seed that `compare` uses unless told otherwise; `optimize` draws its own from far away."""
DEFAULT_BUDGET_MIN = 10.0
Config = Annotated[
    Path | None,
    typer.Argument(help="A .sumocfg; or leave it out and give --net with --routes.", show_default=False),
]
Net = Annotated[Path | None, typer.Option("--net", help="A SUMO network, in place of CONFIG.")]
Routes = Annotated[
    list[Path] | None, typer.Option("--routes", help="Demand for --net; may be given several times.")
]
Additional = Annotated[
    list[Path] | None,
    typer.Option("--additional", help="Additional files for --net; may be given several times."),
]
Begin = Annotated[
    str | None, typer.Option(help="Start of the window, seconds or hh:mm:ss; the scenario's by default.")
]
End = Annotated[str | None, typer.Option(help="End of the window; the scenario's by default.")]
Jobs = Annotated[int, typer.Option(min=1, help="Simulations at the same time.")]
Stages = Annotated[
    StagePolicy,
    typer.Option(help="keep every stage, or allow to drop protected ones whose movements may go permitted."),
]
Clearance = Annotated[
    ClearancePolicy, typer.Option(help="Clearances of the field, or at least the ITE formula's.")
]
Seed = Annotated[int, typer.Option(min=0, help="Same seed, same plan.")]
WalkingSpeed = Annotated[
    float, typer.Option(help="Pedestrians' speed in m/s; lower where older people cross.")
]
IgnoreDurations = Annotated[bool, typer.Option("--ignore-durations", help="Override minDur and maxDur.")]
MinCycle = Annotated[float, typer.Option(help="Shortest cycle in seconds.")]
MaxCycle = Annotated[float, typer.Option(help="Longest cycle in seconds.")]
Aim = Annotated[
    Objective, typer.Option("--objective", help="Make delay, stops, or an index of both as small as can be.")
]
For = Annotated[
    ControllerPolicy,
    typer.Option("--controllers", help="any, or nema: orders of stages that rings can show, and one period."),
]
StopWeight = Annotated[
    float, typer.Option(help="Seconds of delay that a stop is worth in the index, 0 to 600.")
]
Retimed = Annotated[
    list[str] | None,
    typer.Option("--signal", help="Signal to retime; may be given several times. All by default."),
]


@app.command()
def inspect(
    config: Config = None,
    net: Net = None,
    routes: Routes = None,
    additional: Additional = None,
    begin: Begin = None,
    end: End = None,
    as_json: Json = False,
) -> None:
    """Show every signal: stages, cycle, demand, v/c, and what was found odd."""
    from signals.inspection import inspect_signals
    from signals.planning import read_case

    scenario = scenario_from(config, net, routes, additional, begin, end)
    with status("reading network and demand", as_json):
        case = read_case(scenario)
        facts = inspect_signals(case, PlanRequest())
    if as_json:
        print_json(
            {
                "scenario": scenario.name,
                "vehicles": len(case.demand.vehicles),
                "pedestrians": case.demand.pedestrians,
                "window_s": [case.demand.begin_s, case.demand.end_s],
                "remarks": [*case.network.remarks, *case.demand.remarks],
                "signals": [f.to_json() for f in facts],
            }
        )
        return
    from signals.tables.plans import inspection_tables

    shown = console()
    for table in inspection_tables(case, facts):
        shown.print(table)


@app.command()
def optimize(
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Plan file to write, a SUMO additional file.")
    ],
    config: Config = None,
    net: Net = None,
    routes: Routes = None,
    additional: Additional = None,
    begin: Begin = None,
    end: End = None,
    stages: Stages = StagePolicy.KEEP,
    clearance: Clearance = ClearancePolicy.KEEP,
    seed: Seed = 1,
    jobs: Jobs = 2,
    min_cycle: MinCycle = 30.0,
    max_cycle: MaxCycle = 180.0,
    walking_speed: WalkingSpeed = 1.07,
    ignore_durations: IgnoreDurations = False,
    objective: Aim = Objective.DELAY,
    stop_weight: StopWeight = 20.0,
    controllers: For = ControllerPolicy.ANY,
    signal: Retimed = None,
    refine: Annotated[
        Refinement,
        typer.Option(
            help="What SUMO decides: nothing, a race of a few candidates, or each change of a long polish."
        ),
    ] = Refinement.RACE,
    budget: Annotated[
        float | None,
        typer.Option(help=f"Minutes of polishing with --refine sumo; {DEFAULT_BUDGET_MIN:g} by default."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Folder for a report with figures and diagrams.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write safe plans for all signals, or for those named, raced in simulation against the ones in place.

    With --refine sumo the best of them is polished for --budget minutes, each change raced in SUMO; as clock
    time ends it, the same seed may then give another plan.

    The file loads with `sumo -c CONFIG -a PLANS`. Mind that -a REPLACES the additional files of the .sumocfg:
    list those first, separated by commas.
    """
    from signals.formats.sumo.programs import write_plans
    from signals.planning import plan_case, read_case

    scenario = scenario_from(config, net, routes, additional, begin, end)
    request = _request(
        stages,
        clearance,
        seed,
        min_cycle,
        max_cycle,
        walking_speed,
        ignore_durations,
        objective,
        stop_weight,
        signal or (),
        controllers,
    )
    require_place(output, "the plans", scenario.files)
    budget_s = _budget_s(refine, budget)
    if report is not None:
        require_folder(report)
    with progress_bars(as_json) as progress:
        progress("reading network and demand", 0, 1)
        case = read_case(scenario)
        progress("reading network and demand", 1, 1)
        plan = partial(plan_case, case, jobs_at_once=jobs, on_progress=progress)
        planned = plan(request, refinement=refine, budget_s=budget_s)
        both = None
        if stages is StagePolicy.DROP_PROTECTED:
            # the engineer decides on omission knowing what it is worth
            kept = replace(request, stages=StagePolicy.KEEP)
            both = plan(kept, refinement=Refinement.NONE if refine is Refinement.NONE else Refinement.RACE)
    write_plans(planned.plans, output)
    if report is not None:
        from signals.report.plans import write_report

        write_report(planned, both, report)
    if as_json:
        from signals.report.plans import planned_facts

        print_json({"output": str(output), **planned_facts(planned, both)})
        return
    _show_planned(planned, both, output)


def _budget_s(refine: Refinement, minutes: float | None) -> float:
    """The time for polishing in seconds; an option that nothing would read is an error."""
    if minutes is None:
        return 60.0 * DEFAULT_BUDGET_MIN
    if refine is not Refinement.SUMO:
        raise InputError(f"--budget {minutes:g}: is for --refine sumo; leave it out or refine with SUMO")
    if not (math.isfinite(minutes) and minutes > 0):
        raise InputError(f"--budget {minutes:g}: expected minutes, more than 0")
    return 60.0 * minutes


@app.command()
def compare(
    config: Annotated[
        Path, typer.Argument(help="A .sumocfg, or a network with --routes.", show_default=False)
    ],
    plans: Annotated[list[Path], typer.Argument(help="Plan files to compare with the plan in place.")],
    routes: Routes = None,
    additional: Additional = None,
    begin: Begin = None,
    end: End = None,
    seeds: Annotated[
        int, typer.Option(min=1, help="How many seeds, paired; five or more are advisable.")
    ] = 5,
    first_seed: Annotated[int, typer.Option(help="First of the seeds.")] = COMPARE_SEED,
    jobs: Jobs = 2,
    emissions: Annotated[
        bool, typer.Option("--emissions/--no-emissions", help="Measure CO2 as well.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Run the plan in place and others with the same seeds, and say what the difference is worth."""
    from signals.formats.sumo.network import read_network
    from signals.formats.sumo.programs import read_plans
    from signals.simulation.compare import compare as run_comparison

    scenario = scenario_from(*_given(config, routes), additional, begin, end)
    network = read_network(scenario)
    named: dict[str, Path | None] = {"in place": None}
    for path in plans:
        _require_fit(path, read_plans([path]), network)
        named[path.name if path.name not in named else str(path)] = path.resolve()
    with progress_bars(as_json) as progress:
        total = seeds * len(named)
        done = 0

        def count(_index: int, _result: object) -> None:
            nonlocal done
            done += 1
            progress("simulating", done, total)

        progress("simulating", 0, total)
        result = run_comparison(
            scenario,
            named,
            seeds=range(first_seed, first_seed + seeds),
            jobs_at_once=jobs,
            movements=network,
            emissions=emissions,
            on_done=count,
        )
    if as_json:
        print_json(result.to_json())
        return
    _show_comparison(result)


@app.command()
def diagram(
    config: Annotated[
        Path, typer.Argument(help="A .sumocfg, or a network with --routes.", show_default=False)
    ],
    plans: Annotated[
        list[Path] | None, typer.Argument(help="Plan files; without one the plan in place.")
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write to.")] = Path("diagrams"),
    routes: Routes = None,
    additional: Additional = None,
    png: Annotated[bool, typer.Option("--png", help="PNG files as well as SVG.")] = False,
    as_json: Json = False,
) -> None:
    """Draw a phase diagram for each signal and a time-space diagram for each corridor."""
    from signals.diagrams.album import draw_all
    from signals.formats.sumo.programs import read_plans
    from signals.planning import read_case
    from signals.timing.corridors import find_corridors

    scenario = scenario_from(*_given(config, routes), additional, None, None)
    planned = {path: read_plans([path]) for path in plans or ()}
    require_folder(output)
    with progress_bars(as_json) as progress:
        progress("reading network and demand", 0, 1)
        case = read_case(scenario)
        progress("reading network and demand", 1, 1)
        programs = {s: i.program for s, i in case.network.intersections.items() if i.program}
        for path, found in planned.items():
            _require_fit(path, found, case.network)
            programs.update(found)
        drawn = draw_all(
            case.network,
            find_corridors(case.network, case.counts),
            programs,
            output,
            formats=("svg", "png") if png else ("svg",),
            on_done=lambda done, total: progress("drawing", done, total),
        )
    if as_json:
        print_json({"files": [str(p) for p in drawn]})
        return
    console().print(f"{len(drawn)} files in {output}; start with {output / 'index.html'}")


def _given(config: Path, routes: list[Path] | None) -> tuple[Path | None, Path | None, list[Path] | None]:
    """A command with plan files takes either kind of CONFIG as its first argument."""
    return (None, config, routes) if routes else (config, None, None)


def scenario_from(
    config: Path | None,
    net: Path | None,
    routes: list[Path] | None,
    additional: list[Path] | None,
    begin: str | None,
    end: str | None,
) -> Scenario:
    from signals.formats.sumo.config import parse_time, read_scenario, scenario_of

    if (config is None) == (net is None):
        raise InputError("give either CONFIG or --net with --routes, not both and not neither")
    if config is not None:
        if routes or additional:
            raise InputError("--routes and --additional go with --net; a .sumocfg names its own")
        scenario = read_scenario(config)
    else:
        assert net is not None
        if not routes:
            raise InputError("--net needs the demand as well: --routes FILE")
        scenario = scenario_of(net, routes, additional or ())
    if begin is not None:
        scenario = replace(scenario, begin_s=parse_time(begin, "--begin"))
    if end is not None:
        scenario = replace(scenario, end_s=parse_time(end, "--end"))
    if scenario.begin_s < 0:
        raise InputError(f"the window begins at {scenario.begin_s:g} s; SUMO's clock starts at 0")
    if scenario.end_s is not None and scenario.end_s <= scenario.begin_s:
        raise InputError(
            f"the window ends at {scenario.end_s:g} s, not after its begin at {scenario.begin_s:g} s"
        )
    return scenario


def _require_fit(path: Path, programs: Mapping[str, SignalProgram], network: Network) -> None:
    """The programs of a plan file are for signals of this network."""
    for signal, program in programs.items():
        known = network.intersections.get(signal)
        if known is None:
            raise InputError(
                f"{path}: has a plan for signal {signal}, which {Path(network.source).name} doesn't have; "
                "is the plan for another network?"
            )
        if program.n_links < known.n_links:
            raise InputError(
                f"{path}: signal {signal}: states of {program.n_links} links, "
                f"the network's signal has {known.n_links}; is the plan for another network?"
            )


def _request(
    stages: StagePolicy,
    clearance: ClearancePolicy,
    seed: int,
    min_cycle: float,
    max_cycle: float,
    walking_speed: float,
    ignore_durations: bool,
    objective: Objective,
    stop_weight: float,
    signals: Sequence[str],
    controllers: ControllerPolicy = ControllerPolicy.ANY,
) -> PlanRequest:
    for name, value in (
        ("--min-cycle", min_cycle),
        ("--max-cycle", max_cycle),
        ("--walking-speed", walking_speed),
        ("--stop-weight", stop_weight),
    ):
        if not math.isfinite(value):
            raise InputError(f"{name}: {value} is no figure to plan with")
    try:
        return PlanRequest(
            stages=stages,
            clearance=clearance,
            seed=seed,
            min_cycle_s=min_cycle,
            max_cycle_s=max_cycle,
            walking_speed_mps=walking_speed,
            ignore_durations=ignore_durations,
            signals=tuple(sorted(set(signals))),
            objective=objective,
            stop_weight_s=stop_weight,
            controllers=controllers,
        )
    except ValueError as error:
        raise InputError(str(error)) from None


def _show_planned(planned: Planned, both: Planned | None, output: Path) -> None:
    from signals.tables.plans import planned_tables

    shown = console()
    for table in planned_tables(planned, both):
        shown.print(table)
    shown.print(f"plan {planned.plans.digest} written to {output}")


def _show_comparison(result: Comparison) -> None:
    from signals.tables.plans import comparison_tables

    shown = console()
    for table in comparison_tables(result):
        shown.print(table)
