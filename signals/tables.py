"""Tables for the terminal, made with rich."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table
from rich.text import Text

from signals.inspection import SignalFacts
from signals.planning import Case, Planned
from signals.report import planned_facts
from signals.simulation.compare import Comparison

ID_WIDTH = 28
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


def _short(text: str, width: int = ID_WIDTH) -> str:
    return text if len(text) <= width else text[: width - 9] + "…" + text[-8:]


def inspection_tables(case: Case, facts: Sequence[SignalFacts]) -> Iterator[Table | Text]:
    """A line a signal, then stages, then everything odd."""
    demand = case.demand
    yield Text(
        f"{case.scenario.name}: {len(facts)} signals, {len(demand.vehicles)} vehicles"
        f" and {demand.pedestrians} pedestrians due from {demand.begin_s:g} to {demand.end_s:g} s"
    )
    table = Table(title="Signals")
    for name in ("signal", "approaches", "program", "cycle, s", "offset, s", "stages", "phasing"):
        table.add_column(name)
    for name in ("veh/h", "worst v/c", "HCM delay, s", "LOS"):
        table.add_column(name, justify="right")
    for f in facts:
        table.add_row(
            _short(f.id),
            " ".join(f.approaches),
            f"{f.program} ({f.kind})",
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
    stages = Table(title="Stages")
    for name in ("signal", "stage", "s", "bounds, s", "protected", "permitted", "pedestrians"):
        stages.add_column(name)
    for f in facts:
        for k, s in enumerate(f.stages):
            stages.add_row(
                _short(f.id) if k == 0 else "",
                str(k + 1),
                f"{s.duration_s:g}",
                f"{s.min_s:g}-{'' if s.max_s is None else format(s.max_s, 'g')}",
                ", ".join(s.protected),
                ", ".join(s.permitted),
                str(len(s.crossings) or ""),
            )
    yield stages
    notes = [(f.id, note) for f in facts for note in ([f.unplanned] if f.unplanned else []) + list(f.remarks)]
    notes += [(f.id, "could do without " + d) for f in facts for d in f.droppable]
    if notes or demand.remarks:
        odd = Table(title="Worth knowing")
        odd.add_column("where")
        odd.add_column("what")
        for where, what in [("demand", r) for r in demand.remarks] + notes:
            odd.add_row(_short(where), what)
        yield odd


def planned_tables(planned: Planned, kept_stages: Planned | None) -> Iterator[Table | Text]:
    """How the candidates fared, the plan of each signal, and what has none."""
    facts = planned_facts(planned, kept_stages)
    race = Table(title="Raced in SUMO")
    race.add_column("plan")
    for name in ("modelled, s/veh", "mean delay, s/veh", "worst seed", "teleports"):
        race.add_column(name, justify="right")
    for r in facts["race"]:
        race.add_row(
            Text(r["name"], style="bold" if r["name"] == planned.chosen else ""),
            "" if r["modelled_delay_s"] is None else f"{r['modelled_delay_s']:.1f}",
            f"{r['mean_delay_s']:.1f}",
            f"{max(r['delay_by_seed_s']):.1f}",
            str(r["teleports"]),
        )
    yield race
    table = Table(title="Plan")
    for name in ("signal", "period", "cycle, s", "offset, s", "greens and changes, s"):
        table.add_column(name)
    for name in ("v/c before", "after", "HCM delay before, s", "after", "LOS"):
        table.add_column(name, justify="right")
    for s in facts["signals"]:
        table.add_row(
            _short(s["id"]),
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
                f"{_short(s['id'])}: leaves out stage {o['state']}"
                + (f"; permitted from now on: {lost}" if lost else "; no movement loses protection")
            )
    if "with_every_stage_kept_s" in facts:
        yield Text(f"with every stage kept: {facts['with_every_stage_kept_s']:.1f} s/veh")
    for signal, reason in facts["unplanned"].items():
        yield Text(f"{_short(signal)}: no plan. {reason}")
    if planned.kept:
        yield Text("No candidate beat the plan in place: the file repeats it.", style="bold")


def comparison_tables(result: Comparison) -> Iterator[Table | Text]:
    """Measures of each plan, the paired difference, and the verdict with its reason."""
    plans = [result.current, *(a.figures for a in result.alternatives)]
    table = Table(title=f"{result.scenario}: {len(result.seeds)} paired seeds, everybody due counted")
    table.add_column("measure")
    for figures in plans:
        table.add_column(figures.name, justify="right")
    for name, label, factor in _COMPARED:
        table.add_row(label, *(_figure(f.measure(name).mean * factor) for f in plans))
    table.add_row("worst seed, s/veh", *(_figure(f.measure("mean_delay_s").worst) for f in plans))
    for name in ("teleports", "collisions", "emergency_stops"):
        table.add_row(name.replace("_", " "), *(str(f.total(name)) for f in plans))
    yield table
    for other in result.alternatives:
        d = other.difference
        yield Text(
            f"{other.figures.name}: {-d.mean:+.1f} s/veh gained ({other.gain_percent:+.1f} %), "
            f"95 % interval of the difference {d.low:+.1f} to {d.high:+.1f} s"
        )
        yield Text(f"  {other.verdict.value}: {other.reason}", style="bold")
        if other.side_streets and other.main_streets:
            yield Text(
                f"  side streets {other.side_streets.current_s:.1f} → {other.side_streets.alternative_s:.1f} s/veh, "
                f"main streets {other.main_streets.current_s:.1f} → {other.main_streets.alternative_s:.1f} s/veh"
            )
        for stream in other.movements[:8]:
            yield Text(
                f"  slower: {_short(stream.intersection)} {stream.movement}: "
                f"{stream.current_s:.1f} → {stream.alternative_s:.1f} s for {stream.vehicles:.0f} veh"
            )


def _figure(value: float) -> str:
    return "" if value != value else f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"
