"""A network of the service's store as a night needs it."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from functools import cached_property
from pathlib import Path
from typing import cast
from zoneinfo import ZoneInfo

import numpy as np
from sqlalchemy import exists, select

from signals.demand.calendar import Calendar
from signals.demand.margins import flows_at_places
from signals.errors import InputError, NotFound, SimulationError
from signals.formats.city import ApprovalBounds
from signals.formats.sumo.config import Scenario
from signals.formats.sumo.network import read_network
from signals.model.counts import CountTable
from signals.model.network import Network
from signals.model.states import NetworkState
from signals.nightly.folder import file_name
from signals.store.counts import read_counts
from signals.store.session import Store
from signals.store.tables import RoadNetwork, Stream
from signals.store.uploads import unpack_upload

APPROACHES_A_PART = 100
"""Approaches whose counts are held at once: some four megabytes."""
WEEKS = 8
"""Of counts that a night learns from."""
QUARTER_MIN = 15
NETWORKS = "networks"
_DAY_MIN = np.timedelta64(1, "D").astype("timedelta64[m]")


@dataclass(frozen=True, slots=True)
class KnownNetwork:
    """A network of the store; `why_not` says why no night can be made of it."""

    id: int
    name: str
    timezone: str
    why_not: str = ""

    def folder(self, data: Path) -> Path:
        """Where its nights are: in `nights` of this folder, as those of a city's folder are."""
        return data / NETWORKS / file_name(f"{self.id}-{self.name}")


def known_networks(store: Store, wanted: str | None = None) -> list[KnownNetwork]:
    """The networks of the store by number, or the one of this number or name.

    Raises
    ------
    NotFound
        Where there is none.
    InputError
        Where several have the name.
    """
    counted = exists().where(Stream.network_id == RoadNetwork.id)
    with store.reading() as session:
        rows = session.execute(
            select(
                RoadNetwork.id, RoadNetwork.name, RoadNetwork.timezone, RoadNetwork.state, counted
            ).order_by(RoadNetwork.id)
        ).all()
    found = [
        KnownNetwork(id_, name, timezone, _why_not(state, bool(has_counts)))
        for id_, name, timezone, state, has_counts in rows
    ]
    if wanted is None:
        return found
    chosen = [n for n in found if str(n.id) == wanted] or [n for n in found if n.name == wanted]
    if not chosen:
        raise NotFound(f"the store has no network {wanted!r}")
    if len(chosen) > 1:
        numbers = ", ".join(str(n.id) for n in chosen)
        raise InputError(
            f"--network {wanted}: {len(chosen)} networks have that name; give a number of {numbers}"
        )
    return chosen


def _why_not(state: str, counted: bool) -> str:
    if state != NetworkState.READY:
        return f"is {state}" if state != NetworkState.READING else "hasn't been read yet"
    return "" if counted else "has no counts"


# ------------------------------------------------------------------------------------------------- counts


@dataclass(frozen=True, eq=False)
class PackedTable:
    """Counts as they were read."""

    counts: CountTable

    def table(self) -> CountTable:
        """The counts, by approach edge, or by movement where each of an approach is counted."""
        return self.counts


@dataclass(frozen=True, eq=False)
class CountSource:
    """Where a network's counts are, and the time that a night looks at, of the store's clock."""

    store: Store
    network_id: int
    network: Network
    first: np.datetime64
    last: np.datetime64


@dataclass(frozen=True, eq=False)
class StoredPart:
    """Some approaches of a network: `streams` are counted there, `places` are the edges or movements that they give."""

    id: str
    series: tuple[str, ...]
    places: tuple[str, ...]
    streams: tuple[int, ...]
    source: CountSource = field(repr=False)

    def digest(self) -> str:
        """Hash of all counts that a night looks at."""
        table = self._table()
        seen = hashlib.sha256(repr((table.names, str(table.start), table.step_min, table.timezone)).encode())
        seen.update(table.values.tobytes())
        return seen.hexdigest()

    def pack(self) -> PackedTable:
        """The counts."""
        return PackedTable(self._table())

    def _table(self) -> CountTable:
        of = self.source
        with of.store.reading() as session:
            table = read_counts(session, of.network_id, streams=self.streams, first=of.first, last=of.last)
        flows = flows_at_places(of.network, table.names, table.usable)
        values = np.column_stack([flows[place] for place in self.places])
        if QUARTER_MIN % table.step_min:
            raise InputError(
                f"network {of.network_id} is counted by {table.step_min} min; a night needs intervals that divide a "
                "quarter of an hour"
            )
        together = QUARTER_MIN // table.step_min
        rows = len(values) // together
        quarters = values[: rows * together].reshape(rows, together, -1).sum(axis=1)
        known = np.flatnonzero(~np.isnan(quarters).all(axis=1))
        begin = int(known[0]) if len(known) else 0
        start = table.start + begin * np.timedelta64(QUARTER_MIN, "m")
        return CountTable(self.places, start, QUARTER_MIN, quarters[begin:], timezone=table.timezone)


def _parts(source: CountSource) -> tuple[list[StoredPart], list[str]]:
    """The counted approaches of a network, some together, and those that aren't counted."""
    of_network = select(Stream.name, Stream.id).where(Stream.network_id == source.network_id)
    with source.store.reading() as session:
        streams = {row.name: row.id for row in session.execute(of_network)}
    known = set(flows_at_places(source.network, list(streams), np.zeros((1, len(streams)))))
    detectors: dict[str, list[str]] = {}
    movements: dict[str, list[str]] = {}
    for intersection in source.network.intersections.values():
        for detector in intersection.detectors:
            detectors.setdefault(detector.lane, []).append(detector.id)
        for movement in intersection.movements:
            movements.setdefault(movement.approach, []).append(movement.id)
    counted: list[tuple[str, list[str], list[int]]] = []
    uncounted = []
    for approach, own in movements.items():
        if known.issuperset(own):
            counted.append((approach, own, [streams[m] for m in own]))
        elif approach not in known:
            uncounted.append(approach)
        elif approach in streams:
            counted.append((approach, [approach], [streams[approach]]))
        else:
            lanes = [lane.id for lane in source.network.edges[approach].lanes]
            of_lanes = [streams[d] for lane in lanes for d in detectors.get(lane, ()) if d in streams]
            counted.append((approach, [approach], of_lanes))
    parts = []
    for k, at in enumerate(range(0, len(counted), APPROACHES_A_PART)):
        some = counted[at : at + APPROACHES_A_PART]
        series = tuple(approach for approach, _, _ in some)
        places = tuple(place for _, of_approach, _ in some for place in of_approach)
        ids = tuple(id_ for _, _, of_approach in some for id_ in of_approach)
        parts.append(StoredPart(f"{k:03d}", series, places, ids, source))
    if not parts:
        named = ", ".join(list(streams)[:3])
        raise InputError(
            f"none of the {len(streams)} streams is named after an approach edge, a movement or the detectors of all "
            f"lanes of an edge ({named}, …), so they say nothing about the network's traffic"
        )
    return parts, uncounted


def _span(day: date, timezone: str) -> tuple[np.datetime64, np.datetime64]:
    """The weeks before a day on the store's clock: UTC where the network has a timezone, else the local one."""
    midnight = datetime.combine(day, time())
    if timezone:
        midnight = midnight.replace(tzinfo=ZoneInfo(timezone)).astimezone(UTC).replace(tzinfo=None)
    end = np.datetime64(midnight, "m")
    return end - 7 * WEEKS * _DAY_MIN, cast(np.datetime64, end - np.timedelta64(1, "m"))


# --------------------------------------------------------------------------------------------------- city


class StoreCity:
    """A network of the service's store."""

    def __init__(
        self,
        store: Store,
        known: KnownNetwork,
        day: date,
        scenario: Scenario,
        cache: Path,
        calendar: Calendar,
    ) -> None:
        self._store, self._known, self._day = store, known, day
        self.scenario, self._cache, self.calendar = scenario, cache, calendar
        self.events: Mapping[date, str] = {}
        self.bounds = ApprovalBounds()
        self.seed = 1

    @property
    def name(self) -> str:
        """The network's."""
        return self._known.name

    def network(self) -> Network:
        """The network, read."""
        return self._network

    @cached_property
    def _network(self) -> Network:
        return read_network(self.scenario)

    def network_digest(self) -> str:
        """Hash of the uploaded files."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        return self.scenario.content_hash()

    @property
    def parts(self) -> Sequence[StoredPart]:
        """Its counts, a hundred approaches at a time."""
        return self._counted[0]

    @property
    def uncounted(self) -> Sequence[str]:
        """Approaches that no stream is named after."""
        return self._counted[1]

    @cached_property
    def _counted(self) -> tuple[list[StoredPart], list[str]]:
        first, last = _span(self._day, self._known.timezone)
        return _parts(CountSource(self._store, self._known.id, self.network(), first, last))

    def turns(self) -> Mapping[str, float]:
        """Vehicles of each movement in the traffic that was uploaded with the network, if there was any."""
        return self._turns

    @cached_property
    def _turns(self) -> dict[str, float]:
        from signals.planning import read_case

        if not (self.scenario.routes or self.scenario.additional):
            return {}
        counts = read_case(self.scenario, cache=self._cache).counts
        return {m: float(sum(row)) for rows in counts.counts.values() for m, row in rows.items()}


@contextmanager
def opened(
    store: Store, known: KnownNetwork, day: date, data: Path, calendar: Calendar, tell: Callable[[str], None]
) -> Iterator[StoreCity]:
    """A network of the store, whose files are on disk meanwhile.

    Raises
    ------
    InputError
        Where the uploaded files or the counts can't be used.
    """
    work = data / "work"
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="night-", dir=work) as folder:
        scenario = unpack_upload(store, known.id, Path(folder)).scenario
        city = StoreCity(store, known, day, scenario, work / "recordings", calendar)
        if city.uncounted:
            named = ", ".join(city.uncounted[:3])
            tell(
                f"{len(city.uncounted)} approaches aren't counted ({named}{', …' if len(city.uncounted) > 3 else ''})"
            )
        try:
            city.turns()
        except SimulationError as error:
            raise InputError(
                f"the uploaded traffic can't be run, so its turns aren't known: {error}"
            ) from None
        yield city
