"""A command for green bands: the widest ones along each corridor, proven, as a plan file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from signals.cli.app import app
from signals.cli.console import Json, console, print_json, progress_bars, require_place
from signals.errors import InfeasiblePlan, InputError
from signals.model.plan import PlanRequest, PlanSet

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from signals.planning import Case
    from signals.timing.bandwidth import CorridorBands, LeftTurnGain


@app.command()
def bands(
    config: Annotated[Path, typer.Argument(help="A .sumocfg.", show_default=False)],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Plan file to write, a SUMO additional file.")
    ],
    two_way_ratio: Annotated[
        float, typer.Option(help="Backward band over the forward one; 0 leaves backward what is left.")
    ] = 1.0,
    speed_tolerance: Annotated[
        float,
        typer.Option(min=0.0, max=50.0, help="Percent by which design speeds may differ from free flow."),
    ] = 0.0,
    as_json: Json = False,
) -> None:
    """Set the offsets that open the widest green bands along each corridor, proven; all else is kept.

    The file loads with `sumo -c CONFIG -a PLANS`. Mind that -a REPLACES the additional files of the .sumocfg:
    list those first, separated by commas.
    """
    from signals.formats.sumo.config import read_scenario
    from signals.formats.sumo.programs import write_plans
    from signals.planning import in_scope, read_case
    from signals.safety.check import require_safe
    from signals.timing.bandwidth import coordinate, left_turn_gain
    from signals.timing.corridors import find_corridors
    from signals.timing.stretches import movement_flows_vph

    if not (math.isfinite(two_way_ratio) and two_way_ratio >= 0.0):
        raise InputError(f"--two-way-ratio: {two_way_ratio} is no ratio of two bands; give 0 or more")
    scenario = read_scenario(config)
    require_place(output, "the plans", scenario.files)
    with progress_bars(as_json) as progress:
        progress("reading network and demand", 0, 1)
        case = read_case(scenario)
        progress("reading network and demand", 1, 1)
        programs = {s: i.program for s, i in case.network.intersections.items() if i.program}
        corridors = find_corridors(case.network, case.counts)
        if not corridors:
            raise InfeasiblePlan(f"{scenario.name}: no two signals with traffic between them, so no corridor")
        progress("widening bands", 0, 1)
        found = coordinate(
            corridors,
            programs,
            movement_flows_vph(case.counts),
            ratio=two_way_ratio,
            speed_tolerance=speed_tolerance / 100.0,
        )
        gains = [
            left_turn_gain(
                case.network, programs, a, ratio=two_way_ratio, speed_tolerance=speed_tolerance / 100.0
            )
            for a in found
        ]
        progress("widening bands", 1, 1)
    plans = _plans(case, found)
    require_safe(in_scope(case.network, _request(plans)), plans, _request(plans))
    write_plans(plans, output)
    if as_json:
        facts = [_facts(a, g) for a, g in zip(found, gains, strict=True)]
        print_json({"output": str(output), "plan": plans.digest, "corridors": facts})
        return
    shown = console()
    for table in _tables(case, found, gains):
        shown.print(table)
    shown.print(f"plan {plans.digest} written to {output}")


def _request(plans: PlanSet) -> PlanRequest:
    return PlanRequest(signals=tuple(sorted(plans.periods[0])))


def _plans(case: Case, found: Sequence[CorridorBands]) -> PlanSet:
    """The programs of all signals that a corridor has set, with their offsets."""
    from signals.planning.sets import with_offsets

    offsets_s = _offsets(found)
    if not offsets_s:
        raise InfeasiblePlan("no corridor can have a band:\n  " + "\n  ".join(a.reason for a in found))
    return with_offsets(case, offsets_s, {})


def _facts(answer: CorridorBands, gain: LeftTurnGain | None) -> dict[str, Any]:
    found = answer.found

    def ways(pair: tuple[float, float]) -> dict[str, float]:
        return {"forward": round(pair[0], 3), "backward": round(pair[1], 3)}

    return {
        "corridor": answer.corridor.name,
        "signals": list(answer.corridor.signals),
        "cycle_s": answer.cycle_s,
        "before_s": ways(answer.before_s),
        "after_s": ways(answer.after_s),
        "model_s": ways(answer.model_s),
        "objective": None if found is None else round(found.objective, 9),
        "proven": found is not None and found.proven,
        "directions": [n for n, on in (("forward", answer.forward), ("backward", answer.backward)) if on],
        "kept": answer.kept,
        "reason": answer.reason,
        "offsets_s": dict(answer.offsets_s),
        "speeds_mps": [] if found is None else [round(v, 3) for v in found.speeds_mps],
        "speeds_back_mps": [] if found is None else [round(v, 3) for v in found.speeds_back_mps],
        "left_turns": None
        if gain is None
        else {"model_s": ways(gain.model_s), "orders": {s: list(o) for s, o in gain.orders.items()}},
    }


def _tables(
    case: Case, found: Sequence[CorridorBands], gains: Sequence[LeftTurnGain | None]
) -> Iterator[Table | Text]:
    """Bands by corridor, offsets by signal, and what another order of left turns would be worth."""
    from rich.text import Text

    from signals.tables.style import add_columns, add_names, new_table, short_names

    names = short_names(dict.fromkeys(s for a in found for s in a.corridor.signals))
    table = new_table("Green bands, s (% of the cycle)")
    add_names(table, "corridor", [a.corridor.name for a in found])
    add_columns(
        table, "signals", "cycle\ns", "forward\nbefore", "\nafter", "backward\nbefore", "\nafter", right=True
    )
    add_columns(table, "model\nforward, backward", right=True)
    add_columns(table, "optimum")
    for a in found:
        pairs = zip(a.before_s, a.after_s, strict=True)
        table.add_row(
            a.corridor.name,
            str(len(a.corridor.signals)),
            f"{a.cycle_s:g}",
            *(_width(x, a.cycle_s) for pair in pairs for x in pair),
            "" if a.found is None else f"{a.model_s[0]:.1f}, {a.model_s[1]:.1f}",
            "none" if a.found is None else "proven" if a.found.proven else "not proven",
        )
    yield table
    for a in found:
        if a.reason:
            yield Text(f"{a.reason}; its offsets stay, save those that other corridors set")
        elif a.kept:
            yield Text(f"{a.corridor.name}: the offsets in place open bands as good, and stay")
        elif not (a.forward and a.backward):
            way = "forward" if a.forward else "backward"
            yield Text(f"{a.corridor.name}: no band worth having both ways; made for {way} alone")
    offsets = new_table("Offsets")
    add_names(offsets, "signal", names.values())
    add_columns(offsets, "cycle\ns", "before\ns", "after\ns", right=True)
    for signal, offset_s in _offsets(found).items():
        program = case.network.intersections[signal].program
        assert program is not None
        before_s = program.offset_s % program.cycle_s
        offsets.add_row(names[signal], f"{program.cycle_s:g}", f"{before_s:g}", f"{offset_s:g}")
    yield offsets
    yield from _left_turns(found, gains, names)


def _left_turns(
    found: Sequence[CorridorBands], gains: Sequence[LeftTurnGain | None], names: Mapping[str, str]
) -> Iterator[Table | Text]:
    from rich.text import Text

    from signals.tables.style import add_columns, add_names, new_table

    worthy = [(a, g) for a, g in zip(found, gains, strict=True) if g is not None and g.orders]
    if not worthy:
        return
    table = new_table("Left turns in another order: suggested, not in the file")
    add_names(table, "signal", names.values())
    add_columns(table, "now", "wider bands with")
    for answer, gain in worthy:
        yield Text(
            f"{answer.corridor.name}: with other orders of left turns bands of {gain.model_s[0]:.1f} s and "
            f"{gain.model_s[1]:.1f} s would be possible"
        )
        for signal, (now, better) in gain.orders.items():
            table.add_row(names[signal], now, better)
    yield table


def _offsets(found: Sequence[CorridorBands]) -> dict[str, float]:
    return {s: o for answer in found for s, o in answer.offsets_s.items()}


def _width(width_s: float, cycle_s: float) -> str:
    return f"{width_s:.1f} ({100.0 * width_s / cycle_s:.0f} %)" if cycle_s > 0.0 else f"{width_s:.1f}"
