"""What a run of the loop leaves behind: its decisions line by line, and a chart of them over the day."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from signals.diagrams.sheet import BACKWARD, FAINT, FORWARD, INK, save_figure
from signals.formats.files import write_whole
from signals.operation.loop import Slot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOG, CHART = "decisions.jsonl", "operation.svg"
MARKS = {"adjust": "^", "switch": "s"}


def write_record(slots: Sequence[Slot], folder: Path) -> tuple[Path, Path]:
    """Write the log (JSON lines) and the chart; the paths of both."""
    rows = [slot.to_json() for slot in slots]
    log = folder / LOG
    write_whole(log, "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows))
    return log, draw_operation(rows, folder / CHART)


def draw_operation(rows: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Measured beside foreseen delay, counted beside forecast vehicles, and what was decided when."""
    hours = [row["time_s"] / 3600.0 for row in rows]

    def draw(figure: Figure) -> None:
        delay, entered, gain = figure.subplots(3, 1, sharex=True)
        for axes, name, pair in (
            (delay, "delay in the slot before, veh·h", ("delay_veh_h", "predicted_delay_veh_h")),
            (entered, "vehicles that entered in the slot before", ("entered", "forecast")),
        ):
            for key, colour, label in zip(pair, (INK, BACKWARD), ("measured", "foreseen"), strict=True):
                known = [(h, row[key]) for h, row in zip(hours, rows, strict=True) if row[key] is not None]
                axes.plot(
                    *zip(*known, strict=True) if known else ((), ()), color=colour, marker=".", label=label
                )
            _finish(axes, name)
        delay.legend(fontsize=6, frameon=False, ncols=2)
        gain.plot(hours, [100.0 * row["expected_gain"] for row in rows], color=FORWARD, marker=".")
        for hour, row in zip(hours, rows, strict=True):
            if row["decision"] in MARKS:
                gain.plot([hour], [100.0 * row["expected_gain"]], MARKS[row["decision"]], color=BACKWARD)
        _finish(gain, "what the best change would save, % (triangle: adjusted, square: switched)")
        gain.set_xlabel("hour", size=7)
        figure.subplots_adjust(left=0.08, right=0.98, top=0.96, bottom=0.08, hspace=0.3)

    return save_figure(8.0, 6.0, draw, path)


def _finish(axes: Axes, name: str) -> None:
    axes.set_title(name, size=7, loc="left", color=INK)
    axes.tick_params(labelsize=6)
    axes.grid(color=FAINT, linewidth=0.4)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
