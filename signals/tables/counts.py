"""Tables of counts: their quality, forecasts, scores and warnings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from rich.table import Table
from rich.text import Text

from signals.demand.scoring import Rolled, Score
from signals.demand.screening import Screened, SeriesFacts
from signals.early_warning import EarlyWarning
from signals.model.counts import MARK_OF, REASON_TEXT, CountForecast, Explanation, Mark
from signals.tables.style import add_columns, add_names, new_table, short_names

MOST_SERIES = 40
MOST_FINDINGS = 40
MOST_ROWS = 24
MOST_WARNINGS = 60


def quality_tables(screened: Screened, facts: Sequence[SeriesFacts]) -> Iterator[Table | Text]:
    """A line a series, the ones with bad counts first; then what was found, the worst first."""
    table = screened.table
    yield Text(
        f"{len(table.names)} series, {table.n_intervals} intervals of {table.step_min} min"
        + (f", clock of {table.timezone}" if table.timezone else ", local clock without a timezone")
    )
    names = short_names(f.series for f in facts)
    shown = new_table("Series")
    add_names(shown, "series", names.values())
    add_columns(shown, "good\n%", "doubtful\n%", "bad\n%", "missing\n%", right=True)
    add_columns(shown, "first", "last")
    shown.add_column("mainly")
    worst = sorted(facts, key=lambda f: (-(f.bad + f.missing + f.doubtful), f.series))
    for f in worst[:MOST_SERIES]:
        shown.add_row(
            names[f.series],
            *(f"{100 * n / max(f.slots, 1):.2f}" for n in (f.good, f.doubtful, f.bad, f.missing)),
            _minute(f.first),
            _minute(f.last),
            ", ".join(f"{REASON_TEXT[reason]} ({n})" for reason, n in f.reasons.items()),
        )
    yield shown
    if len(worst) > MOST_SERIES:
        yield Text(f"… and {len(worst) - MOST_SERIES} better ones; --json lists all")
    found = sorted(
        screened.findings, key=lambda one: (one.series != "", -_weight(MARK_OF[one.reason]), -one.slots)
    )
    if found:
        odd = new_table("Found")
        add_names(odd, "series", [names.get(one.series, "all series") for one in found])
        add_columns(odd, "from", "to")
        add_columns(odd, "slots", right=True)
        odd.add_column("what", overflow="fold")
        for one in found[:MOST_FINDINGS]:
            odd.add_row(
                names.get(one.series, "all series"),
                _minute(one.first),
                _minute(one.last),
                str(one.slots),
                f"{REASON_TEXT[one.reason]}: {one.detail}",
            )
        yield odd
        if len(found) > MOST_FINDINGS:
            yield Text(f"… and {len(found) - MOST_FINDINGS} more findings; --json lists all")
    for remark in table.remarks:
        yield Text(f"reading: {remark}")


def forecast_tables(forecast: CountForecast) -> Iterator[Table | Text]:
    """The next interval and the next hours of each series: mean and its outermost quantiles."""
    names = short_names(forecast.names)
    table = new_table(f"Forecast, veh per {forecast.step_min} min")
    add_names(table, "series", names.values())
    chosen = sorted({0, min(3, len(forecast.times) - 1), len(forecast.times) - 1})
    for row in chosen:
        add_columns(table, f"{_minute(forecast.times[row])}\nmean", right=True)
        if forecast.levels:
            add_columns(table, f"\n{forecast.levels[0]:g} … {forecast.levels[-1]:g}", right=True)
    for k, name in enumerate(forecast.names[:MOST_ROWS]):
        cells: list[str] = []
        for row in chosen:
            cells.append(f"{forecast.mean[row, k]:.1f}")
            if forecast.levels:
                low, high = forecast.quantiles[row, k, 0], forecast.quantiles[row, k, -1]
                cells.append(f"{low:.0f} … {high:.0f}")
        table.add_row(names[name], *cells)
    yield table
    if len(forecast.names) > MOST_ROWS:
        yield Text(f"… and {len(forecast.names) - MOST_ROWS} more series in the file")


def explanation_tables(explanations: Sequence[Explanation]) -> Iterator[Table | Text]:
    """Forecasts in parts: profile, ratio, feedback and network sum to the mean."""
    table = new_table("Explained, veh per interval")
    add_names(table, "series", [e.series for e in explanations])
    add_columns(table, "for")
    add_columns(table, "profile", "ratio", "feedback", "network", "guard", "forecast", right=True)
    for e in explanations:
        parts = (e.profile, e.ratio, e.feedback, e.network, e.guard)
        table.add_row(
            e.series, _minute(e.target), f"{parts[0]:.2f}", *(f"{p:+.2f}" for p in parts[1:]), f"{e.mean:.2f}"
        )
    yield table


def score_tables(
    rolled: Mapping[str, Rolled], scores: Mapping[str, Score], absent: Mapping[str, str]
) -> Iterator[Table | Text]:
    """A line a forecaster, the best first, and what is not installed."""
    table = new_table("Rolling origin, one forecast per interval")
    add_columns(table, "forecaster")
    add_columns(
        table, "WAPE\n%", "peak\n%", "bias\n%", "MAE\nveh", "GEH<5\n%", "WQL\n%", "in 80 %\n%", "in 90 %\n%",
        "fit\ns", "per forecast\nµs", right=True,
    )  # fmt: skip
    for name, score in sorted(scores.items(), key=lambda item: item[1].wape):
        table.add_row(
            Text(name, style="bold" if name == "greensplit" else ""),
            *(
                "" if math.isnan(v) else f"{v:.2f}"
                for v in (
                    score.wape, score.peak_wape, score.bias, score.mae_veh, score.geh5, score.wql,
                    score.cover80, score.cover90,
                )
            ),
            f"{rolled[name].fit_s:.2f}",
            f"{rolled[name].us_per_forecast:.1f}",
        )  # fmt: skip
    yield table
    for said in absent.values():
        yield Text(said)


def warning_tables(warnings: Sequence[EarlyWarning]) -> Iterator[Table | Text]:
    """A line a warning, in order of time."""
    if not warnings:
        yield Text("No approach is likely to exceed its capacity.")
        return
    names = short_names(dict.fromkeys(n for w in warnings for n in (w.approach, w.movement)))
    table = new_table("Likely above capacity")
    add_names(table, "approach", [names[w.approach] for w in warnings])
    add_columns(table, "from", "to")
    add_columns(table, "probability", "v/c\nmean", "\n90 %", "excess\nveh", right=True)
    add_names(table, "to blame", [names[w.movement] for w in warnings])
    for w in warnings[:MOST_WARNINGS]:
        table.add_row(
            names[w.approach],
            _minute(w.start),
            _minute(w.end),
            f"{w.peak_probability:.0%}",
            f"{w.vc_mean:.2f}",
            f"{w.vc_q90:.2f}",
            f"{w.excess_veh:.0f}",
            names[w.movement],
        )
    yield table
    if len(warnings) > MOST_WARNINGS:
        yield Text(f"… and {len(warnings) - MOST_WARNINGS} more warnings; --json lists all")


def _weight(mark: Mark) -> int:
    """Bad before doubtful before missing before good, for the order of findings."""
    return {Mark.BAD: 3, Mark.DOUBTFUL: 2, Mark.MISSING: 1, Mark.GOOD: 0}[mark]


def _minute(time: object) -> str:
    return "" if time is None else str(time).replace("T", " ")[:16]
