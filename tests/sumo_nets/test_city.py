"""Made-up cities: as many signals as asked for, joined into one, with traffic and counts that fit together."""

import csv
import random
import subprocess
import xml.etree.ElementTree as ET
from collections import deque
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from signals.demand.calendar import Calendar
from signals.demand.screening import screen
from signals.formats.city import CityFolder, read_city
from signals.formats.sumo.network import read_network
from signals.model.counts import CountTable, Reason
from signals.model.network import Network
from signals.model.plan import PlanRequest
from signals.safety.check import field_remarks
from sumo_nets.city import days, generate_city
from sumo_nets.city.counts import FAST_DISTRICT, FAULTS, expect, means
from sumo_nets.city.streets import HEADINGS, City, draw, lay_out
from sumo_nets.city.traffic import BUSY_VC, Traffic, load, peak_vc
from sumo_nets.draft import sumo_binary

SIGNALS, SEED = 80, 3
UNTIL = date(2026, 11, 22)
HOLIDAY, TOWN_FAIR, MATCH = date(2026, 10, 26), date(2026, 11, 13), date(2026, 11, 7)
CLOCKS_CHANGE = date(2026, 10, 25)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> CityFolder:
    """A city of eighty signals with eight weeks of counts."""
    place = tmp_path_factory.mktemp("city")
    generate_city(SIGNALS, seed=SEED, directory=place, until=UNTIL)
    return read_city(place)


@pytest.fixture(scope="module")
def network(folder: CityFolder) -> Network:
    return read_network(folder.scenario())


@pytest.fixture(scope="module")
def counts(folder: CityFolder) -> CountTable:
    (table,) = folder.read_counts()
    return table


@pytest.fixture(scope="module")
def faults(folder: CityFolder) -> list[dict[str, str]]:
    with (folder.folder / "faults.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def laid_out(intersections: int, seed: int = SEED) -> tuple[City, Traffic]:
    """The same city as the folder of that seed, as it was made."""
    city = lay_out(intersections, random.Random(seed))
    return city, load(city, np.random.default_rng([seed, 0]))


def approach_names(city: City) -> list[str]:
    draft = draw(city)
    return [city.approach_of(draft, place, heading) for place in city.district for heading in HEADINGS]


def daily(table: CountTable, faulty: set[str]) -> dict[date, np.ndarray]:
    """Vehicles by day and approach, of approaches without a fault."""
    sound = [k for k, name in enumerate(table.names) if name not in faulty]
    day = table.local_times.astype("datetime64[D]")
    return {d.item(): table.values[day == d][:, sound].sum(axis=0) for d in np.unique(day)}


def rows_of(table: CountTable, fault: dict[str, str]) -> slice:
    """The rows of a fault, told by the local clock."""
    local = table.local_times
    first = int(np.flatnonzero(local == np.datetime64(fault["first"]))[0])
    last = int(np.flatnonzero(local == np.datetime64(fault["last"]))[-1])
    return slice(first, last + 1)


# ---------------------------------------------------------------------------------------------- the network


@pytest.mark.parametrize("intersections", [1, 7, 30, 101, 1000, 10_000])
def test_a_city_has_as_many_signals_as_asked_for_each_joined_to_the_others(intersections: int) -> None:
    city = lay_out(intersections, random.Random(SEED))
    assert len(city.district) == intersections
    start = next(iter(city.district))
    reached, queue = {start}, deque([start])
    while queue:
        place = queue.popleft()
        for there in (city.find_next(place, heading) for heading in HEADINGS):
            if there is not None and there not in reached:
                reached.add(there)
                queue.append(there)
    assert len(reached) == intersections


def test_districts_are_joined_by_longer_links_than_they_have_inside() -> None:
    city = lay_out(300, random.Random(SEED))
    inside, between = [], []
    for place in city.district:
        for heading in ("EB", "NB"):
            there = city.find_next(place, heading)
            if there is not None:
                length_m = float(np.hypot(*np.subtract(city.at_m(there), city.at_m(place))))
                (inside if city.district[there] == city.district[place] else between).append(length_m)
                assert city.district[there] == city.district[place] or city.kind(place, heading) == "arterial"
    assert len(between) > 20
    assert max(inside) <= 320 < 600 <= min(between) <= max(between) <= 1200


@pytest.mark.parametrize("intersections", [7, 30])
def test_the_built_network_has_that_many_signals_and_runs_in_sumo(intersections: int, tmp_path: Path) -> None:
    made = generate_city(intersections, seed=5, directory=tmp_path, weeks=1)
    network = read_network(read_city(tmp_path).scenario())
    assert len(network.intersections) == intersections == made.intersections
    command = [sumo_binary("sumo"), "-c", str(tmp_path / "city.sumocfg"), "--end", "10", "--no-step-log"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_network_is_one_city_without_anything_odd(network: Network) -> None:
    assert len(network.intersections) == SIGNALS
    assert network.remarks == ()
    assert [i.remarks for i in network.intersections.values() if i.remarks] == []
    after: dict[str, set[str]] = {}
    for c in network.connections:
        after.setdefault(c.from_edge, set()).add(c.to_edge)
    start = network.intersections["r4c4"].approaches[0].edge
    reached, queue = {start}, [start]
    while queue:
        following = after.get(queue.pop(), set()) - reached
        reached |= following
        queue += following
    assert all(reached & {a.edge for a in i.approaches} for i in network.intersections.values())


def test_programs_in_place_are_safe_and_share_a_cycle_by_district(network: Network) -> None:
    request = PlanRequest()
    assert [r for i in network.intersections.values() for r in field_remarks(i, request)] == []
    city, _ = laid_out(SIGNALS)
    for place, district in city.district.items():
        program = network.intersections[city.node(place)].program
        assert program is not None
        assert city.cycle_s[district] / program.cycle_s == pytest.approx(
            round(city.cycle_s[district] / program.cycle_s)
        )
    assert len({city.cycle_s[d] for d in city.district.values()}) > 1


def test_every_movement_is_surveyed_and_every_approach_counted(
    network: Network, folder: CityFolder, counts: CountTable
) -> None:
    movements = {m.id for i in network.intersections.values() for m in i.movements}
    approaches = {a.edge for i in network.intersections.values() for a in i.approaches}
    assert set(folder.turns()) == movements
    assert set(counts.names) == approaches
    assert len(counts.names) == 4 * SIGNALS


# ---------------------------------------------------------------------------------------------- the traffic


def test_what_reaches_a_link_is_what_leaves_the_one_before() -> None:
    _, traffic = laid_out(300)
    arriving = traffic.entering_vph.copy()
    movement = traffic.movement_vph
    inside = traffic.next_approach >= 0
    np.add.at(arriving, traffic.next_approach[inside], movement[inside])
    assert arriving == pytest.approx(traffic.flow_vph, rel=1e-9)
    assert movement[~inside].sum(axis=0) == pytest.approx(traffic.entering_vph.sum(axis=0), rel=1e-9)
    assert movement.sum(axis=1) == pytest.approx(traffic.flow_vph)


def test_counts_on_both_ends_of_a_link_fit_together(
    folder: CityFolder, counts: CountTable, faults: list[dict[str, str]]
) -> None:
    """Upstream counts of all days, turned by the survey, are what the next approaches count."""
    city, traffic = laid_out(SIGNALS)
    names = approach_names(city)
    total = counts.select(names).values.sum(axis=0)
    surveyed = np.array(list(folder.turns().values())).reshape(-1, 3)
    turning = total[:, None] * surveyed / surveyed.sum(axis=1, keepdims=True)
    inside = traffic.next_approach >= 0
    arriving = np.zeros(len(names))
    np.add.at(arriving, traffic.next_approach[inside], turning[inside])
    faulty = {names.index(f["approach"]) for f in faults}
    compared = [
        k for k in range(len(names)) if traffic.entering_vph[k, 0] == 0.0 and k not in faulty
        and not faulty & set(np.argwhere(traffic.next_approach == k)[:, 0].tolist())
    ]  # fmt: skip
    assert len(compared) > 100
    error = arriving[compared] / total[compared] - 1.0
    # districts have good and bad days of their own
    assert np.abs(error).max() < 0.15
    assert np.median(np.abs(error)) < 0.02


@pytest.mark.parametrize("intersections", [30, 100, 1000, 3000])
def test_the_peak_is_heavy_for_the_busiest_third_and_no_gridlock(intersections: int) -> None:
    city, traffic = laid_out(intersections)
    vc = peak_vc(city, traffic.movement_vph).max(axis=1)
    assert np.quantile(vc, 2 / 3) > 0.55
    assert np.quantile(vc, 0.98) == pytest.approx(BUSY_VC)
    assert vc.max() < 1.05


def test_the_tide_runs_to_the_centre_in_the_morning_and_back_in_the_evening() -> None:
    city, traffic = laid_out(300)
    middle = np.mean([city.at_m(place) for place, district in city.district.items() if district == 0], axis=0)
    morning, evening = (traffic.flow_vph @ peak for peak in days.at_peaks())
    inbound, outbound = [], []
    for k, place in enumerate(city.district):
        (east, north), other = np.subtract(middle, city.at_m(place)), city.district[place] != 0
        for j, heading in enumerate(HEADINGS):
            way_m = {"EB": east, "WB": -east, "NB": north, "SB": -north}[heading]
            if other and city.kind(place, heading) == "arterial" and abs(way_m) > 700:
                (inbound if way_m > 0 else outbound).append(4 * k + j)
    assert min(len(inbound), len(outbound)) > 100
    assert np.median(morning[inbound] / evening[inbound]) > 1.15 * np.median(morning / evening)
    assert np.median(evening[outbound] / morning[outbound]) > 1.08 * np.median(evening / morning)


# ----------------------------------------------------------------------------------------------- the counts


def test_counts_cover_eight_weeks_on_the_clock_that_people_live_by(counts: CountTable) -> None:
    day = counts.local_times.astype("datetime64[D]")
    assert (day[0], day[-1]) == (np.datetime64("2026-09-28"), np.datetime64(UNTIL))
    assert (counts.timezone, counts.remarks) == ("Europe/Vienna", ())
    found, slots = np.unique(day, return_counts=True)
    assert {d.item(): int(n) for d, n in zip(found, slots, strict=True) if n != 96} == {CLOCKS_CHANGE: 100}
    there = counts.values[~np.isnan(counts.values)]
    assert np.array_equal(there, np.round(there))
    assert there.min() >= 0


def test_kinds_of_day_differ(counts: CountTable, faults: list[dict[str, str]]) -> None:
    by_day = {d: float(v.sum()) for d, v in daily(counts, {f["approach"] for f in faults}).items()}
    special = (HOLIDAY, TOWN_FAIR, MATCH, CLOCKS_CHANGE)
    usual = [
        np.median([total for d, total in by_day.items() if d.weekday() == weekday and d not in special])
        for weekday in range(7)
    ]
    assert min(usual[:5]) > 1.2 * usual[5] > 1.2 * usual[6]
    assert max(usual[:5]) < 1.15 * min(usual[:5])
    sunday = usual[6]
    for holiday in (HOLIDAY, TOWN_FAIR):
        assert 0.75 * sunday < by_day[holiday] < 0.97 * sunday


def test_friday_evening_is_later(counts: CountTable) -> None:
    local = counts.local_times
    weekday = (local.astype("datetime64[D]").astype(np.int64) + 3) % 7
    hour = (local - local.astype("datetime64[D]")).astype(np.int64) / 60
    total = np.nansum(counts.values, axis=1)

    def evening(day: int) -> float:
        these = (weekday == day) & (hour >= 15) & (hour < 21)
        return float(np.average(hour[these], weights=total[these]))

    assert evening(4) > evening(2) + 0.1


def test_districts_grow_and_one_of_them_fast(counts: CountTable, faults: list[dict[str, str]]) -> None:
    """The slope of what is counted by day over what good and bad days explain."""
    city, traffic = laid_out(SIGNALS)
    expected = expect(city, days.make_clock(UNTIL, 8), days.own_holidays(UNTIL), days.events(UNTIL), SEED)
    names = approach_names(city)
    faulty = {f["approach"] for f in faults}
    day = expected.clock.day
    slopes = []
    for number, growth in enumerate(expected.growth):
        mine = [
            k
            for k, d in enumerate(np.repeat(list(city.district.values()), 4))
            if d == number and names[k] not in faulty
        ]
        without = means(expected, traffic.flow_vph[mine]).sum(axis=1) * expected.level[:, number]
        without /= (1.0 + growth) ** (day / 365.0)
        counted = counts.select([names[k] for k in mine]).values.sum(axis=1)
        ratio = np.log(np.bincount(day, counted) / np.bincount(day, without))
        slopes.append(float(np.polyfit(np.arange(56) / 365.0, ratio, 1)[0]))
        assert slopes[-1] == pytest.approx(np.log1p(growth), abs=0.04)
    assert slopes[FAST_DISTRICT] > 0.4
    assert max(slopes[:FAST_DISTRICT] + slopes[FAST_DISTRICT + 1 :]) < 0.1


def test_a_match_brings_a_surge_to_the_middle(counts: CountTable, faults: list[dict[str, str]]) -> None:
    city, _ = laid_out(SIGNALS)
    faulty = {f["approach"] for f in faults}
    middle = [
        n
        for n, d in zip(approach_names(city), np.repeat(list(city.district.values()), 4), strict=True)
        if d == 0
    ]
    others = [n for n in counts.names if n not in middle and n not in faulty]
    middle = [n for n in middle if n not in faulty]

    def evening(day: date) -> tuple[float, float]:
        since = counts.local_times - np.datetime64(day, "m")
        rows = (since >= np.timedelta64(18, "h")) & (since < np.timedelta64(23, "h"))
        return float(counts.select(middle).values[rows].sum()), float(
            counts.select(others).values[rows].sum()
        )

    (with_match, elsewhere), (before, elsewhere_before) = evening(MATCH), evening(MATCH - timedelta(weeks=1))
    assert with_match / before > 1.25 * elsewhere / elsewhere_before


def test_faults_are_where_the_list_says(counts: CountTable, faults: list[dict[str, str]]) -> None:
    assert 0.01 <= len(faults) / len(counts.names) <= 0.02
    assert {fault["kind"] for fault in faults} == set(FAULTS)
    missing = np.isnan(counts.values)
    for fault in faults:
        rows, column = rows_of(counts, fault), counts.names.index(fault["approach"])
        series = counts.values[rows, column]
        if fault["kind"] == "stuck":
            assert len(set(series)) == 1
            assert len(series) >= 48
        elif fault["kind"] == "gap":
            assert np.isnan(series).all()
            missing[rows, column] = False
        elif fault["kind"] == "zeros":
            assert not series.any()
    assert not missing.any()


def test_screening_finds_the_faults(counts: CountTable, faults: list[dict[str, str]]) -> None:
    expected = {
        "stuck": Reason.STUCK, "gap": Reason.GAP, "zeros": Reason.ZERO_DAY, "spike": Reason.SPIKE,
        "clock": Reason.SHIFTED,
    }  # fmt: skip
    found = screen(counts, Calendar("AT", own_days={TOWN_FAIR: "town fair"})).table
    for fault in faults:
        reasons = found.reasons[rows_of(counts, fault), counts.names.index(fault["approach"])]
        assert (reasons == expected[fault["kind"]]).mean() > 0.8, fault


# ---------------------------------------------------------------------------------------------- the files


def test_a_city_depends_on_its_arguments_alone(tmp_path: Path) -> None:
    for name, seed in (("first", 1), ("again", 1), ("other", 2)):
        generate_city(12, seed=seed, directory=tmp_path / name, weeks=1)
    files = sorted(p.relative_to(tmp_path / "first") for p in (tmp_path / "first").rglob("*") if p.is_file())
    assert len(files) == 7

    def same(name: str) -> list[Path]:
        return [
            f for f in files if (tmp_path / "first" / f).read_bytes() == (tmp_path / name / f).read_bytes()
        ]

    assert same("again") == files
    assert [str(f) for f in same("other")] == ["city.sumocfg", "vtypes.add.xml"]


def test_counts_go_into_files_of_a_hundred_signals(tmp_path: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    made = generate_city(
        101, seed=1, directory=tmp_path, weeks=1, on_progress=lambda *step: steps.append(step)
    )
    tables = list(read_city(tmp_path).read_counts())
    assert [len(t.names) for t in tables] == [400, 4]
    assert sum(t.values.size for t in tables) == made.counts == 404 * 7 * 96
    assert steps[-2:] == [("drawing counts", 1, 2), ("drawing counts", 2, 2)]


@pytest.mark.parametrize(("intersections", "weeks"), [(0, 8), (20_001, 8), (5, 0), (5, 105)])
def test_cities_of_no_size_are_refused(intersections: int, weeks: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 to"):
        generate_city(intersections, seed=1, directory=tmp_path, weeks=weeks)


def test_nothing_of_the_build_stays_behind(folder: CityFolder) -> None:
    names = {path.name for path in folder.folder.iterdir()}
    assert names == {
        "city.toml", "city.sumocfg", "city.net.xml.gz", "vtypes.add.xml", "turns.csv", "faults.csv", "counts",
    }  # fmt: skip
    assert ET.parse(folder.folder / "vtypes.add.xml").getroot().tag == "additional"
