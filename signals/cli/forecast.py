"""`greensplit forecast`: counts to come, how good such forecasts are, and where queues will be too long."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from signals.cli.app import app
from signals.cli.console import Json, console, print_json, progress_bars, require_place, status
from signals.cli.counts import (
    Country,
    Counts,
    Holidays,
    Kind,
    MaxFlow,
    Step,
    Subdivision,
    Timezone,
    chosen_calendar,
    read_and_screen,
    resolved,
)
from signals.errors import InputError

if TYPE_CHECKING:
    from signals.demand.scoring import Maker
    from signals.demand.screening import Screened
    from signals.model.counts import CountForecast

DEFAULT = "counts"


class _FileFirst(TyperGroup):
    """`greensplit forecast FILE` is `greensplit forecast counts FILE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the default command in front of what names none."""
        if args and args[0] not in self.commands and args[0] != "--help":
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)


forecast = typer.Typer(
    name="forecast",
    cls=_FileFirst,
    help="Forecast counts: `greensplit forecast FILE --horizon 4 -o OUT`, which is short for `forecast counts FILE`.",
    no_args_is_help=True,
)
app.add_typer(forecast)

Horizon = Annotated[
    int, typer.Option(min=1, help="Intervals ahead: 1 is the next one, 96 a day of quarter hours.")
]
Quantiles = Annotated[
    str | None,
    typer.Option(help="Quantiles to give, such as 0.1,0.5,0.9; seven by default, none for the mean alone."),
]


@forecast.command(name=DEFAULT)
def counts(
    files: Counts,
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", help="Table to write, .csv, .csv.gz or .parquet: means and quantiles."
        ),
    ],
    horizon: Horizon = 1,
    quantiles: Quantiles = None,
    kind: Kind = "auto",
    timezone: Timezone = "",
    step: Step = None,
    country: Country = "",
    subdivision: Subdivision = "",
    holiday: Holidays = None,
    max_flow: MaxFlow = None,
    explain: Annotated[
        list[str] | None,
        typer.Option(
            help="Series whose forecast is shown in parts that sum to it; may be given several times."
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Chart of the busiest series: an svg, png or pdf file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Forecast every series for the intervals after the end of FILE.

    Counts are screened first, and bad ones left out. OUT has a row an interval and a column a series, quantiles in
    columns named SERIES@0.9.
    """
    from signals.demand.forecast import forecast_counts
    from signals.formats.counts import write_forecast

    levels = _levels(quantiles)
    calendar = chosen_calendar(country, subdivision, holiday)
    require_place(output, "the forecast", resolved(files))
    if plot is not None:
        require_place(plot, "the chart", resolved(files) | {output.resolve()})
    with progress_bars(as_json) as progress:
        progress("reading and screening", 0, 1)
        screened = read_and_screen(files, kind, timezone, step, calendar, max_flow)
        progress("reading and screening", 1, 1)
        progress("forecasting", 0, 1)
        made, explanations = forecast_counts(
            screened.table, horizon, levels=levels, calendar=calendar, explain=explain or ()
        )
        progress("forecasting", 1, 1)
    write_forecast(made, output)
    if plot is not None:
        from signals.diagrams.charts import draw_forecast

        draw_forecast(screened.table, made, plot)
    if as_json:
        print_json(
            {
                "output": str(output),
                **_facts(made),
                "left_out": _left_out(screened),
                "explained": [e.to_json() for e in explanations],
                "plot": str(plot) if plot else None,
            }
        )
        return
    from signals.tables.counts import explanation_tables, forecast_tables

    shown = console()
    for part in forecast_tables(made):
        shown.print(part)
    for part in explanation_tables(explanations) if explanations else ():
        shown.print(part)
    shown.print(f"{_left_out(screened)} counts were bad and left out; greensplit counts check shows which")
    shown.print(f"forecast written to {output}" + (f", chart to {plot}" if plot else ""))


@forecast.command()
def score(
    files: Counts,
    test_from: Annotated[
        str, typer.Option(help="First day of the test, such as 2006-10-22; before it is learned from.")
    ],
    horizon: Horizon = 1,
    test_to: Annotated[str, typer.Option(help="Day after the test's last; the end of FILE by default.")] = "",
    peers: Annotated[
        str,
        typer.Option(help="Other forecasters: all (that are installed), none, or names separated by commas."),
    ] = "all",
    quantiles: Quantiles = None,
    kind: Kind = "auto",
    timezone: Timezone = "",
    step: Step = None,
    country: Country = "",
    subdivision: Subdivision = "",
    holiday: Holidays = None,
    max_flow: MaxFlow = None,
    plot: Annotated[
        Path | None, typer.Option(help="Chart of the worst week: an svg, png or pdf file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Judge forecasts on the past: one for each interval of the test, made without a look ahead, beside others.

    Counts that screening marks bad are neither learned from nor scored. LightGBM takes minutes.
    """
    from functools import partial

    from signals.demand.peers import available_peers
    from signals.demand.scoring import roll, worst_week

    levels = _levels(quantiles)
    calendar = chosen_calendar(country, subdivision, holiday)
    if plot is not None:
        require_place(plot, "the chart", resolved(files))
    makers = _makers(peers, calendar)
    absent = {name: said for name, said in available_peers().items() if said}
    with progress_bars(as_json) as progress:
        progress("reading and screening", 0, 1)
        table = read_and_screen(files, kind, timezone, step, calendar, max_flow).table
        progress("reading and screening", 1, 1)
        times, values = table.local_times, table.usable
        first, last = _row_of(test_from, "--test-from", times), len(times)
        if test_to:
            last = _row_of(test_to, "--test-to", times)
        rolled = {
            name: roll(
                make, times[:last], values[:last], first, horizon, levels,
                on_progress=partial(progress, name),
            )
            for name, make in makers.items()
        }  # fmt: skip
    scores = {name: r.score() for name, r in rolled.items()}
    week = worst_week(rolled["greensplit"])
    if plot is not None:
        from signals.diagrams.charts import draw_week

        draw_week(rolled["greensplit"], week, table.names, plot)
    if as_json:
        print_json(
            {
                "files": [str(file) for file in files],
                "horizon": horizon,
                "test": [str(times[first]), str(times[last - 1])],
                "forecasters": {
                    name: {
                        **s.to_json(),
                        "fit_s": rolled[name].fit_s,
                        "us_per_forecast": rolled[name].us_per_forecast,
                    }
                    for name, s in scores.items()
                },
                "not_installed": absent,
                "worst_week": {
                    "first": str(rolled["greensplit"].times[week.first]),
                    "wape": week.wape,
                    "series": table.names[week.series],
                    "series_wape": week.series_wape,
                },
                "plot": str(plot) if plot else None,
            }
        )
        return
    from signals.tables.counts import score_tables

    shown = console()
    for part in score_tables(rolled, scores, absent):
        shown.print(part)
    begin = str(rolled["greensplit"].times[week.first])[:10]
    shown.print(
        f"worst week from {begin}: WAPE {week.wape:.1f} %; worst in it {table.names[week.series]} "
        f"with {week.series_wape:.1f} %" + (f"; chart written to {plot}" if plot else "")
    )


@forecast.command()
def warn(
    files: Counts,
    capacities: Annotated[
        Path | None,
        typer.Option(
            help="CSV with each series' capacity: columns series, capacity_vph, and approach, from (HH:MM)."
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="A .sumocfg instead: capacities of its movements under the programs in force."),
    ] = None,
    plans: Annotated[
        list[Path] | None, typer.Option(help="Plan files in force, in place of CONFIG's own.")
    ] = None,
    turns: Annotated[
        Path | None,
        typer.Option(
            help="Turning counts by movement id; without them turns are estimated from exit counts, or by default."
        ),
    ] = None,
    hours: Annotated[float, typer.Option(min=0.25, max=48, help="How far ahead.")] = 24.0,
    threshold: Annotated[
        float, typer.Option(min=0.01, max=1, help="Probability from which on to warn.")
    ] = 0.5,
    kind: Kind = "auto",
    timezone: Timezone = "",
    step: Step = None,
    country: Country = "",
    subdivision: Subdivision = "",
    holiday: Holidays = None,
    max_flow: MaxFlow = None,
    as_json: Json = False,
) -> None:
    """Name the hours to come in which an approach is likely to exceed what the plan in force can pass.

    Series are named as in the CSV, or by CONFIG's movements, or by its approach and exit edges. Counts must come from
    upstream of the queue: at a saturated stop line they show the capacity, not the demand.
    """
    from signals.demand.forecast import forecast_counts
    from signals.early_warning import schedules_in_force, uncovered, under_programs
    from signals.early_warning import warn as warnings_of
    from signals.formats.capacities import read_capacities
    from signals.formats.sources import read_source
    from signals.formats.sumo.config import read_scenario
    from signals.formats.sumo.network import read_network
    from signals.formats.sumo.programs import read_plans

    if (capacities is None) == (config is None):
        raise InputError("give either --capacities or --config, not both and not neither")
    if config is None and (plans or turns):
        raise InputError("--plans and --turns go with --config")
    calendar = chosen_calendar(country, subdivision, holiday)
    with status("reading, screening, forecasting", as_json):
        table = read_and_screen(files, kind, timezone, step, calendar, max_flow).table
        made, _ = forecast_counts(table, max(1, round(hours * 60 / table.step_min)), calendar=calendar)
        if capacities is not None:
            known = read_capacities(capacities, step_min=table.step_min)
        else:
            assert config is not None
            network = read_network(read_scenario(config))
            schedules = schedules_in_force(network)
            for path in plans or ():
                schedules |= {signal: ((0, program),) for signal, program in read_plans([path]).items()}
            made, known = under_programs(
                made, table, network, schedules, read_source(turns) if turns else None
            )
        warnings = warnings_of(made, known, threshold=threshold, covered_only=True)
    without = uncovered(made, known)
    if as_json:
        print_json({"warnings": [w.to_json() for w in warnings], "without_capacity": list(without)})
        return
    from signals.tables.counts import warning_tables

    shown = console()
    for part in warning_tables(warnings):
        shown.print(part)
    if without:
        more = ", …" if len(without) > 5 else ""
        shown.print(
            f"no capacity for {len(without)} series, which are not watched: {', '.join(without[:5])}{more}"
        )


def _levels(text: str | None) -> tuple[float, ...]:
    if text is None:
        from signals.model.counts import LEVELS

        return LEVELS
    if text.strip().lower() in ("", "none"):
        return ()
    try:
        levels = sorted({float(part) for part in text.split(",")})
    except ValueError:
        raise InputError(f"--quantiles {text}: give numbers between 0 and 1, such as 0.1,0.5,0.9") from None
    if not 0 < levels[0] <= levels[-1] < 1:
        raise InputError(f"--quantiles {text}: each must lie between 0 and 1, such as 0.1,0.5,0.9")
    return tuple(levels)


def _facts(made: CountForecast) -> dict[str, object]:
    return {
        "series": list(made.names),
        "times": [str(t) for t in made.times],
        "step_min": made.step_min,
        "mean": made.mean.round(3).tolist(),
        "quantile_levels": list(made.levels),
        "quantiles": made.quantiles.round(3).tolist(),
    }


def _left_out(screened: Screened) -> int:
    from signals.model.counts import Mark

    return int((screened.table.marks == Mark.BAD).sum())


def _makers(peers: str, calendar: Any) -> Mapping[str, Maker]:
    """Greensplit's forecaster and the peers that are asked for, by name."""
    from functools import partial

    from signals.demand.forecast import OnlineForecaster
    from signals.demand.peers import PEERS, available_peers

    said = available_peers()
    wanted = [p.strip() for p in peers.split(",")] if peers not in ("all", "none") else []
    for name in wanted:
        if name not in PEERS:
            raise InputError(
                f"--peers {name}: no such forecaster; there are {', '.join(PEERS)}, all and none"
            )
        if said[name]:
            raise InputError(f"--peers {name}: {said[name]}")
    if peers == "all":
        wanted = [name for name, missing in said.items() if not missing]
    return {
        "greensplit": partial(OnlineForecaster, calendar=calendar),
        **{name: PEERS[name] for name in wanted},
    }


def _row_of(text: str, option: str, times: Any) -> int:
    """First row on or after a date."""
    import numpy as np

    try:
        moment = np.datetime64(text, "m")
    except ValueError:
        raise InputError(f"{option} {text}: give a date such as 2006-10-22") from None
    row = int(np.searchsorted(times, moment))
    if not times[0] < moment <= times[-1] + np.timedelta64(1, "D"):
        raise InputError(
            f"{option} {text}: FILE has counts from {times[0]} to {times[-1]}; choose a day within"
        )
    return row
