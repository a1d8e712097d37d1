"""Made-up cities of any size: a network with programs in place, weeks of counts, a survey of turns, a calendar.

    streets.py    where signals are and what joins them; the network and its programs
    traffic.py    how many vehicles each movement has
    days.py       when people drive, by kind of day
    counts.py     counts by approach, with chance and faults

`generate_city` writes a city's folder, which `signals.formats.city` reads.
"""

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from sumo_nets.city.counts import SIGNALS_A_FILE, Counts, Fault, expect, survey, write_counts
from sumo_nets.city.days import COUNTRY, TIMEZONE, events, make_clock, own_holidays
from sumo_nets.city.streets import HEADINGS, City, build_net, draw, lay_out, turned
from sumo_nets.city.traffic import load
from sumo_nets.draft import Draft
from sumo_nets.scenario import write_elements, write_sumocfg

__all__ = ["MOST_INTERSECTIONS", "MOST_WEEKS", "UNTIL", "Generated", "generate_city"]

UNTIL = date(2026, 11, 22)
MOST_INTERSECTIONS, MOST_WEEKS = 20_000, 104
DAY_S = 86_400


@dataclass(frozen=True)
class Generated:
    """What was written: the folder's table of contents, and how much there is."""

    city: Path
    intersections: int
    districts: int
    approaches: int
    movements: int
    counts: int
    faults: int


def generate_city(
    intersections: int,
    *,
    seed: int,
    directory: Path,
    weeks: int = 8,
    until: date = UNTIL,
    on_progress: Callable[[str, int, int], None] = lambda _step, _done, _of: None,
) -> Generated:
    """Write a city into `directory`: `city.toml`, `city.sumocfg` and what they name, and `faults.csv`.

    Parameters
    ----------
    intersections
        Signals, exactly.
    weeks, until
        Whole weeks of counts, and their last day.
    on_progress
        Called with a step's name, how much of it is done, and how much there is.

    Raises
    ------
    ValueError
        When there are no intersections or no weeks, or too many.
    """
    if not 1 <= intersections <= MOST_INTERSECTIONS:
        raise ValueError(f"a city has 1 to {MOST_INTERSECTIONS} intersections, got {intersections}")
    if not 1 <= weeks <= MOST_WEEKS:
        raise ValueError(f"counts of 1 to {MOST_WEEKS} weeks are made, got {weeks}")
    directory.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    city = lay_out(intersections, rng)
    draft = draw(city)
    on_progress("building the network", 0, 1)
    build_net(city, draft, directory / "city.net.xml.gz", rng)
    _write_scenario(directory)
    on_progress("building the network", 1, 1)

    traffic = load(city, np.random.default_rng([seed, 0]))
    _write_turns(directory / "turns.csv", city, draft, survey(traffic, np.random.default_rng([seed, 3])))
    names = [city.approach_of(draft, place, heading) for place in city.district for heading in HEADINGS]
    own, special = own_holidays(until), events(until)
    expected = expect(city, make_clock(until, weeks), own, special, seed)
    (directory / "counts").mkdir(exist_ok=True)
    files: list[Path] = []
    faults: list[Fault] = []
    steps = write_counts(city, traffic, expected, names, directory / "counts", seed)
    n_files = -(-intersections // SIGNALS_A_FILE)
    for path, found in steps:
        files.append(path)
        faults += found
        on_progress("drawing counts", len(files), n_files)
    _write_faults(directory / "faults.csv", faults)
    toml = _toml(intersections, seed, [f"counts/{path.name}" for path in files], own, special)
    (directory / "city.toml").write_text(toml, encoding="utf-8")
    return Generated(
        directory / "city.toml",
        intersections,
        len(city.cycle_s),
        len(names),
        3 * len(names),
        len(names) * len(expected.clock.utc),
        len(faults),
    )


def _write_scenario(directory: Path) -> None:
    """A day of SUMO without vehicles: traffic follows the counts."""
    kinds = ['<vType id="car" vClass="passenger"/>', '<vType id="truck" vClass="truck"/>']
    write_elements(directory / "vtypes.add.xml", "additional", kinds)
    write_sumocfg(
        directory / "city.sumocfg",
        net="city.net.xml.gz",
        additional=("vtypes.add.xml",),
        begin_s=0,
        end_s=DAY_S,
    )


def _write_turns(file: Path, city: City, draft: Draft, vehicles: Counts) -> None:
    rows = ["movement,vehicles"]
    approaches = ((place, heading) for place in city.district for heading in HEADINGS)
    for (place, heading), counted in zip(approaches, vehicles.tolist(), strict=True):
        begin = city.approach_of(draft, place, heading)
        for out, number in zip(turned(heading), counted, strict=True):
            rows.append(f"{begin}->{city.exit_of(draft, place, out)},{number}")
    file.write_text("\n".join([*rows, ""]), encoding="utf-8")


def _write_faults(file: Path, faults: list[Fault]) -> None:
    rows = [f"{f.approach},{f.kind},{f.first},{f.last}" for f in faults]
    file.write_text("\n".join(["approach,kind,first,last", *rows, ""]), encoding="utf-8")


def _toml(
    intersections: int, seed: int, counts: list[str], own: Mapping[date, str], special: Mapping[date, str]
) -> str:
    def dated(entries: Mapping[date, str]) -> list[str]:
        return [f"{day} = {json.dumps(name)}" for day, name in sorted(entries.items())]

    rows = [
        "format = 1",
        f'name = "city of {intersections} signals"',
        f'timezone = "{TIMEZONE}"',
        f"seed = {seed}",
        f"intersections = {intersections}",
        'net = "city.sumocfg"',
        "counts = [",
        *(f'    "{name}",' for name in counts),
        "]",
        'turns = "turns.csv"',
        "",
        "[calendar]",
        f'country = "{COUNTRY}"',
        "",
        "[calendar.own]",
        *dated(own),
        "",
        "[events]",
        *dated(special),
        "",
        "[approval]  # plans that change no more than this need nobody's approval, where automatic is true",
        "automatic = false",
        "max_cycle_change_s = 20",
        "max_split_change_s = 10",
        "max_offset_change_s = 30",
        "",
    ]
    return "\n".join(rows)
