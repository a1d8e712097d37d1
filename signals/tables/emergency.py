"""The table of an ambulance's way through."""

from __future__ import annotations

from rich.table import Table

from signals.tables.style import add_columns, add_names, new_table, short_names
from signals.wire.emergency import EmergencyPlanShown


def emergency_table(made: EmergencyPlanShown, departs_s: float) -> Table:
    """What each signal on the route does, in seconds after the departure."""
    names = short_names([part.signal for part in made.signals])
    table = new_table(f"Signals on the way, seconds after departure at {departs_s:g} s")
    add_names(table, "signal", names.values())
    add_columns(table, "movement", "phases")
    columns = ("stop line\nm", "due", "queue\nveh", "leaves\nprogram", "hold", "back in\nstep")
    add_columns(table, *columns, "red added\ns", "cost\nveh·min", right=True)
    for part in made.signals:
        hold = part.holds[-1] if part.holds else None
        reason = "no priority" if part.signal in made.skipped else "green by itself"
        table.add_row(
            names[part.signal],
            part.movement,
            "+".join(map(str, part.phases)),
            f"{part.distance_m:.0f}",
            f"{part.eta_early_s - departs_s:.0f}-{part.eta_late_s - departs_s:.0f}",
            f"{part.queue_veh:.0f}",
            f"{hold.leaves_s - departs_s:.0f}" if hold else "",
            f"{hold.begins_s - departs_s:.0f}-{hold.ends_s - departs_s:.0f}" if hold else reason,
            f"{hold.back_s - departs_s:.0f}" if hold else "",
            f"{part.red_added_s:.0f}" if hold else "",
            f"{part.cross_delay_s / 60.0:.0f}" if hold else "",
        )
    return table
