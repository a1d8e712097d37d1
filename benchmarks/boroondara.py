"""Real intersections for schedules: the counted approaches of Boroondara as signals, with days of counts.

What is counted is approaches. The rest is assumed, the same for every method:

* **Intersections**: three or four approaches, of which one pair or two lie opposite each other (135° or more), each
  with 90 % of its counts in the three weeks and in the fourth.
* **Movements**: `signals.demand.proportions.default_shares` (80 % through, 10 % each turn, among those that exist).
  Traffic keeps left, so that right turns cross the opposite stream.
* **Stages**: for each pair through and left turns, then its protected right turns; the stem of a T alone. 6 s between
  stages, at least 8 s of green, 6 s for right turns.
* **Lanes**: two through lanes of 1800 veh/h, shared with left turns, and a right-turn lane of 1710 veh/h at each
  approach (the stem of a T: one lane for each turn), all of an intersection multiplied by one number, so that its
  critical v/c at 120 s is `PEAK_VC` in the busiest hour of the mean weekday of the three weeks.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kernels.arrays import F8
from signals.demand.calendar import slots_of, weekdays_of
from signals.demand.proportions import default_shares
from signals.errors import InputError
from signals.formats.sources import read_source
from signals.model.network import Movement, Turn
from signals.model.night import DayType
from signals.timing.signal_day import SignalDay

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data"
COUNTS, SITES = "boroondara_oct2006.csv.gz", "boroondara_sites.json"
TRAINED = np.arange("2006-10-01", "2006-10-22", dtype="datetime64[D]")
JUDGED = np.arange("2006-10-22", "2006-10-29", dtype="datetime64[D]")
SLOTS = 96
BEARING = {name: 45.0 * k for k, name in enumerate(("N", "NE", "E", "SE", "S", "SW", "W", "NW"))}
OPPOSITE_DEG = 135.0
COUNTED = 0.9
DEMANDS = 3
DEVIATIONS = 1.5**0.5
"""How far the outer of three equally likely values lie from the mean, so that they have the deviation asked for."""
PEAK_VC = 0.88
PEAK_CYCLE_S = 120.0
BETWEEN_S = 6
MIN_GREEN_S, MIN_RIGHT_S, MAX_GREEN_S = 8, 6, 110
MIN_CYCLE_S, MAX_CYCLE_S = 50, 140
THROUGH_VPH, RIGHT_VPH = 2 * 1800.0, 1710.0
NET_LOSS_S = -1.0
"""Effective green that a lane group has in a change: yellow driven through less start-up loss."""


@dataclass(frozen=True)
class LaneGroup:
    """Vehicles that queue together: their approach, the share of it, the stage that lets them go, and how fast."""

    approach: str
    share: float
    stage: int
    saturation_vph: float


@dataclass(frozen=True)
class Site:
    """An intersection: its lane groups, and which stages are right turns alone."""

    name: str
    groups: tuple[LaneGroup, ...]
    right_only: tuple[bool, ...]
    scale: float = 1.0

    def day(self, counts: dict[str, F8], demands: int = 1) -> SignalDay:
        """The signal under a day's counts by approach, float64[SLOTS * demands], veh a slot."""
        n, m, rows = len(self.right_only), len(self.groups), SLOTS * demands
        share = np.zeros((rows, n, m))
        for lane, group in enumerate(self.groups):
            share[:, group.stage, lane] = 1.0
        flow = np.stack([g.share * counts[g.approach] / 900.0 for g in self.groups], axis=1)
        saturation = np.array([g.saturation_vph * self.scale / 3600.0 for g in self.groups])
        return SignalDay(
            self.name,
            share,
            np.full((rows, m), NET_LOSS_S),
            np.tile(saturation, (rows, 1)),
            flow,
            np.array([MIN_RIGHT_S if right else MIN_GREEN_S for right in self.right_only]),
            np.full(n, MAX_GREEN_S),
            BETWEEN_S * n,
            MIN_CYCLE_S,
            MAX_CYCLE_S,
            demands,
        )


class Boroondara:
    """The counts of October 2006, and the intersections that can be made of them."""

    def __init__(self, folder: Path = FOLDER) -> None:
        for name in (COUNTS, SITES):
            if not (folder / name).exists():
                raise InputError(f"no {folder / name}; give the folder of the real counts with --folder")
        table = read_source(folder / COUNTS, "wide")
        self._values = table.values
        self._column = {name: k for k, name in enumerate(table.names)}
        self._days = table.local_times.astype("datetime64[D]")
        self._slots = slots_of(table.local_times, table.step_min)
        self.sites = tuple(self._sites(json.loads((folder / SITES).read_text())))

    def counts(self, site: Site, day: np.datetime64) -> dict[str, F8]:
        """Counts of a day by approach; slots in which one of them is missing are without traffic at all."""
        found = {a: self._day(a, day) for a in {g.approach for g in site.groups}}
        missing = np.any([np.isnan(row) for row in found.values()], axis=0)
        return {a: np.where(missing, 0.0, row) for a, row in found.items()}

    def mean_counts(self, site: Site, day_type: DayType) -> dict[str, F8]:
        """Mean of the three weeks' days of a type, by approach, float64[SLOTS]."""
        return {a: np.nanmean(self._trained(a, day_type), axis=0) for a in {g.approach for g in site.groups}}

    def likely_counts(self, site: Site, day_type: DayType) -> dict[str, F8]:
        """Three equally likely counts of each slot, by approach, float64[SLOTS * 3]: mean and deviation of the weeks.

        Variance is proportional to the mean; how much is found from all slots of the approach.
        """
        found = {}
        for approach in {g.approach for g in site.groups}:
            days = self._trained(approach, day_type)
            mean = np.nanmean(days, axis=0)
            spread = (
                np.nansum((days - mean) ** 2) / np.sum(np.isfinite(days) * mean) * len(days) / (len(days) - 1)
            )
            away = DEVIATIONS * np.sqrt(spread * mean)
            found[approach] = np.maximum(np.stack([mean - away, mean, mean + away], axis=1), 0.0).ravel()
        return found

    def _trained(self, approach: str, day_type: DayType) -> F8:
        """Counts of the three weeks' days of a type, float64[n_day, SLOTS]."""
        return np.array([self._day(approach, day) for day in TRAINED if day_type_of(day) is day_type])

    def _day(self, approach: str, day: np.datetime64) -> F8:
        rows = self._days == day
        found = np.full(SLOTS, np.nan)
        found[self._slots[rows]] = self._values[rows, self._column[approach]]
        return found

    def _counted(self, approach: str) -> bool:
        return all(
            np.isfinite([self._day(approach, day) for day in days]).mean() >= COUNTED
            for days in (TRAINED, JUDGED)
        )

    def _sites(self, listed: list[dict[str, object]]) -> list[Site]:
        by_site: defaultdict[str, list[tuple[str, float | None]]] = defaultdict(list)
        for entry in listed:
            by_site[str(entry["site"])].append((str(entry["id"]), bearing(str(entry["approach"]))))
        found = []
        for name, approaches in sorted(by_site.items()):
            if any(degrees is None or not self._counted(a) for a, degrees in approaches):
                continue
            site = site_of(name, {a: d for a, d in approaches if d is not None})
            if site is not None:
                found.append(self._scaled(site))
        return found

    def _scaled(self, site: Site) -> Site:
        """The intersection with its lanes multiplied so that the busiest hour of the mean weekday has `PEAK_VC`."""
        day = site.day(self.mean_counts(site, DayType.WEEKDAY))
        ratio = day.flow / day.saturation
        critical = np.max(ratio[:, None, :] * day.share, axis=2).sum(axis=1)
        hour = np.convolve(critical, np.full(4, 0.25), "valid").max()
        lost = len(site.right_only) * (BETWEEN_S - NET_LOSS_S)
        return Site(
            site.name, site.groups, site.right_only, hour * PEAK_CYCLE_S / (PEAK_CYCLE_S - lost) / PEAK_VC
        )


def day_type_of(day: np.datetime64) -> DayType:
    """Weekday, Saturday or Sunday; Victoria has no holiday in these four weeks."""
    weekday = int(weekdays_of(np.array([day]))[0])
    return DayType.SATURDAY if weekday == 5 else DayType.SUNDAY if weekday == 6 else DayType.WEEKDAY


def bearing(label: str) -> float | None:
    """Where an approach comes from, degrees from north, by a label such as ``BURKE_RD N of HARP_RD``."""
    found = re.search(r"\b(N|NE|E|SE|S|SW|W|NW) of\b", label, re.IGNORECASE)
    return BEARING[found.group(1).upper()] if found else None


def between(a: float, b: float) -> float:
    """Angle between two bearings, degrees."""
    return abs((a - b + 180.0) % 360.0 - 180.0)


def site_of(name: str, bearings: dict[str, float]) -> Site | None:
    """An intersection of three or four approaches, None where they don't lie opposite each other."""
    left = sorted(bearings)
    if len(left) not in (3, 4):
        return None
    pairs: list[tuple[str, ...]] = []
    while left:
        options = [(between(bearings[a], bearings[b]), a, b) for a in left for b in left if a < b]
        if not options:
            pairs.append((left[0],))
            break
        angle, a, b = max(options)
        if angle < OPPOSITE_DEG:
            return None
        pairs.append((a, b))
        left = [x for x in left if x not in (a, b)]
    groups: list[LaneGroup] = []
    right_only: list[bool] = []
    for pair in pairs:
        through = len(right_only)
        turns = {a: turns_of(a, next((b for b in pair if b != a), None), bearings) for a in pair}
        protected = len(pair) == 2 and any(Turn.RIGHT in t for t in turns.values())
        right_only += [False, True] if protected else [False]
        for a in pair:
            shares = default_shares(Movement(f"{a}{t}", a, str(t), t, (), ()) for t in turns[a])
            right = shares.get(f"{a}{Turn.RIGHT}", 0.0)
            if len(pair) == 1:
                groups.append(LaneGroup(a, 1.0 - right, through, THROUGH_VPH / 2))
                groups.append(LaneGroup(a, right, through, RIGHT_VPH))
                continue
            groups.append(LaneGroup(a, 1.0 - right, through, THROUGH_VPH))
            if right > 0.0:
                groups.append(LaneGroup(a, right, through + 1, RIGHT_VPH))
    return Site(name, tuple(groups), tuple(right_only))


def turns_of(approach: str, opposite: str | None, bearings: dict[str, float]) -> tuple[Turn, ...]:
    """Turns that lead to another approach's road."""
    found = {Turn.THROUGH} if opposite else set()
    for other in sorted(set(bearings) - {approach, opposite}):
        clockwise = (bearings[other] - bearings[approach]) % 360.0
        found.add(Turn.LEFT if clockwise < 180.0 else Turn.RIGHT)
    return tuple(sorted(found))
