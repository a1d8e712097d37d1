"""A city's folder: network, counts, surveyed turns, calendar and what may change without asking, by `city.toml`."""

from __future__ import annotations

import csv
import hashlib
import math
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from signals.errors import InputError
from signals.formats.counts import check_timezone, open_sheet, read_counts
from signals.formats.sumo.config import Scenario, read_scenario, scenario_of
from signals.model.counts import CountTable

FILE = "city.toml"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class ApprovalBounds:
    """Which plans an agency lets into force unseen: none, or those that change no more than this from the plan before.

    Seconds: of the cycle, of any stage's green and of the offset.
    """

    automatic: bool = False
    max_cycle_change_s: float = 20.0
    max_split_change_s: float = 10.0
    max_offset_change_s: float = 30.0


@dataclass(frozen=True)
class CityFolder:
    """What a city's folder holds. Paths are absolute; days are those of the city's clock.

    `net` is a .sumocfg or a SUMO network. `country` and `subdivision` say which holidays there are, as
    `signals.demand.calendar.Calendar` takes them, `own_days` names further ones; `events` are days with more traffic
    than usual. `seed` is where random numbers of a night start.
    """

    folder: Path
    name: str
    timezone: str
    seed: int
    intersections: int
    net: Path
    counts: tuple[Path, ...]
    turns_file: Path
    country: str
    subdivision: str
    own_days: Mapping[date, str]
    events: Mapping[date, str]
    approval: ApprovalBounds

    def scenario(self) -> Scenario:
        """The network with the programs in place; traffic follows the counts, so routes aren't needed.

        Raises
        ------
        InputError
            Where a file is absent or broken.
        """
        if self.net.suffix == ".sumocfg":
            return read_scenario(self.net)
        return scenario_of(self.net, ())

    def series(self) -> dict[str, Path]:
        """The file that each counted approach is in, without a look at the counts.

        Raises
        ------
        InputError
            Where a file is absent or broken, or an approach is in two of them.
        """
        found: dict[str, Path] = {}
        for path in self.counts:
            sheet = open_sheet(path)
            for name in (name for k, name in enumerate(sheet.names) if k != sheet.index):
                if name in found:
                    raise InputError(f"{path}: approach {name!r} is in {found[name]} too; keep one of them")
                found[name] = path
        return found

    def read_counts(
        self,
        begin: date | None = None,
        end: date | None = None,
        approaches: Collection[str] | None = None,
    ) -> Iterator[CountTable]:
        """Counts by approach, a table a file, so that a large city is never in memory as a whole.

        From the day `begin` to the one before `end`; None for the first and to the last there is. Of `approaches`
        alone where given: files without any are passed over, and so are approaches that aren't counted.

        Raises
        ------
        InputError
            Where a file is absent or broken, or has no count in that time.
        """
        where = self.series() if approaches is not None else {}
        wanted = set(approaches or ())
        for path in self.counts:
            of_file = [name for name, of in where.items() if of == path and name in wanted]
            if approaches is not None and not of_file:
                continue
            table = read_counts(path, layout="wide", timezone=self.timezone)
            yield _between(table.select(of_file) if of_file else table, begin, end, path)

    def turns(self) -> dict[str, float]:
        """Vehicles of each movement in the survey, by its id in the network.

        Raises
        ------
        InputError
            Where the file can't be read, a column is missing, a count is none, or a movement has two rows.
        """
        path = self.turns_file
        try:
            with path.open(encoding="utf-8-sig", newline="") as stream:
                reader = csv.DictReader(stream)
                header = tuple(reader.fieldnames or ())
                rows = [(reader.line_num, row) for row in reader]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{path}: can't be read as CSV: {error}") from None
        if not {"movement", "vehicles"} <= set(header):
            raise InputError(
                f"{path}: has columns {', '.join(header) or 'none'}; turns need movement and vehicles"
            )
        found: dict[str, float] = {}
        for line, row in rows:
            movement, text = row["movement"] or "", row["vehicles"] or ""
            if movement in found:
                raise InputError(f"{path}:{line}: movement {movement!r} has a second row; keep one")
            try:
                found[movement] = float(text)
            except ValueError:
                found[movement] = math.nan
            if not 0.0 <= found[movement] < math.inf:
                raise InputError(f"{path}:{line}: {text!r} is no count of vehicles; give a number, 0 or more")
        return found

    def inputs_hash(self) -> str:
        """SHA-256 over the content of all that the folder gives a night, 64 hex digits; its nights aren't part of it.

        Raises
        ------
        InputError
            Where a file is absent.
        """
        digest = hashlib.sha256(self.scenario().content_hash().encode())
        for path in (self.folder / FILE, self.turns_file, *self.counts):
            digest.update(path.name.encode() + b"\0")
            try:
                with path.open("rb") as stream:
                    digest.update(hashlib.file_digest(stream, "sha256").digest())
            except OSError as error:
                raise InputError(f"{path}: can't be read: {error.strerror}") from None
        return digest.hexdigest()


def _between(table: CountTable, begin: date | None, end: date | None, path: Path) -> CountTable:
    """The rows of some local days."""
    if begin is None and end is None:
        return table
    days = table.local_times.astype("datetime64[D]")
    first = 0 if begin is None else int(np.searchsorted(days, np.datetime64(begin)))
    last = table.n_intervals if end is None else int(np.searchsorted(days, np.datetime64(end)))
    if first >= last:
        raise InputError(
            f"{path}: has counts from {days[0]} to {days[-1]}, none from {begin or days[0]} to before "
            f"{end or 'their end'}; choose other days, or add the counts"
        )
    rows = slice(first, last)
    return replace(table, start=table.times[first], values=table.values[rows], reasons=table.reasons[rows])


def read_city(folder: Path) -> CityFolder:
    """A city's folder by its `city.toml`: every field checked, and every file it names there.

    Raises
    ------
    InputError
        Where the file is absent or no TOML, or a field is missing, unknown or not what it should be.
    """
    file = folder / FILE
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{folder}: is no city's folder, {FILE} isn't there; make one by greensplit city generate"
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{file}: can't be read as TOML: {error}") from None
    top = _Table(file, "", content)
    if (form := top.whole("format", least=0)) != FORMAT:
        raise InputError(f"{file}: format {form}: this release reads format {FORMAT}")
    calendar, approval = top.table("calendar"), top.table("approval")
    place = folder.resolve()
    city = CityFolder(
        place,
        top.text("name"),
        top.text("timezone"),
        top.whole("seed", least=0, default=0),
        top.whole("intersections", least=1),
        place / top.text("net"),
        tuple(place / name for name in top.texts("counts")),
        place / top.text("turns"),
        calendar.text("country", default=""),
        calendar.text("subdivision", default=""),
        calendar.table("own").by_day(),
        top.table("events").by_day(),
        _bounds(approval),
    )
    for table in (top, calendar, approval):
        table.require_all_read()
    try:
        check_timezone(city.timezone)
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    for path in (city.net, *city.counts, city.turns_file):
        if not path.is_file():
            raise InputError(f"{file}: names {path}, which isn't there; add the file, or correct its name")
    return city


def _bounds(approval: _Table) -> ApprovalBounds:
    usual = ApprovalBounds()
    seconds = {
        f.name: approval.seconds(f.name, default=getattr(usual, f.name))
        for f in fields(ApprovalBounds)
        if f.name != "automatic"
    }
    return ApprovalBounds(approval.flag("automatic", default=usual.automatic), **seconds)


class _Table:
    """A table of a TOML file, and which of its fields have been read."""

    def __init__(self, file: Path, name: str, content: Mapping[str, Any]) -> None:
        self.file, self.name, self.content = file, name, content
        self.read: set[str] = set()

    def _get(self, key: str, fits: Callable[[Any], bool], needed: str, default: Any = None) -> Any:
        self.read.add(key)
        where = f"{self.file}: {self.name}{key}"
        value = self.content.get(key, default)
        if value is None:
            raise InputError(f"{where}: is missing; give {needed}")
        if not fits(value):
            raise InputError(f"{where} = {value!r}: give {needed}")
        return value

    def text(self, key: str, *, default: str | None = None) -> str:
        def fits(value: Any) -> bool:
            return isinstance(value, str) and (value != "" or default is not None)

        return str(self._get(key, fits, "text", default))

    def texts(self, key: str) -> list[str]:
        def fits(value: Any) -> bool:
            listed = isinstance(value, list) and value and all(isinstance(v, str) and v for v in value)
            return bool(listed) and len(set(value)) == len(value)

        return list(self._get(key, fits, 'different names of files, such as ["counts/000.parquet"]'))

    def whole(self, key: str, *, least: int, default: int | None = None) -> int:
        def fits(value: Any) -> bool:
            return isinstance(value, int) and not isinstance(value, bool) and value >= least

        return int(self._get(key, fits, f"a whole number, {least} or more", default))

    def seconds(self, key: str, *, default: float) -> float:
        def fits(value: Any) -> bool:
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            return number and 0.0 <= value < math.inf

        return float(self._get(key, fits, "seconds, 0 or more", default))

    def flag(self, key: str, *, default: bool) -> bool:
        return bool(self._get(key, lambda v: isinstance(v, bool), "true or false", default))

    def table(self, key: str) -> _Table:
        inner = self._get(key, lambda v: isinstance(v, dict), "a table", {})
        return _Table(self.file, f"{self.name}{key}.", inner)

    def by_day(self) -> dict[date, str]:
        """Names by date; every key of the table is one."""
        found = {}
        for key in self.content:
            try:
                day = date.fromisoformat(key)
            except ValueError:
                raise InputError(
                    f"{self.file}: {self.name}{key}: is no date; write it as 2026-12-24"
                ) from None
            found[day] = self.text(key)
        return found

    def require_all_read(self) -> None:
        """Nothing where every field has been read: a mistyped one would be a bound that doesn't hold."""
        unknown = sorted(set(self.content) - self.read)
        if unknown:
            raise InputError(
                f"{self.file}: {self.name}{unknown[0]}: no field of this name is known; known are "
                f"{', '.join(sorted(self.read))}"
            )
