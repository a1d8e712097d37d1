"""Forecasts beside other people's: real counts, one row at a time, and how good and how fast each is.

    python -m benchmarks.forecast [--data boroondara melbourne] [--only NAME ...] [--horizon 1] [--folder DIR]

One table a data set: error, bias, quantiles, seconds for the fit and for all forecasts with their updates, and
microseconds a forecast. Greensplit and LightGBM are given one thread; with OMP_NUM_THREADS=1 and
OPENBLAS_NUM_THREADS=1 in the environment no library has more. Before the clock starts each forecaster is fitted and
asked once on a small slice, so that compiling and importing are not in the figures.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from signals.demand.forecast import Forecaster
from signals.demand.peers import PEERS, available_peers
from signals.demand.scoring import Maker, Rolled, roll
from signals.errors import InputError
from signals.formats.sources import read_source
from signals.model.counts import LEVELS, CountTable, Floats, Times

OURS = "Greensplit"
SLICE_DAYS = 15
SLICE_SERIES = 4
COLUMNS = (
    "forecaster", "WAPE, %", "bias, %", "GEH < 5, %", "WQL, %", "in 80 %", "in 90 %", "fit, s", "roll, s",
    "µs a forecast",
)  # fmt: skip


@dataclass(frozen=True)
class DataSet:
    """A file of counts, and the first day that is forecast."""

    file: str
    test_from: str


DATA = {
    "boroondara": DataSet("boroondara_oct2006.csv.gz", "2006-10-22"),
    "melbourne": DataSet("melbourne5_2007_2010.csv.gz", "2010-01-01"),
}


class OnOneThread:
    """`OnlineForecaster` with one thread for the fit, as the peers have."""

    def __init__(self, times: Times, counts: Floats, horizon: int, quantiles: Sequence[float] | None) -> None:
        self._forecaster = Forecaster(times, counts, [horizon], tuple(quantiles or ()), threads=1)
        self._horizon = horizon

    def predict(self) -> tuple[Floats, Floats]:
        """Means and quantiles."""
        return self._forecaster.predict(self._horizon)

    def update(self, time: np.datetime64, row: Floats, /) -> None:
        """The counts of the interval that has just ended."""
        self._forecaster.update(time, row)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    makers: dict[str, Maker] = {OURS: OnOneThread, **PEERS}
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--only", nargs="+", choices=makers, default=list(makers), metavar="NAME",
                        help=f"forecasters: {', '.join(makers)}")  # fmt: skip
    parser.add_argument("--horizon", type=int, default=1, help="intervals ahead")
    parser.add_argument("--folder", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data",
                        help="where the files of counts are")  # fmt: skip
    options = parser.parse_args(arguments)
    missing = available_peers()
    for name in options.data:
        path = options.folder / DATA[name].file
        if not path.exists():
            print(f"{name}: skipped, no {path}; give the folder of the counts with --folder", flush=True)
            continue
        table = read_source(path, "wide")
        first = int(np.searchsorted(table.local_times, np.datetime64(DATA[name].test_from, "m")))
        print(
            f"\n{name}: {len(table.names)} series, test of {table.n_intervals - first} intervals from "
            f"{DATA[name].test_from}, {options.horizon} ahead; compiled and imported before, one thread\n\n"
            f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}",
            flush=True,
        )
        for forecaster in options.only:
            if missing.get(forecaster):
                print(f"| {forecaster} | skipped: {missing[forecaster]} |{' |' * (len(COLUMNS) - 2)}")
                continue
            try:
                _warm(makers[forecaster], table, options.horizon)
                rolled = _rolled(f"{name}, {forecaster}", makers[forecaster], table, first, options.horizon)
            except InputError as error:
                print(f"| {forecaster} | skipped: {error} |{' |' * (len(COLUMNS) - 2)}", flush=True)
                continue
            print(_row(forecaster, rolled), flush=True)


def _warm(make: Maker, table: CountTable, horizon: int) -> None:
    rows = slice(0, SLICE_DAYS * table.slots_a_day)
    small = make(table.local_times[rows], table.values[rows, :SLICE_SERIES].copy(), horizon, LEVELS)
    small.predict()
    small.update(table.local_times[rows.stop], table.values[rows.stop, :SLICE_SERIES].copy())


def _rolled(title: str, make: Maker, table: CountTable, first: int, horizon: int) -> Rolled:
    """The test, with a bar on the error stream."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(f"{title}: fit", total=None)

        def show(done: int, of: int) -> None:
            bars.update(task, description=title, completed=done, total=of)

        return roll(make, table.local_times, table.values, first, horizon, on_progress=show)


def _row(name: str, rolled: Rolled) -> str:
    score = rolled.score()
    figures = [
        f"{score.wape:.2f}", f"{score.bias:+.2f}", f"{score.geh5:.2f}", f"{score.wql:.3f}", f"{score.cover80:.1f}",
        f"{score.cover90:.1f}", f"{rolled.fit_s:.2f}", f"{rolled.roll_s:.2f}", f"{rolled.us_per_forecast:.2f}",
    ]  # fmt: skip
    return f"| {name} | {' | '.join(figures)} |"


if __name__ == "__main__":
    main()
