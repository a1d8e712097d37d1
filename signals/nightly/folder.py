"""The folder of one night: files that are whole or absent, each with the key of what it was made from.

A file counts only if its key is the one that it would be made under now. So a night that was killed goes on where it
stopped, and what depends on an input that has changed since is made anew.
"""

from __future__ import annotations

import fcntl
import io
import json
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from signals.errors import Conflict, InputError
from signals.formats.files import write_whole
from signals.model.counts import CountForecast
from signals.model.night import GroupNight, Subarea
from signals.model.night_notes import DataProblem
from signals.nightly.code import digest_of

NIGHTS = "nights"
_LONGEST_NAME = 100
_TEMPORARY = ".greensplit-*"
_DASK = ".dask"


@dataclass(frozen=True)
class NightFolder:
    """Where the files of a night are; making one makes no folder."""

    path: Path

    @property
    def dask(self) -> Path:
        """For what Dask's workers leave behind."""
        return self.path / _DASK

    def demand(self, part: str) -> Path:
        """The forecast of one file of counts."""
        return self.path / "demand" / f"{file_name(part)}.npz"

    @property
    def subareas(self) -> Path:
        """The groups of signals."""
        return self.path / "subareas.json"

    def group(self, group: str) -> Path:
        """What was found for a group."""
        return self.path / "groups" / f"{file_name(group)}.json"

    def programs(self, group: str) -> Path:
        """The plans of a group as SUMO loads them."""
        return self.path / "groups" / f"{file_name(group)}.add.xml"

    def validation(self, group: str) -> Path:
        """What SUMO says of a group's plans."""
        return self.path / "validation" / f"{file_name(group)}.json"

    @property
    def decisions(self) -> Path:
        """What people decided."""
        return self.path / "decisions.json"

    @property
    def approvals(self) -> Path:
        """Where each group's plans stand."""
        return self.path / "approvals.json"

    @property
    def inputs(self) -> Path:
        """What the night was made from."""
        return self.path / "inputs.json"

    @property
    def summary(self) -> Path:
        """The night in figures."""
        return self.path / "night.json"

    @property
    def report(self) -> Path:
        """The night on one page."""
        return self.path / "report.html"

    @property
    def handed_on(self) -> Path:
        """The hashes of the plans that are in the service's approval queue, by group."""
        return self.path / "handed-on.json"

    @property
    def timings(self) -> Path:
        """How long it took; the one file that differs from run to run."""
        return self.path / "timings.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone with the folder, which is made where it is missing; the lock ends with the process.

        Raises
        ------
        Conflict
            Where another process has it.
        InputError
            Where the folder can't be made.
        """
        try:
            for name in ("demand", "groups", "validation"):
                (self.path / name).mkdir(parents=True, exist_ok=True)
            lock = (self.path / ".lock").open("ab")
        except OSError as error:
            raise InputError(f"{self.path}: can't be written to: {error.strerror}") from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Conflict(
                    f"{self.path}: another process works on this night; wait until it has ended"
                ) from None
            self._sweep()
            yield
            self._sweep()

    def _sweep(self) -> None:
        """Remove what a killed process left half-written."""
        for path in self.path.rglob(_TEMPORARY):
            with suppress(OSError):
                path.unlink()
        shutil.rmtree(self.dask, ignore_errors=True)

    def keep_only(self, groups: set[str]) -> None:
        """Remove the files of groups that aren't any more."""
        kept = {self.group(g) for g in groups} | {self.programs(g) for g in groups}
        kept |= {self.validation(g) for g in groups}
        for folder in ("groups", "validation"):
            for path in (self.path / folder).iterdir():
                if path not in kept:
                    path.unlink()


def night_folder(data: Path, day: date) -> NightFolder:
    """The folder of a night of the city whose files are in `data`."""
    return NightFolder(data / NIGHTS / day.isoformat())


def list_nights(data: Path, before: date) -> list[date]:
    """Days before `before` that have a night's folder, latest first."""
    found = []
    folder = data / NIGHTS
    for path in folder.iterdir() if folder.is_dir() else ():
        with suppress(ValueError):
            found.append(date.fromisoformat(path.name))
    return sorted((day for day in found if day < before), reverse=True)


def file_name(id_: str) -> str:
    """An id as a file's name: readable where it can be, and never that of another id."""
    name = quote(id_, safe=" +,=@()[]").replace(".", "%2E")
    return name if len(name) <= _LONGEST_NAME else f"{name[:60]}-{digest_of(id_)[:16]}"


# --------------------------------------------------------------------------------------------- keyed files


def read_json(path: Path) -> Any:
    """What a JSON file holds; None where it is absent or broken."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def write_json(path: Path, facts: Mapping[str, Any]) -> None:
    """Write facts as JSON, sorted, whole or not at all."""
    write_whole(path, json_text(facts))


def json_text(facts: Mapping[str, Any]) -> str:
    """Facts as text that is the same for the same facts."""
    return json.dumps(facts, sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def read_keyed(path: Path, key: str) -> Any:
    """The facts of a file if it was made under this key; else None."""
    found = read_json(path)
    if not isinstance(found, dict) or found.get("key") != key:
        return None
    return found.get("is")


def keyed(key: str, facts: object) -> str:
    """The text of a file with its key."""
    return json_text({"key": key, "is": facts})


# -------------------------------------------------------------------------------------------------- groups


@cache
def _adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def plain(kind: Any, value: object) -> Any:
    """A value of a type as what JSON holds; floats that are no numbers stay as they are."""
    return _adapter(kind).dump_python(value, mode="json")


def revived(kind: Any, facts: object) -> Any:
    """The value whose `plain` facts these are.

    Raises
    ------
    ValueError
        Where they are of something else.
    """
    return _adapter(kind).validate_python(facts)


def read_group(path: Path, key: str | None = None) -> GroupNight | None:
    """What was found for a group, if the file is whole and of this key; without a key, of any."""
    facts = read_keyed(path, key) if key is not None else (read_json(path) or {}).get("is")
    if facts is None:
        return None
    try:
        found: GroupNight = revived(GroupNight, facts)
    except ValueError:
        return None
    return found


def read_subareas(path: Path, key: str | None = None) -> tuple[Subarea, ...] | None:
    """The groups of a night, likewise."""
    facts = read_keyed(path, key) if key is not None else (read_json(path) or {}).get("is")
    try:
        return tuple(revived(tuple[Subarea, ...], facts)) if facts is not None else None
    except ValueError:
        return None


# ------------------------------------------------------------------------------------------------- forecasts


def packed_forecast(
    key: str, forecast: CountForecast, remarks: Sequence[str], problems: Sequence[DataProblem]
) -> bytes:
    """A forecast as the bytes of a file, the same for the same forecast."""
    stream = io.BytesIO()
    np.savez_compressed(
        stream,
        key=np.array(key),
        remarks=np.array(list(remarks), dtype=np.str_),
        problems=np.array(json.dumps([plain(DataProblem, p) for p in problems])),
        names=np.array(forecast.names, dtype=np.str_),
        times=forecast.times,
        step_min=np.array(forecast.step_min),
        mean=forecast.mean,
        levels=np.array(forecast.levels),
        quantiles=forecast.quantiles,
    )
    return stream.getvalue()


def forecast_key(path: Path) -> str | None:
    """The key that a file of forecasts was made under; None where it is absent or broken."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as found:
            return str(found["key"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def read_forecast(path: Path) -> tuple[CountForecast, tuple[str, ...], tuple[DataProblem, ...]]:
    """A forecast, remarks on its counts, and series of them that aren't sound.

    Raises
    ------
    InputError
        Where the file is absent or broken.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as found:
            forecast = CountForecast(
                tuple(str(name) for name in found["names"]),
                found["times"],
                int(found["step_min"]),
                found["mean"],
                tuple(float(level) for level in found["levels"]),
                found["quantiles"],
            )
            problems = (revived(DataProblem, one) for one in json.loads(str(found["problems"])))
            return forecast, tuple(str(remark) for remark in found["remarks"]), tuple(problems)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: no forecast of a night ({error}); run the night again") from None
