"""Kinds of source: each file is known by its content, plugins are found, and a bad one breaks nothing else."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from signals.errors import InputError
from signals.formats import sources
from signals.formats.counts import write_counts
from signals.formats.sources import BUILT_IN, DataSource, get_source, list_kinds, read_source
from signals.model.counts import CountTable

TABLE = CountTable(("A",), np.datetime64("2006-10-01"), 15, np.arange(4.0).reshape(-1, 1))


class Tally:
    """A plugin that reads any location that begins with tally:."""

    name = "tally"

    def recognises(self, location: str) -> bool:
        return location.startswith("tally:")

    def read(self, location: str, *, timezone: str, step_min: int | None) -> CountTable:
        return CountTable((location,), TABLE.start, step_min or 15, TABLE.values, timezone=timezone)


class Greedy(Tally):
    name = "greedy"


class Failing:
    name = "failing"

    def recognises(self, location: str) -> bool:
        raise RuntimeError("no licence")

    def read(self, location: str, *, timezone: str, step_min: int | None) -> CountTable:
        raise RuntimeError("no licence")


class Nothing(Tally):
    name = "nothing"

    def recognises(self, location: str) -> bool:
        return False

    def read(self, location: str, *, timezone: str, step_min: int | None) -> CountTable:
        return None  # type: ignore[return-value]


NO_SOURCE = 7


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """The entry points that are installed; a test adds its own."""
    points: list[EntryPoint] = []

    def found(*, group: str, name: str | None = None) -> list[EntryPoint]:
        assert group == "greensplit.sources"
        return [p for p in points if name in (None, p.name)]

    monkeypatch.setattr(sources, "entry_points", found)
    return points


def add(plugins: list[EntryPoint], monkeypatch: pytest.MonkeyPatch, name: str, thing: object) -> None:
    """An entry point to something in this module, without a package around it."""
    point = EntryPoint(name, f"plugin_{name}:THING", "greensplit.sources")
    monkeypatch.setattr(EntryPoint, "load", lambda self: LOADED[self.name])
    LOADED[name] = thing
    plugins.append(point)


LOADED: dict[str, object] = {}


def files(folder: Path) -> dict[str, Path]:
    """One file of each built-in kind."""
    write_counts(TABLE, folder / "wide.csv.gz")
    write_counts(TABLE, folder / "long.parquet", layout="long")
    (folder / "hires.csv").write_text("time,device,event,param\n2006-10-01 00:00:01,1,82,2\n")
    interval = '<interval begin="0" end="900" id="a" nVehContrib="3"/>'
    (folder / "sumo.xml").write_text(f"<detector>{interval}</detector>")
    return {path.name.split(".")[0]: path for path in folder.iterdir()}


def test_each_kind_of_file_is_known_by_its_content(tmp_path: Path, plugins: list[EntryPoint]) -> None:
    found = files(tmp_path)
    assert list_kinds() == ("wide", "long", "hires", "sumo")
    assert set(found) == set(list_kinds())
    for kind, path in found.items():
        assert [s.name for s in BUILT_IN if s.recognises(str(path))] == [kind]
        assert isinstance(get_source(kind), DataSource)
        auto, named = read_source(path), read_source(str(path), kind)
        assert auto.names == named.names
        assert np.array_equal(auto.values, named.values)
    assert read_source(found["wide"]).values.tolist() == TABLE.values.tolist()
    assert read_source(found["hires"]).names == ("1:2",)
    assert read_source(found["hires"], step_min=5).step_min == 5
    assert read_source(found["wide"], timezone="Australia/Melbourne").timezone == "Australia/Melbourne"


def test_what_no_kind_reads_is_told_with_the_kinds_there_are(
    tmp_path: Path, plugins: list[EntryPoint]
) -> None:
    with pytest.raises(
        InputError, match="'utdf' is no known kind of counts; known are wide, long, hires, sumo"
    ):
        read_source(tmp_path, "utdf")
    with pytest.raises(InputError, match=r"no such file, and nothing that a known kind reads \(wide, long"):
        read_source(tmp_path / "absent.csv")
    path = tmp_path / "odd.csv"
    path.write_text("start\n2006-10-01\n")
    with pytest.raises(InputError, match="holds the columns 'start', which no known kind reads"):
        read_source(path)
    path.write_text("<tripinfos/>")
    with pytest.raises(InputError, match="is XML"):
        read_source(path)
    path.write_text("")
    with pytest.raises(InputError, match="is empty"):
        read_source(path)


def test_a_plugin_is_found_by_name_and_by_location(
    plugins: list[EntryPoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    add(plugins, monkeypatch, "tally", Tally)
    assert list_kinds() == ("wide", "long", "hires", "sumo", "tally")
    table = read_source("tally:7", timezone="UTC", step_min=5)
    assert (table.names, table.step_min, table.timezone) == (("tally:7",), 5, "UTC")
    assert read_source("7", "tally").names == ("7",)
    add(plugins, monkeypatch, "greedy", Greedy())
    with pytest.raises(InputError, match="greedy and tally can all read it; say which"):
        read_source("tally:7")


def test_a_broken_plugin_breaks_nothing_else(
    tmp_path: Path, plugins: list[EntryPoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = files(tmp_path)["wide"]
    add(plugins, monkeypatch, "failing", Failing)
    add(plugins, monkeypatch, "nothing", Nothing)
    add(plugins, monkeypatch, "seven", NO_SOURCE)
    table = read_source(path)
    assert table.values.tolist() == TABLE.values.tolist()
    assert [r.split(" could")[0] for r in table.remarks] == ["source 'failing'", "source 'seven'"]
    with pytest.raises(InputError, match=r"source 'failing' failed: RuntimeError\('no licence'\)"):
        read_source(path, "failing")
    with pytest.raises(InputError, match="source 'nothing' gave NoneType, no table of counts"):
        read_source(path, "nothing")
    with pytest.raises(InputError, match=r"source 'seven' .* lacks name, recognises or read"):
        read_source(path, "seven")
    assert read_source(path, "wide").remarks == ()


def test_nobody_takes_a_built_in_name_and_a_clash_is_told(
    tmp_path: Path, plugins: list[EntryPoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    add(plugins, monkeypatch, "wide", Tally)
    assert list_kinds().count("wide") == 1
    assert get_source("wide") is BUILT_IN[0]
    plugins += [EntryPoint("twin", f"{p}:S", "greensplit.sources") for p in ("one", "two")]
    with pytest.raises(InputError, match="'twin' is claimed by one:S and two:S; uninstall one"):
        get_source("twin")
    plugins.append(EntryPoint("gone", "no_such_package_at_all:S", "greensplit.sources"))
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"source 'gone' .*can't be loaded: ModuleNotFoundError"):
        sources._loaded(plugins[-1])
