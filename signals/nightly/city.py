"""A city as a night needs it, wherever it is kept; and one that is kept in a folder."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Protocol

from signals.demand.calendar import Calendar
from signals.errors import InputError
from signals.formats.city import ApprovalBounds, CityFolder
from signals.formats.counts import read_counts
from signals.formats.sumo.config import Scenario
from signals.formats.sumo.network import read_network
from signals.model.counts import CountTable
from signals.model.network import Network


class PackedCounts(Protocol):
    """Counts on their way to a worker, which unpacks them."""

    def table(self) -> CountTable:
        """The counts, by approach edge."""
        ...


class CountPart(Protocol):
    """A part of a city's counts: few enough series to be held at once."""

    @property
    def id(self) -> str:
        """What it is known by, the same every night."""
        ...

    @property
    def series(self) -> Sequence[str]:
        """The approach edges that are counted in it."""
        ...

    def digest(self) -> str:
        """Hash of all counts in it."""
        ...

    def pack(self) -> PackedCounts:
        """The counts, to be sent to a worker."""
        ...


class City(Protocol):
    """A city: its network, its counts, its calendar, and the bounds that its agency sets."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def seed(self) -> int:
        """Of all that is drawn in a night."""
        ...

    @property
    def bounds(self) -> ApprovalBounds:
        """Within which plans are approved without a person."""
        ...

    @property
    def calendar(self) -> Calendar:
        """Its holidays."""
        ...

    @property
    def events(self) -> Mapping[date, str]:
        """Days unlike others of their kind, past and to come, by name."""
        ...

    @property
    def parts(self) -> Sequence[CountPart]:
        """Its counts, in an order that is the same every night."""
        ...

    @property
    def scenario(self) -> Scenario:
        """The network as SUMO knows it, with the programs in place."""
        ...

    def network(self) -> Network:
        """Its network, read."""
        ...

    def network_digest(self) -> str:
        """Hash of the network and the programs in place."""
        ...

    def turns(self) -> Mapping[str, float]:
        """Surveyed vehicles of each movement."""
        ...


# --------------------------------------------------------------------------------------------- in a folder


@dataclass(frozen=True)
class PackedFile:
    """A file of counts, as it is on disk; workers needn't see the disk."""

    name: str
    content: bytes
    timezone: str

    def table(self) -> CountTable:
        """The counts, by approach edge."""
        with tempfile.TemporaryDirectory(prefix="greensplit-") as folder:
            path = Path(folder) / self.name
            path.write_bytes(self.content)
            return read_counts(path, layout="wide", timezone=self.timezone)


@dataclass(frozen=True)
class CountFile:
    """A file of a city's counts, and the approaches in it."""

    path: Path
    series: tuple[str, ...]
    timezone: str

    @property
    def id(self) -> str:
        """The file's name without its kind."""
        return self.path.stem

    def digest(self) -> str:
        """Hash of the file and its timezone."""
        try:
            with self.path.open("rb") as stream:
                content = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise InputError(f"{self.path}: can't be read: {error.strerror}") from None
        return f"{content} {self.timezone}"

    def pack(self) -> PackedFile:
        """The file's content."""
        return PackedFile(self.path.name, self.path.read_bytes(), self.timezone)


class FolderCity:
    """A city's folder, as `greensplit city generate` makes one."""

    def __init__(self, folder: CityFolder) -> None:
        self._folder = folder

    @property
    def name(self) -> str:
        """Its name."""
        return self._folder.name

    @property
    def seed(self) -> int:
        """Of all that is drawn in a night."""
        return self._folder.seed

    @property
    def bounds(self) -> ApprovalBounds:
        """Within which plans are approved without a person."""
        return self._folder.approval

    @cached_property
    def calendar(self) -> Calendar:
        """Its holidays."""
        return Calendar(self._folder.country, self._folder.subdivision, self._folder.own_days)

    @property
    def events(self) -> Mapping[date, str]:
        """Days unlike others of their kind."""
        return self._folder.events

    @cached_property
    def parts(self) -> Sequence[CountFile]:
        """Its files of counts."""
        series: dict[Path, list[str]] = {path: [] for path in self._folder.counts}
        for name, path in self._folder.series().items():
            series[path].append(name)
        made = [CountFile(path, tuple(names), self._folder.timezone) for path, names in series.items()]
        if len({part.id for part in made}) < len(made):
            raise InputError(f"{self._folder.folder}: two files of counts have one name; give each its own")
        return made

    @cached_property
    def scenario(self) -> Scenario:
        """The network as SUMO knows it."""
        return self._folder.scenario()

    def network(self) -> Network:
        """Its network, read."""
        return read_network(self.scenario)

    def network_digest(self) -> str:
        """Hash of the network's files."""
        return self._network_digest

    @cached_property
    def _network_digest(self) -> str:
        return self.scenario.content_hash()

    def turns(self) -> Mapping[str, float]:
        """Surveyed vehicles of each movement."""
        return self._folder.turns()
