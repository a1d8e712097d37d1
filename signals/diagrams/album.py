"""The diagrams of a whole network in one folder, with a page that leads to them."""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from signals.diagrams.groups import check_program
from signals.diagrams.phases import phase_sheet
from signals.diagrams.sheet import FORMATS, Sheet, printable
from signals.diagrams.timespace import time_space_sheet
from signals.errors import InputError
from signals.formats.files import write_whole
from signals.model.network import Corridor, Network
from signals.model.phasing import SignalProgram

IN_PLACE = "in place"
PLAN = "plan"
_LONGEST_NAME = 60


def draw_all(
    network: Network,
    corridors: Sequence[Corridor],
    programs: Mapping[str, SignalProgram],
    directory: Path,
    *,
    formats: Sequence[str] = ("svg",),
    on_done: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """A phase diagram of every signal, a time-space diagram of every corridor, and an index.html.

    Each sheet shows the program in place beside the plan, where the two differ; corridors get a sheet for
    each. What can't be drawn is listed on the page with the reason.

    Parameters
    ----------
    programs
        The plan of each signal. A signal without one is drawn with its program in place.
    directory
        Made if it isn't there. Files in it with other names are left alone.
    formats
        Of svg, png and pdf; one file each.
    on_done
        Called as `on_done(done, total)` after each signal and corridor.

    Returns
    -------
    list[Path]
        All files written, index.html last.

    Raises
    ------
    InputError
        Where a format is unknown, the folder can't be made or written to, or the programs are all of
        signals that this network doesn't have.
    """
    unknown = [f for f in formats if f not in FORMATS]
    if unknown or not formats:
        raise InputError(f"diagram format {', '.join(unknown) or '(none)'}: choose of {', '.join(FORMATS)}")
    if programs and not programs.keys() & network.intersections.keys():
        raise InputError(
            f"none of the {len(programs)} programs is of a signal of {network.source}, e.g. "
            f"{min(programs)}; is it a plan for another network?"
        )
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{directory}: the folder can't be made: {error.strerror}") from None
    album = _Album(directory, tuple(dict.fromkeys(formats)))
    plans = _Plans(network, programs)
    total = len(network.intersections) + len(corridors)
    done = 0
    for signal in sorted(network.intersections):
        _draw_signal(album, plans, signal)
        done += 1
        if on_done is not None:
            on_done(done, total)
    for corridor in corridors:
        _draw_corridor(album, plans, corridor)
        done += 1
        if on_done is not None:
            on_done(done, total)
    for signal in sorted(programs.keys() - network.intersections.keys()):
        album.leave_out(f"Signal {signal}", "in the plan, but not in this network")
    index = directory / "index.html"
    write_whole(index, album.page(Path(network.source).name))
    return [*album.files, index]


def corridor_sheets(
    network: Network,
    corridors: Sequence[Corridor],
    programs: Mapping[str, SignalProgram],
    subtitle: str = PLAN,
) -> list[tuple[str, Sheet]]:
    """A time-space diagram of each corridor that can be drawn, under a name that is safe for a file.

    A signal without a plan is drawn with its program in place. The names have no suffix and differ.
    """
    names = FileNames()
    plans = _Plans(network, programs)
    sheets = []
    for corridor in corridors:
        shown = plans.in_force(corridor)
        if shown:
            sheet = time_space_sheet(corridor, shown, network, subtitle=subtitle)
            sheets.append((names.take("corridor", corridor.name), sheet))
    return sheets


class FileNames:
    """Names for files, safe on every system and different for different ids.

    An id of plain letters, digits and ``_.-`` is kept; another one, or one that is too long, is cut to its
    plain part and gets a hash of the whole. Names that differ only in upper and lower case count as equal.
    """

    def __init__(self) -> None:
        self._taken: set[str] = {"index"}

    def take(self, prefix: str, name: str) -> str:
        """A name without suffix, such as ``signal-j4``, that no one has taken yet."""
        plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", name)
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
        kept = plain == name and 0 < len(name) <= _LONGEST_NAME and not name.endswith(".")
        choices = [
            f"{prefix}-{plain[:_LONGEST_NAME].strip('.')}-{digest[:length]}" for length in (12, 24, 64)
        ]
        if kept:
            choices.insert(0, f"{prefix}-{name}")
        for choice in choices:
            if choice.casefold() not in self._taken:
                self._taken.add(choice.casefold())
                return choice
        raise InputError(f"{prefix} {name}: drawn twice; ids must differ")


class _Plans:
    """Programs in place and planned that fit their signals, and why others don't."""

    def __init__(self, network: Network, planned: Mapping[str, SignalProgram]) -> None:
        self.network = network
        self.in_place: dict[str, SignalProgram] = {}
        self.planned: dict[str, SignalProgram] = {}
        self.reasons: dict[str, list[str]] = {}
        for signal, intersection in network.intersections.items():
            own, plan = intersection.program, planned.get(signal)
            if own is None:
                self._say(signal, "no program in place")
            elif self._fits(signal, own):
                self.in_place[signal] = own
            if plan is None:
                if planned:
                    self._say(signal, "no plan")
            elif plan != own and self._fits(signal, plan):
                self.planned[signal] = plan

    def _say(self, signal: str, reason: str) -> None:
        self.reasons.setdefault(signal, []).append(reason)

    def _fits(self, signal: str, program: SignalProgram) -> bool:
        try:
            check_program(self.network.intersections[signal], program)
        except InputError as error:
            self._say(signal, str(error))
            return False
        return True

    def in_force(self, corridor: Corridor) -> dict[str, SignalProgram]:
        """Programs along a corridor under the plan: what has none goes on as it is."""
        return {
            s: program for s in corridor.signals if (program := self.planned.get(s) or self.in_place.get(s))
        }

    def remark(self, signal: str) -> str:
        """What is missing of a signal, in words."""
        return "; ".join(self.reasons.get(signal, ()))


def _draw_signal(album: _Album, plans: _Plans, signal: str) -> None:
    programs = {
        name: source[signal]
        for name, source in ((IN_PLACE, plans.in_place), (PLAN, plans.planned))
        if signal in source
    }
    if not programs:
        album.leave_out(f"Signal {signal}", plans.remark(signal))
        return
    sheet = phase_sheet(plans.network.intersections[signal], plans.network, programs)
    cycles = " → ".join(f"{p.cycle_s:g} s" for p in programs.values())
    album.add("Signals", signal, [("", "signal", sheet)], f"cycle {cycles}", plans.remark(signal))


def _draw_corridor(album: _Album, plans: _Plans, corridor: Corridor) -> None:
    before = {s: plans.in_place[s] for s in corridor.signals if s in plans.in_place}
    planned = plans.in_force(corridor)
    sheets = []
    if planned and planned != before:
        sheets.append((PLAN, "corridor", time_space_sheet(corridor, planned, plans.network, subtitle=PLAN)))
    if before:
        prefix = "corridor-in-place" if sheets else "corridor"
        sheets.append(
            (IN_PLACE, prefix, time_space_sheet(corridor, before, plans.network, subtitle=IN_PLACE))
        )
    if not sheets:
        album.leave_out(f"Corridor {corridor.name}", "none of its signals has a program that can be drawn")
        return
    missing = [s for s in corridor.signals if s not in planned]
    remark = f"without a program: {', '.join(missing)}" if missing else ""
    length = max(corridor.distance_m) - min(corridor.distance_m)
    album.add("Corridors", corridor.name, sheets, f"{len(corridor.signals)} signals, {length:,.0f} m", remark)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A line of the page."""

    name: str
    links: tuple[tuple[str, str], ...]
    facts: str
    remark: str


@dataclass
class _Album:
    """The folder: files written so far, and what the page will say."""

    directory: Path
    formats: tuple[str, ...]
    names: FileNames = field(default_factory=FileNames)
    files: list[Path] = field(default_factory=list)
    entries: dict[str, list[_Entry]] = field(default_factory=dict)
    left_out: list[tuple[str, str]] = field(default_factory=list)

    def add(
        self, chapter: str, name: str, sheets: Sequence[tuple[str, str, Sheet]], facts: str, remark: str
    ) -> None:
        """Save the sheets (title, prefix of the file's name, sheet) of a signal or corridor."""
        links = []
        for title, prefix, sheet in sheets:
            stem = self.names.take(prefix, name)
            for kind in self.formats:
                self.files.append(sheet.save(self.directory / f"{stem}.{kind}"))
                links.append((f"{stem}.{kind}", f"{title} {kind}".strip()))
        self.entries.setdefault(chapter, []).append(_Entry(name, tuple(links), facts, remark))

    def leave_out(self, name: str, reason: str) -> None:
        self.left_out.append((name, reason))

    def page(self, network: str) -> str:
        """index.html: everything drawn, and everything not drawn with the reason."""
        parts = []
        for chapter in ("Corridors", "Signals"):
            entries = self.entries.get(chapter, [])
            if entries:
                rows = "\n".join(_row(entry) for entry in entries)
                parts.append(
                    f"<h2>{chapter}</h2>\n<table>\n<tr><th>name</th><th>diagrams</th><th></th><th>remarks</th></tr>\n"
                    f"{rows}\n</table>"
                )
        if self.left_out:
            rows = "\n".join(f"<tr><td>{_text(n)}</td><td>{_text(r)}</td></tr>" for n, r in self.left_out)
            parts.append(
                f"<h2>Not drawn</h2>\n<table>\n<tr><th>name</th><th>reason</th></tr>\n{rows}\n</table>"
            )
        if not parts:
            parts.append("<p>The network has no signals.</p>")
        return _PAGE.format(title=_text(f"Signal diagrams, {network}"), body="\n".join(parts))


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em }}
table {{ border-collapse: collapse; margin: 1em 0 }}
td, th {{ border: 1px solid #bbb; padding: .25em .6em; text-align: left; vertical-align: top }}
th {{ background: #eee }}
td {{ overflow-wrap: anywhere }}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""


def _row(entry: _Entry) -> str:
    links = " ".join(f'<a href="{quote(file)}">{_text(title)}</a>' for file, title in entry.links)
    return (
        f"<tr><td>{_text(entry.name)}</td><td>{links}</td><td>{_text(entry.facts)}</td>"
        f"<td>{_text(entry.remark)}</td></tr>"
    )


def _text(text: str) -> str:
    return html.escape(printable(text))
