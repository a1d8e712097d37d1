"""Tables of signals, plans and comparisons."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich.table import Table
from rich.text import Text

from signals.inspection import SignalFacts
from signals.model.plan import Objective
from signals.planning import Case, Planned
from signals.report.plans import planned_facts
from signals.simulation.compare import Comparison
from signals.tables.style import ID_WIDTH, add_columns, add_names, new_table, short, short_names

_COMPARED = (
    ("mean_delay_s", "mean delay, s/veh", 1.0),
    ("stops_per_vehicle", "stops/veh", 1.0),
    ("mean_travel_time_s", "travel time, s", 1.0),
    ("mean_speed_mps", "mean speed, km/h", 3.6),
    ("congestion_index", "congestion index", 1.0),
    ("queue_mean_veh", "queue, veh", 1.0),
    ("throughput_vph", "throughput, veh/h", 1.0),
    ("co2_kg", "CO2, kg", 1.0),
)


def inspection_tables(case: Case, facts: Sequence[SignalFacts]) -> Iterator[Table | Text]:
    """A line a signal, then stages, then everything odd."""
    demand = case.demand
    yield Text(
        f"{case.scenario.name}: {len(facts)} signals, {len(demand.vehicles)} vehicles"
        f" and {demand.pedestrians} pedestrians due from {demand.begin_s:g} to {demand.end_s:g} s"
    )
    names = short_names(f.id for f in facts)
    table = new_table("Signals")
    add_names(table, "signal", names.values())
    add_columns(table, "legs")
    table.add_column("program")
    add_columns(table, "cycle\ns", "offset\ns", right=True)
    table.add_column("stages\ns", min_width=8)
    table.add_column("phasing")
    add_columns(table, "veh/h", "worst\nv/c", "delay\nHCM, s", "LOS", right=True)
    for f in facts:
        table.add_row(
            names[f.id],
            str(len(f.approaches)),
            short(f.program, 12) + ("" if f.kind in ("static", "") else f" ({f.kind})"),
            f"{f.cycle_s:g}",
            f"{f.offset_s:g}",
            " ".join(f"{s.duration_s:g}" for s in f.stages) or "not planned",
            f.rings,
            f"{f.flow_vph:.0f}",
            f"{f.vc_ratio:.2f}",
            f"{f.control_delay_s:.1f}",
            f.level_of_service,
        )
    yield table
    stages = new_table("Stages")
    add_names(stages, "signal", names.values())
    add_columns(stages, "stage", "now\ns", "bounds\ns", right=True)
    stages.add_column("protected")
    stages.add_column("permitted")
    add_columns(stages, "crossings", right=True)
    for f in facts:
        for k, s in enumerate(f.stages):
            stages.add_row(
                names[f.id] if k == 0 else "",
                str(k + 1),
                f"{s.duration_s:g}",
                f"{s.min_s:g} up" if s.max_s is None else f"{s.min_s:g}-{s.max_s:g}",
                _movements(s.protected),
                _movements(s.permitted),
                str(len(s.crossings) or ""),
            )
    yield stages
    notes = [(f.id, note) for f in facts for note in ([f.unplanned] if f.unplanned else []) + list(f.remarks)]
    notes += [(f.id, "could do without " + d) for f in facts for d in f.droppable]
    if notes or demand.remarks:
        odd = new_table("Worth knowing")
        add_names(odd, "where", ["demand", *(names[signal] for signal, _ in notes)])
        odd.add_column("what", overflow="fold")
        before = ""
        for where, what in [("", r) for r in demand.remarks] + sorted(notes, key=lambda n: n[0]):
            name = names[where] if where else "demand"
            odd.add_row("" if name == before else name, what.removeprefix(f"signal {where}: "))
            before = name
        yield odd


def _movements(names: Sequence[str]) -> str:
    """Movements by direction of travel, as in NB LT, SB LT: half the width of one by one."""
    turns: dict[str, str] = {}
    for name in names:
        bound, _, turn = name.rpartition(" ")
        turns[bound] = turns.get(bound, "") + turn
    return ", ".join(f"{bound}\N{NO-BREAK SPACE}{turn}" for bound, turn in turns.items())


def planned_tables(planned: Planned, kept_stages: Planned | None) -> Iterator[Table | Text]:
    """How the candidates fared, the plan of each signal, and what has none."""
    facts = planned_facts(planned, kept_stages)
    race = new_table("Candidates, raced in SUMO" if planned.sumo_runs else "Candidates, as modelled")
    race.add_column("plan")
    unit = "stops/veh" if planned.request.objective is Objective.STOPS else "s/veh"
    add_columns(
        race,
        f"modelled\n{unit}",
        "mean delay\ns/veh",
        "worst seed\ns/veh",
        "stops\n/veh",
        "teleports",
        right=True,
    )
    for r in facts["race"]:
        race.add_row(
            Text(r["name"], style="bold" if r["name"] == planned.chosen else ""),
            "" if r["modelled"] is None else f"{r['modelled']:.{1 if unit == 's/veh' else 2}f}",
            *(
                (
                    f"{r['mean_delay_s']:.1f}",
                    f"{max(r['delay_by_seed_s']):.1f}",
                    f"{r['mean_stops']:.2f}",
                    str(r["teleports"]),
                )
                if r["delay_by_seed_s"]
                else ("",) * 4
            ),
        )
    yield race
    names = short_names([*{s["id"]: None for s in facts["signals"]}, *facts["unplanned"]])
    table = new_table("Plan")
    add_names(table, "signal", names.values())
    add_columns(table, "period", "cycle\ns", "offset\ns", right=True)
    table.add_column("greens and changes\ns", min_width=12)
    add_columns(table, "v/c\nbefore", "\nafter", "HCM, s\nbefore", "\nafter", "LOS", right=True)
    for s in facts["signals"]:
        table.add_row(
            names[s["id"]],
            str(s["period"] + 1),
            f"{s['cycle_s']:g}",
            f"{s['offset_s']:g}",
            " ".join(f"{d:g}" for d, _ in s["intervals"]),
            "" if s["vc_before"] is None else f"{s['vc_before']:.2f}",
            f"{s['vc_after']:.2f}",
            "" if s["hcm_delay_before_s"] is None else f"{s['hcm_delay_before_s']:.1f}",
            f"{s['hcm_delay_after_s']:.1f}",
            s["los_after"],
        )
    yield table
    for s in facts["signals"]:
        for o in s["omitted"]:
            lost = ", ".join(o["becomes_permitted"])
            yield Text(
                f"{names[s['id']]}: leaves out stage {o['state']}"
                + (f"; permitted from now on: {lost}" if lost else "; no movement loses protection")
            )
    if facts.get("with_every_stage_kept_s") is not None:
        yield Text(f"with every stage kept: {facts['with_every_stage_kept_s']:.1f} s/veh")
    for signal, reason in facts["unplanned"].items():
        said = reason.removeprefix(f"signal {signal}: ")
        yield Text(f"{names[signal]}: no plan, its program stays. {said}")
    if not planned.case.demand.vehicles:
        yield Text("Nobody is due in the window, so no plan can be better; check the demand and its times.")
    if not planned.sumo_runs:
        yield Text("SUMO has not seen this plan; run `greensplit compare` before it is used.")
    if planned.kept:
        yield Text("No candidate beat the plan in place: the file repeats it.", style="bold")


def comparison_tables(result: Comparison) -> Iterator[Table | Text]:
    """Measures of each plan, the paired difference, and the verdict with its reason."""
    plans = [result.current, *(a.figures for a in result.alternatives)]
    table = new_table(f"{result.scenario}: {len(result.seeds)} paired seeds, everybody due counted")
    names = short_names(f.name for f in plans)
    add_columns(table, "measure")
    add_columns(table, *names.values(), right=True)
    for name, label, factor in _COMPARED:
        table.add_row(label, *(_figure(f.measure(name).mean * factor) for f in plans))
    table.add_row("worst seed, s/veh", *(_figure(f.measure("mean_delay_s").worst) for f in plans))
    for name in ("teleports", "collisions", "emergency_stops"):
        table.add_row(name.replace("_", " "), *(str(f.total(name)) for f in plans))
    yield table
    for other in result.alternatives:
        d = other.difference
        # 0 - 0 is 0, where -0.0 would be printed with its sign
        gain = f"{names[other.figures.name]}: {0 - d.mean:+.1f} s/veh gained"
        if math.isfinite(other.gain_percent):
            gain += f" ({other.gain_percent:+.1f} %)"
        if math.isfinite(d.low) and math.isfinite(d.high):
            gain += f", 95 % interval {0 - d.high:+.1f} to {0 - d.low:+.1f} s"
        yield Text(gain)
        yield Text(f"  {other.verdict.value}: {other.reason}", style="bold")
        if other.side_streets and other.main_streets:
            yield Text(
                f"  side streets {other.side_streets.current_s:.1f} → {other.side_streets.alternative_s:.1f} s/veh, "
                f"main streets {other.main_streets.current_s:.1f} → {other.main_streets.alternative_s:.1f} s/veh"
            )
        for stream in other.movements[:8]:
            yield Text(
                f"  slower: {short(stream.intersection)} {short(stream.movement, 2 * ID_WIDTH)}: "
                f"{stream.current_s:.1f} → {stream.alternative_s:.1f} s for {stream.vehicles:.0f} veh"
            )


def _figure(value: float) -> str:
    return "" if value != value else f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"
