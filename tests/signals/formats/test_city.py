"""A city's folder: what is read of it, day by day and approach by approach, and what is said of one that is broken."""

from __future__ import annotations

import pickle
import shutil
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from signals.errors import InputError
from signals.formats.city import ApprovalBounds, CityFolder, read_city
from sumo_nets.city import generate_city


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A city of 101 signals, in two files of counts, for the week in which clocks change."""
    folder = tmp_path_factory.mktemp("made")
    generate_city(101, seed=4, directory=folder, weeks=1, until=date(2026, 10, 25))
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """The same, the test's own to change."""
    return Path(shutil.copytree(made, tmp_path / "city"))


def with_line(folder: Path, old: str, new: str) -> Path:
    """The folder with a part of its city.toml replaced."""
    file = folder / "city.toml"
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))
    return folder


def test_everything_that_the_file_says_is_read(made: Path) -> None:
    city = read_city(made)
    assert (city.name, city.timezone, city.seed) == ("city of 101 signals", "Europe/Vienna", 4)
    assert (city.intersections, city.country, city.subdivision) == (101, "AT", "")
    assert city.own_days == {date(2026, 10, 16): "town fair"}
    assert city.events == {date(2026, 10, 10): "match", date(2026, 10, 31): "concert"}
    assert city.approval == ApprovalBounds(False, 20.0, 10.0, 30.0)
    assert [path.name for path in city.counts] == ["000.parquet", "001.parquet"]
    assert city.scenario().net == made.resolve() / "city.net.xml.gz"
    assert city.scenario().routes == ()
    assert len(city.turns()) == 3 * 404
    assert pickle.loads(pickle.dumps(city)) == city


def test_counts_come_a_table_a_file_and_of_the_days_asked_for(made: Path) -> None:
    city = read_city(made)
    whole = list(city.read_counts())
    assert [t.values.shape for t in whole] == [(7 * 96 + 4, 400), (7 * 96 + 4, 4)]
    assert [name for table in whole for name in table.names] == list(city.series())
    some = list(city.read_counts(date(2026, 10, 20), date(2026, 10, 22)))
    for part, of in zip(some, whole, strict=True):
        local = part.local_times
        assert (local[0], local[-1]) == (np.datetime64("2026-10-20T00:00"), np.datetime64("2026-10-21T23:45"))
        assert np.array_equal(part.values, of.values[96:288], equal_nan=True)
        assert np.array_equal(part.reasons, of.reasons[96:288])
    (last, _) = city.read_counts(begin=date(2026, 10, 25))
    assert last.n_intervals == 100
    with pytest.raises(
        InputError, match=r"000\.parquet: has counts from 2026-10-19 to 2026-10-25, none from"
    ):
        next(city.read_counts(begin=date(2026, 10, 26)))


def test_counts_of_some_approaches_open_only_their_files(made: Path) -> None:
    city = read_city(made)
    first, *_, last = city.series()
    (table,) = city.read_counts(approaches=[last, "no such approach"])
    assert table.names == (last,)
    tables = list(city.read_counts(approaches={last, first}))
    assert [t.names for t in tables] == [(first,), (last,)]
    assert list(city.read_counts(approaches=())) == []


def test_a_network_without_a_configuration_will_do(folder: Path) -> None:
    city = read_city(with_line(folder, 'net = "city.sumocfg"', 'net = "city.net.xml.gz"'))
    assert city.scenario().config is None
    assert city.scenario().net.name == "city.net.xml.gz"


def test_calendar_events_bounds_and_seed_may_be_left_out(folder: Path) -> None:
    file = folder / "city.toml"
    head = file.read_text().partition("[calendar]")[0]
    file.write_text(head.replace("seed = 4\n", ""))
    city = read_city(folder)
    assert (city.country, city.own_days, city.events, city.seed) == ("", {}, {}, 0)
    assert city.approval == ApprovalBounds(automatic=False)


def test_the_hash_follows_the_inputs_and_not_the_nights(folder: Path) -> None:
    before = read_city(folder).inputs_hash()
    (folder / "nights" / "2026-10-26").mkdir(parents=True)
    (folder / "nights" / "2026-10-26" / "plan.json").write_text("{}")
    assert read_city(folder).inputs_hash() == before
    hashes = {before}
    for name in ("city.toml", "turns.csv", "vtypes.add.xml"):
        with (folder / name).open("a") as stream:
            stream.write("\n")
        hashes.add(read_city(folder).inputs_hash())
    shutil.copy(folder / "counts" / "000.parquet", folder / "counts" / "001.parquet")
    hashes.add(read_city(folder).inputs_hash())
    assert len(hashes) == 5


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("format = 1", "format = 2", r"city\.toml: format 2: this release reads format 1"),
        ("format = 1", "", "format: is missing; give a whole number, 0 or more"),
        ('name = "city of 101 signals"', 'name = ""', "name = '': give text"),
        ('"Europe/Vienna"', '"Europe/Wien"', "city.toml: timezone 'Europe/Wien' isn't known"),
        ("seed = 4", "seed = -1", "seed = -1: give a whole number, 0 or more"),
        ("intersections = 101", "intersections = true", "intersections = True: give a whole number, 1 or more"),
        ('"counts/001.parquet"', '"counts/000.parquet"', "counts = .*: give different names of files"),
        ('"counts/001.parquet"', '"counts/002.parquet"', r"names .*002\.parquet, which isn't there"),
        ('turns = "turns.csv"', 'turns = "turning.csv"', r"names .*turning\.csv, which isn't there"),
        ("2026-10-16", "Friday", r"calendar\.own\.Friday: is no date; write it as 2026-12-24"),
        ('"match"', "3", r"events\.2026-10-10 = 3: give text"),
        ("automatic = false", 'automatic = "no"', r"approval\.automatic = 'no': give true or false"),
        ("max_cycle_change_s = 20", "max_cycle_change_s = -1", r"approval\.max_cycle_change_s = -1: give seconds"),
        ("max_split_change_s", "max_spilt_change_s", r"approval\.max_spilt_change_s: no field of this name is known"),
        ("[events]", "[event]", "event: no field of this name is known; known are approval, calendar"),
        ("[events]", "[events", "can't be read as TOML"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_file_is_said(folder: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_city(with_line(folder, old, new))


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"is no city's folder, city\.toml isn't there; make one by greensplit city"
    ):
        read_city(tmp_path)


def test_an_approach_in_two_files_is_refused(folder: Path) -> None:
    shutil.copy(folder / "counts" / "000.parquet", folder / "counts" / "001.parquet")
    with pytest.raises(InputError, match=r"001\.parquet: approach '.*' is in .*000\.parquet too; keep one"):
        read_city(folder).series()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "movement,cars\na->b,3\n",
            r"turns\.csv: has columns movement, cars; turns need movement and vehicles",
        ),
        ("movement,vehicles\na->b,3\na->b,4\n", r"turns\.csv:3: movement 'a->b' has a second row; keep one"),
        ("movement,vehicles\na->b,many\n", r"turns\.csv:2: 'many' is no count of vehicles"),
        ("movement,vehicles\na->b,-1\n", r"turns\.csv:2: '-1' is no count of vehicles"),
        ("movement,vehicles\na->b\n", r"turns\.csv:2: '' is no count of vehicles"),
        ("", r"turns\.csv: has columns none"),
    ],
)
def test_broken_turns_are_refused(folder: Path, text: str, said: str) -> None:
    (folder / "turns.csv").write_text(text)
    city: CityFolder = read_city(folder)
    with pytest.raises(InputError, match=said):
        city.turns()
