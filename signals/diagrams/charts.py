"""Charts of counts: how good they are, day by day; a forecast and what came before it; a week beside what came."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from signals.demand.scoring import Rolled, WorstWeek
from signals.diagrams.sheet import (
    BACKWARD,
    FAINT,
    FORWARD,
    GREEN_LIGHT,
    INK,
    MUTED,
    PAPER,
    RED,
    YELLOW,
    printable,
    save_figure,
)
from signals.model.counts import CountForecast, CountTable, Mark

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_SERIES = 400
"""Rows of the chart of quality; of more series the worst are drawn."""
PANELS = 6
"""Series of a forecast that are drawn, the busiest first."""
PAST_DAYS = 2
_MARKS = (
    (Mark.GOOD, "good", GREEN_LIGHT),
    (Mark.DOUBTFUL, "doubtful", YELLOW),
    (Mark.BAD, "bad", RED),
    (Mark.MISSING, "missing", FAINT),
)


def draw_quality(table: CountTable, path: Path) -> Path:
    """Every series as a row, every day as a column, coloured by the share of its counts that are good.

    A cell shows its worst third: bad before missing before doubtful where they make up a tenth of the day.
    """
    dates = table.local_times.astype("datetime64[D]")
    days, start = np.unique(dates, return_index=True)
    slots = np.diff(np.append(start, table.n_intervals))[:, None]
    share = {
        mark: np.add.reduceat((table.marks == mark).astype(float), start, axis=0) / slots
        for mark, _, _ in _MARKS
    }
    cells = np.zeros((len(days), len(table.names)), dtype=np.int64)
    for mark in (Mark.DOUBTFUL, Mark.MISSING, Mark.BAD):
        cells[share[mark] >= 0.1] = mark
    rows = np.arange(len(table.names))
    if len(rows) > MOST_SERIES:
        rows = np.sort(np.argsort(share[Mark.GOOD].mean(axis=0), kind="stable")[:MOST_SERIES])

    def draw(figure: Figure) -> None:
        from matplotlib.colors import BoundaryNorm, ListedColormap
        from matplotlib.patches import Patch

        axes = figure.add_axes((0.16, 0.12, 0.82, 0.78))
        colours = ListedColormap([colour for _, _, colour in _MARKS])
        axes.imshow(
            cells[:, rows].T,
            aspect="auto",
            interpolation="nearest",
            cmap=colours,
            norm=BoundaryNorm([-0.5, 0.5, 1.5, 2.5, 3.5], 4),
        )
        every = max(1, len(rows) // 40)
        axes.set_yticks(range(0, len(rows), every), [_short(table.names[k]) for k in rows[::every]], size=6)
        apart = max(1, len(days) // 12)
        axes.set_xticks(range(0, len(days), apart), [str(d) for d in days[::apart]], size=6, rotation=30)
        figure.legend(
            handles=[Patch(facecolor=c, edgecolor=MUTED, label=name) for _, name, c in _MARKS],
            loc="upper right", ncols=4, fontsize=7, frameon=False,
        )  # fmt: skip
        figure.suptitle("Counts by day: a tenth of the day or more is", x=0.16, ha="left", size=9, color=INK)

    return save_figure(9.0, max(2.5, 0.6 + 0.09 * min(len(rows), 90)), draw, path)


def draw_forecast(table: CountTable, forecast: CountForecast, path: Path) -> Path:
    """The last two days of the busiest series and the forecast after them, with its widest band of quantiles."""
    volume = np.nansum(table.usable, axis=0)
    series = np.argsort(-volume, kind="stable")[:PANELS]
    past = table.local_times[-PAST_DAYS * table.slots_a_day :]

    def draw(figure: Figure) -> None:
        panels = figure.subplots(len(series), 1, sharex=True, squeeze=False)[:, 0]
        for axes, k in zip(panels, series, strict=True):
            axes.plot(past, table.values[-len(past) :, k], color=INK, linewidth=0.8, label="counted")
            if len(forecast.levels) >= 2:
                low, high = forecast.levels[0], forecast.levels[-1]
                axes.fill_between(
                    forecast.times, forecast.quantiles[:, k, 0], forecast.quantiles[:, k, -1],
                    color=FORWARD, alpha=0.2, linewidth=0, label=f"{low:g} to {high:g}",
                )  # fmt: skip
            axes.plot(
                forecast.times,
                forecast.mean[:, k],
                color=FORWARD,
                linewidth=1.1,
                marker="." if len(forecast.times) < 8 else "",
                label="forecast",
            )
            _finish(axes, forecast.names[k], forecast.step_min)
        panels[0].legend(fontsize=6, frameon=False, ncols=3, loc="upper left")
        _dates(panels[-1])
        figure.subplots_adjust(left=0.09, right=0.98, top=0.96, bottom=0.08, hspace=0.35)

    return save_figure(9.0, 0.8 + 1.35 * len(series), draw, path)


def draw_week(rolled: Rolled, week: WorstWeek, names: Sequence[str], path: Path) -> Path:
    """The worst week of a test: the whole network and the series worst in it, forecast beside counted."""
    rows = slice(week.first, week.last)
    times = rolled.times[rows]
    seen = np.isfinite(rolled.counts[rows])
    counted = np.where(seen, rolled.counts[rows], 0.0)
    forecast = np.where(seen, rolled.mean[rows], 0.0)
    own = (rolled.counts[rows, week.series], rolled.mean[rows, week.series])

    def draw(figure: Figure) -> None:
        above, below = figure.subplots(2, 1, sharex=True)
        title = f"all series, WAPE {week.wape:.1f} %"
        for axes, (count, made), name in (
            (above, (counted.sum(axis=1), forecast.sum(axis=1)), title),
            (below, own, f"{names[week.series]}, WAPE {week.series_wape:.1f} %"),
        ):
            axes.plot(times, count, color=INK, linewidth=0.8, label="counted")
            axes.plot(times, made, color=BACKWARD, linewidth=0.9, label="forecast")
            _finish(axes, name, rolled.step_min)
        if rolled.levels:
            below.fill_between(
                times, rolled.quantiles[rows, week.series, 0], rolled.quantiles[rows, week.series, -1],
                color=FORWARD, alpha=0.2, linewidth=0, label=f"{rolled.levels[0]:g} to {rolled.levels[-1]:g}",
            )  # fmt: skip
        below.legend(fontsize=6, frameon=False, ncols=3, loc="upper left")
        _dates(below)
        figure.subplots_adjust(left=0.09, right=0.98, top=0.95, bottom=0.09, hspace=0.2)

    return save_figure(9.0, 5.2, draw, path)


def _short(name: str) -> str:
    text = printable(name)
    return text if len(text) <= 24 else text[:15] + "…" + text[-8:]


def _finish(axes: Axes, name: str, step_min: int) -> None:
    axes.set_title(_short(name) if len(name) > 60 else printable(name), size=7, loc="left", color=INK)
    axes.set_ylabel(f"veh / {step_min} min", size=6)
    axes.set_ylim(bottom=0)
    axes.tick_params(labelsize=6)
    axes.grid(color=FAINT, linewidth=0.4)
    axes.set_facecolor(PAPER)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _dates(axes: Axes) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))  # type: ignore[no-untyped-call]
