"""Build four weeks of made-up counts at the arterial's stop lines: ``python -m sumo_nets.arterial.build_counts``.

What each approach carries from 6:00 to 9:00 is what SUMO counts there, the mean of three seeds. The rest of the
day follows a weekday's usual shape, weekends are lighter and later, each day has its own level, and single
quarter hours scatter a little more than by chance. A loop that fails for some hours and one that hangs for an
afternoon are in it, so that screening has something to find.
"""

from __future__ import annotations

import csv
import gzip
import io
import subprocess
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import sumolib

from sumo_nets.draft import sumo_binary

NAME = "counts.csv.gz"
SEED = 20261026
FIRST = datetime(2026, 10, 26, tzinfo=timezone(timedelta(hours=1)))
"""A Monday, after the clocks went back."""
WEEKS = 4
SLOT_S = 900
SLOTS = 96
SIMULATED = slice(24, 36)
"""Slots of the day that the scenario covers: 6:00 to 9:00."""
SIMULATED_SEEDS = (1, 2, 3)
# Share of the flow of the morning's three hours by hour of the day: the morning is SUMO's own.
WEEKDAY = (
    .12, .07, .05, .05, .08, .30, 1, 1, 1, .82, .74, .76,
    .82, .83, .85, .95, 1.08, 1.12, .92, .66, .48, .40, .30, .20,
)  # fmt: skip
WEEKEND = (
    .20, .14, .10, .07, .06, .09, .15, .24, .38, .55, .68, .74,
    .76, .74, .72, .72, .73, .70, .62, .50, .40, .34, .28, .22,
)  # fmt: skip
DAY_LEVEL = (1.0, 1.01, 1.02, 1.02, 1.04, 0.9, 0.75)
DAY_SPREAD = 0.03
DISPERSION = 40.0
"""Of the negative binomial: variance = mean + mean² / 40."""


def build_counts(folder: Path) -> Path:
    """Write the counts of all approaches; the same bytes each time with SUMO 1.28."""
    morning = _simulated(folder)
    rng = np.random.default_rng(SEED)
    edges = sorted(morning)
    rates = np.stack([_weekday(morning[edge]) for edge in edges], axis=1)
    weekend = np.stack([_scaled(morning[edge].mean(), WEEKEND) for edge in edges], axis=1)
    days = []
    for number in range(7 * WEEKS):
        level = DAY_LEVEL[number % 7] * rng.normal(1.0, DAY_SPREAD)
        mean = np.maximum(level * (weekend if number % 7 > 4 else rates), 0.01)
        days.append(rng.negative_binomial(DISPERSION, DISPERSION / (DISPERSION + mean)))
    counts = np.concatenate(days).astype(object)
    dead, stuck = edges.index(_busiest(edges, rates)), len(edges) // 2
    counts[10 * SLOTS + 30 : 10 * SLOTS + 52, dead] = 0
    counts[16 * SLOTS + 52 : 16 * SLOTS + 70, stuck] = 17
    counts[4 * SLOTS + 8 : 4 * SLOTS + 20, 3] = ""
    path = folder / NAME
    path.write_bytes(_packed(edges, counts))
    return path


def _busiest(edges: list[str], rates: np.ndarray) -> str:
    return edges[int(rates.sum(axis=0).argmax())]


def _weekday(morning: np.ndarray) -> np.ndarray:
    day = _scaled(morning.mean(), WEEKDAY)
    day[SIMULATED] = morning
    return day


def _scaled(mean: float, hours: tuple[float, ...]) -> np.ndarray:
    """A day of quarter hours that follows hourly shares smoothly."""
    at = np.arange(SLOTS) / 4 + 0.125
    middles = np.arange(-1, 25) + 0.5
    return mean * np.interp(at, middles, (hours[-1], *hours, hours[0]))


def _simulated(folder: Path) -> dict[str, np.ndarray]:
    """Vehicles that leave each signalised approach in each slot of the morning, the mean of the seeds."""
    net = sumolib.net.readNet(str(folder / "arterial.net.xml"))
    approaches = {
        connection[0].getEdge().getID()
        for signal in net.getTrafficLights()
        for connection in signal.getConnections()
    }
    sums = {edge: np.zeros(SIMULATED.stop - SIMULATED.start) for edge in approaches}
    with tempfile.TemporaryDirectory() as scratch:
        for seed in SIMULATED_SEEDS:
            output, request = Path(scratch) / "edges.xml", Path(scratch) / "edges.add.xml"
            request.write_text(
                f'<additional><edgeData id="e" period="{SLOT_S}" file="{output}" excludeEmpty="true"/></additional>'
            )
            command = [sumo_binary("sumo"), "-c", "arterial.sumocfg", "-a", f"vtypes.add.xml,{request}"]
            subprocess.run(
                [*command, "--seed", str(seed), "--no-step-log", "--no-warnings"],
                cwd=folder,
                check=True,
                timeout=600,
            )
            for interval in ElementTree.parse(output).getroot():
                slot = int(float(interval.get("begin", "0")) // SLOT_S) - SIMULATED.start
                for edge in interval:
                    if edge.get("id", "") in sums:
                        sums[edge.get("id", "")][slot] += float(edge.get("left", "0"))
    return {edge: total / len(SIMULATED_SEEDS) for edge, total in sums.items()}


def _packed(edges: list[str], counts: np.ndarray) -> bytes:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["time", *edges])
    for number, row in enumerate(counts):
        rows.writerow([(FIRST + timedelta(seconds=number * SLOT_S)).strftime("%Y-%m-%dT%H:%M"), *row])
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0, filename="") as stream:
        stream.write(text.getvalue().encode())
    return packed.getvalue()


if __name__ == "__main__":
    print(build_counts(Path(__file__).parent))
