"""Where counts come from: the kinds of source that are known, others' included, and reading any of them.

A package adds a kind by an entry point of the group `greensplit.sources`, which names a `DataSource` or a
class of it that takes no arguments. The built-in kinds need no entry point, and nobody can take their names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Protocol, runtime_checkable

from signals.errors import GreensplitError, InputError
from signals.formats.counts import layout_of, open_sheet, read_counts
from signals.formats.hires import detector_counts, is_event_log, read_event_log
from signals.formats.sumo.detectors import EDGES, LOOPS, read_detectors
from signals.formats.sumo.xml import root_tag
from signals.model.counts import CountTable

GROUP = "greensplit.sources"
HIRES_STEP_MIN = 15


@runtime_checkable
class DataSource(Protocol):
    """Something that counts can be read from: a kind of file, a database, a web service."""

    @property
    def name(self) -> str:
        """The kind, in a word, as users give it."""
        ...

    def recognises(self, location: str) -> bool:
        """Whether this is where such counts are; False where it is not there or can't be read."""
        ...

    def read(self, location: str, *, timezone: str, step_min: int | None) -> CountTable:
        """The counts.

        `timezone` is the IANA name of the clock there, or empty for a local clock. `step_min` is the length
        of an interval in minutes: what to count by where events are counted, what has to be there otherwise,
        None for what is there.

        Raises
        ------
        InputError
            Where they can't be read.
        """
        ...


@dataclass(frozen=True)
class _File:
    """A source that is a kind of file."""

    name: str
    fits: Callable[[Path], bool]
    reader: Callable[[Path, str, int | None], CountTable]

    def recognises(self, location: str) -> bool:
        """Whether the file's content is of this kind."""
        try:
            return self.fits(Path(location))
        except InputError:
            return False

    def read(self, location: str, *, timezone: str = "", step_min: int | None = None) -> CountTable:
        """The counts of the file."""
        return self.reader(Path(location), timezone, step_min)


def _is_layout(layout: str) -> Callable[[Path], bool]:
    def fits(path: Path) -> bool:
        names = open_sheet(path).names
        return len(names) > 1 and not is_event_log(names) and layout_of(names) == layout

    return fits


def _is_sumo(path: Path) -> bool:
    # Opening text as XML is refused, so is a table as text: each file is of one kind.
    return root_tag(path) in (LOOPS, EDGES)


WIDE = _File(
    "wide",
    _is_layout("wide"),
    lambda path, timezone, step: read_counts(path, layout="wide", timezone=timezone, step_min=step),
)
LONG = _File(
    "long",
    _is_layout("long"),
    lambda path, timezone, step: read_counts(path, layout="long", timezone=timezone, step_min=step),
)
HIRES = _File(
    "hires",
    lambda path: is_event_log(open_sheet(path).names),
    lambda path, timezone, step: detector_counts(
        read_event_log(path, timezone=timezone), step or HIRES_STEP_MIN
    ),
)
SUMO = _File(
    "sumo",
    _is_sumo,
    lambda path, timezone, step: read_detectors(path, timezone=timezone, step_min=step),
)

BUILT_IN: Sequence[DataSource] = (WIDE, LONG, HIRES, SUMO)


def list_kinds() -> tuple[str, ...]:
    """Every kind that is known: the built-in ones, then those of other packages by name."""
    own = [source.name for source in BUILT_IN]
    return (*own, *sorted({point.name for point in entry_points(group=GROUP)} - set(own)))


def get_source(kind: str) -> DataSource:
    """The source of this kind.

    Raises
    ------
    InputError
        Where no such kind is known, two packages claim it, or its package is broken.
    """
    for source in BUILT_IN:
        if source.name == kind:
            return source
    points = {point.value: point for point in entry_points(group=GROUP, name=kind)}
    if not points:
        raise InputError(f"{kind!r} is no known kind of counts; known are {', '.join(list_kinds())}")
    if len(points) > 1:
        raise InputError(f"kind {kind!r} is claimed by {' and '.join(sorted(points))}; uninstall one")
    return _loaded(next(iter(points.values())))


def _loaded(point: EntryPoint) -> DataSource:
    what = f"source {point.name!r} ({point.value})"
    # Whatever a plugin does wrong is told as its fault; it ends no other work.
    try:
        source = point.load()
        if isinstance(source, type):
            source = source()
    except Exception as error:
        raise InputError(f"{what} can't be loaded: {error!r}; update or uninstall its package") from error
    if not isinstance(source, DataSource):
        raise InputError(f"{what} lacks name, recognises or read; update or uninstall its package")
    return source


def read_source(
    location: str | Path, kind: str = "auto", *, timezone: str = "", step_min: int | None = None
) -> CountTable:
    """The counts at a location, be it a file or what a plugin understands.

    `kind` is one of `list_kinds`, or `auto` for the one that recognises the location. Plugins that fail to
    say whether they do are passed over, with a remark.

    Raises
    ------
    InputError
        Where no kind or several recognise the location, the kind isn't known, or the counts can't be read.
    """
    text = str(location)
    remarks: list[str] = []
    source = _recognised(text, remarks) if kind == "auto" else get_source(kind)
    if source in BUILT_IN:
        return _with_remarks(source.read(text, timezone=timezone, step_min=step_min), remarks)
    try:
        table = source.read(text, timezone=timezone, step_min=step_min)
    except GreensplitError:
        raise
    except Exception as error:
        raise InputError(f"{text}: source {source.name!r} failed: {error!r}") from error
    if not isinstance(table, CountTable):
        raise InputError(f"{text}: source {source.name!r} gave {type(table).__name__}, no table of counts")
    return _with_remarks(table, remarks)


def _with_remarks(table: CountTable, remarks: Sequence[str]) -> CountTable:
    return replace(table, remarks=(*table.remarks, *remarks)) if remarks else table


def _recognised(location: str, remarks: list[str]) -> DataSource:
    found: list[DataSource] = []
    for kind in list_kinds():
        try:
            source = get_source(kind)
            if source.recognises(location):
                found.append(source)
        except Exception as error:
            remarks.append(f"source {kind!r} could not say whether it reads this: {error}")
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(
            f"{location}: {' and '.join(source.name for source in found)} can all read it; say which (kind)"
        )
    known = ", ".join(list_kinds())
    if not Path(location).exists():
        raise InputError(f"{location}: no such file, and nothing that a known kind reads ({known})")
    # What is wrong with a file that should be a table, opening it says best.
    names = open_sheet(Path(location)).names
    raise InputError(
        f"{location}: holds the columns {', '.join(map(repr, names[:8]))}, which no known kind reads ({known})"
    )
