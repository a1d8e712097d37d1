"""A network of the store as a night's city: which counts it reads, how they are named, and of which days."""

from __future__ import annotations

import pickle
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from signals.demand.calendar import Calendar
from signals.demand.margins import approaches_of
from signals.errors import InputError, NotFound
from signals.formats.sumo.config import read_scenario
from signals.formats.sumo.network import read_network
from signals.model.counts import CountTable
from signals.model.network import Network
from signals.model.states import NetworkState
from signals.nightly import store_city
from signals.nightly.steps import Eve, forecast_part, shares_of
from signals.nightly.store_city import KnownNetwork, StoreCity, known_networks
from signals.store.audit import Actor
from signals.store.counts import Existing, store_counts
from signals.store.people import add_person
from signals.store.session import Store
from signals.store.tables import Area, RoadNetwork, Upload
from sumo_nets import find_network

DAY = date(2026, 11, 23)
NOW = datetime(2026, 11, 24, tzinfo=UTC)
FIRST = np.datetime64("2026-11-08T23:00", "m")
HERE = Actor(1, "test")


@pytest.fixture(scope="module")
def network() -> Network:
    """One signal."""
    return read_network(read_scenario(find_network("single")))


@pytest.fixture
def empty(databases: Any) -> Store:
    """A store with somebody in it."""
    made: Store = databases.fresh("sqlite")
    with made.writing() as session:
        add_person(session, Actor(None, "test"), "Ada")
        session.add(Upload(sha256="0" * 64, content=b"", created_at=NOW))
    return made


def add_network(store: Store, name: str = "main", timezone: str = "Europe/Vienna", area_id: int = 1) -> int:
    """A network that has been read."""
    with store.writing() as session:
        row = RoadNetwork(
            area_id=area_id,
            name=name,
            timezone=timezone,
            state=NetworkState.READY,
            upload_sha256="0" * 64,
            facts={},
            created_by=1,
            created_at=NOW,
        )
        session.add(row)
        session.flush()
        return row.id


def count(
    store: Store, network: int, names: list[str], step_min: int = 15, each: float = 6.0, drawn: bool = False
) -> None:
    """Two weeks and a day that end a day after the night's eve: the same count all the time, or drawn around it."""
    shape = 15 * 1440 // step_min, len(names)
    values = np.random.default_rng(1).poisson(each, shape).astype(float) if drawn else np.full(shape, each)
    with store.writing() as session:
        row = session.get_one(RoadNetwork, network)
        table = CountTable(tuple(names), FIRST, step_min, values, timezone=row.timezone)
        store_counts(session, row, HERE, table, existing=Existing.REPLACE, now=NOW, sha256="0" * 64)


def city_of(store: Store, tmp_path: Path, timezone: str = "Europe/Vienna") -> StoreCity:
    """The first network on the eve of the day."""
    scenario = read_scenario(find_network("single"))
    return StoreCity(store, KnownNetwork(1, "main", timezone), DAY, scenario, tmp_path, Calendar())


def own_movements(network: Network) -> dict[str, list[str]]:
    """Movements by approach."""
    found: dict[str, list[str]] = {}
    for movement, approach in approaches_of(network).items():
        found.setdefault(approach, []).append(movement)
    return found


def test_counts_end_at_local_midnight_before_the_day_and_later_ones_change_nothing(
    empty: Store, network: Network, tmp_path: Path
) -> None:
    approaches = list(own_movements(network))
    count(empty, add_network(empty), approaches)
    (part,) = city_of(empty, tmp_path).parts
    table = part.pack().table()
    assert (table.local_times[0], table.local_times[-1]) == (
        np.datetime64("2026-11-09T00:00"),
        np.datetime64("2026-11-22T23:45"),
    )
    assert part.series == table.names == tuple(approaches)
    before = part.digest()
    late = CountTable((approaches[0],), np.datetime64("2026-11-22T23:00"), 15, [[9.0]], timezone="UTC")
    early = CountTable((approaches[0],), np.datetime64("2026-11-22T22:45"), 15, [[9.0]], timezone="UTC")
    for table, same in ((late, True), (early, False)):
        with empty.writing() as session:
            row = session.get_one(RoadNetwork, 1)
            store_counts(session, row, HERE, table, existing=Existing.REPLACE, now=NOW, sha256="0" * 64)
        assert (part.digest() == before) is same


def test_movements_that_are_all_counted_need_no_shares_and_others_are_shared_out(
    empty: Store, network: Network, tmp_path: Path
) -> None:
    first, second, *others = own_movements(network).items()
    names = [*first[1], first[0], second[0], second[1][0]]
    count(empty, add_network(empty), names, each=60.0, drawn=True)
    city = city_of(empty, tmp_path)
    (part,) = city.parts
    assert part.series == (first[0], second[0])
    assert part.places == (*first[1], second[0])
    assert list(city.uncounted) == [approach for approach, _ in others]
    movements = [m for i in network.intersections.values() for m in i.movements if m.approach in part.series]
    shares = shares_of(movements, {})
    approach_of = {m.id: m.approach for m in movements}
    packed = pickle.loads(pickle.dumps(part.pack()))
    forecast, *_ = forecast_part(packed, shares, approach_of, Eve(DAY, Calendar(), frozenset()))
    mean = dict(zip(forecast.names, forecast.mean.mean(axis=0), strict=True))
    assert [mean[m] for m in first[1]] == pytest.approx([60.0] * len(first[1]), rel=0.03)
    assert [mean[m] for m in second[1]] == pytest.approx([60.0 * shares[m] for m in second[1]], rel=0.03)


def test_detectors_give_their_edges_count_where_every_lane_has_one(
    empty: Store, network: Network, tmp_path: Path
) -> None:
    first, second, *_ = own_movements(network)
    lanes = [lane for a in (first, second) for lane in network.edges[a].lanes if lane.allows("passenger")]
    loops = [f'<inductionLoop id="on {x.id}" lane="{x.id}" pos="-5" file="o.xml" freq="60"/>' for x in lanes]
    file = tmp_path / "loops.add.xml"
    file.write_text(f"<additional>{''.join(loops)}</additional>")
    scenario = read_scenario(find_network("single"))
    scenario = replace(scenario, additional=(*scenario.additional, file))
    count(empty, add_network(empty), [f"on {lane.id}" for lane in lanes[:-1]])
    known = KnownNetwork(1, "main", "Europe/Vienna")
    city = StoreCity(empty, known, DAY, scenario, tmp_path, Calendar())
    (part,) = city.parts
    assert part.series == (first,)
    assert second in city.uncounted
    table = part.pack().table()
    assert table.names == (first,)
    assert table.values[0] == [6.0 * sum(lane.allows("passenger") for lane in network.edges[first].lanes)]


def test_short_intervals_are_put_together_to_quarter_hours_and_long_ones_are_refused(
    empty: Store, network: Network, tmp_path: Path
) -> None:
    (approach, *_) = own_movements(network)
    count(empty, add_network(empty), [approach], step_min=5, each=2.0)
    (part,) = city_of(empty, tmp_path).parts
    table = part.pack().table()
    assert (table.step_min, table.n_intervals) == (15, 14 * 96)
    assert set(table.values.ravel()) == {6.0}
    other = add_network(empty, "hourly")
    count(empty, other, [approach], step_min=60)
    scenario = read_scenario(find_network("single"))
    known = KnownNetwork(other, "hourly", "Europe/Vienna")
    (part,) = StoreCity(empty, known, DAY, scenario, tmp_path, Calendar()).parts
    with pytest.raises(InputError, match="counted by 60 min"):
        part.pack()


def test_counts_are_read_in_parts_that_are_the_same_every_night(
    empty: Store, network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_city, "APPROACHES_A_PART", 3)
    approaches = list(own_movements(network))
    count(empty, add_network(empty, timezone=""), approaches)
    parts = city_of(empty, tmp_path, "").parts
    assert [p.id for p in parts] == ["000", "001"][: len(parts)]
    assert [a for p in parts for a in p.series] == approaches
    assert max(len(p.series) for p in parts) == 3
    assert [p.digest() for p in parts] == [p.digest() for p in city_of(empty, tmp_path, "").parts]
    assert parts[0].pack().table().times[-1] == np.datetime64("2026-11-22T23:45")


def test_turns_are_those_of_the_uploaded_traffic(empty: Store, network: Network, tmp_path: Path) -> None:
    turns = city_of(empty, tmp_path).turns()
    assert set(turns) == set(approaches_of(network))
    assert sum(turns.values()) > 100


def test_a_network_is_named_by_number_or_by_a_name_that_no_other_has(empty: Store) -> None:
    with empty.writing() as session:
        session.add(Area(parent_id=1, path="/1/2/", name="north", version=1, created_at=NOW))
    for name, area in (("main", 1), ("main", 2), ("2", 1)):
        add_network(empty, name, area_id=area)
    assert [n.id for n in known_networks(empty)] == [1, 2, 3]
    assert [n.id for n in known_networks(empty, "2")] == [2]
    assert known_networks(empty, "1")[0].folder(Path("d")) == Path("d/networks/1-main")
    with pytest.raises(InputError, match="2 networks have that name; give a number of 1, 2"):
        known_networks(empty, "main")
    with pytest.raises(NotFound, match="no network 'east'"):
        known_networks(empty, "east")
