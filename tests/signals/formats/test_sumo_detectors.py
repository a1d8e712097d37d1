"""Loops and edges of real SUMO runs: every vehicle is counted once at each place that it passes."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from signals.errors import InputError
from signals.formats.sumo.config import read_scenario
from signals.formats.sumo.detectors import read_detectors
from signals.formats.sumo.recording import record
from signals.formats.sumo.xml import elements
from signals.simulation.run import RunResult, simulate

ROOT = Path(__file__).resolve().parents[3]
SINGLE = ROOT / "sumo_nets" / "single"
INCOMING = ("west_centre", "east_centre", "north_centre", "south_centre")
OUTGOING = ("centre_west", "centre_east", "centre_north", "centre_south")


def run_with_outputs(
    folder: Path, config: Path, edges: dict[str, int], period_s: int, drain_s: float
) -> RunResult:
    """A run with a loop on each lane of these edges, `at` metres from the lane's start, and with edge data."""
    loops = "".join(
        f'<inductionLoop id="{edge}_{lane}" lane="{edge}_{lane}" pos="{at}" period="{period_s}" '
        f'file="{folder / "loops.xml"}"/>'
        for edge, at in edges.items()
        for lane in range(lanes_of(config, edge))
    )
    data = f'<edgeData id="all" period="{period_s}" file="{folder / "edges.xml"}"/>'
    extra = folder / "detectors.add.xml"
    extra.write_text(f"<additional>{loops}{data}</additional>")
    return simulate(read_scenario(config), seed=3, plans=[extra], drain_s=drain_s)


def lanes_of(config: Path, name: str) -> int:
    for edge in elements(read_scenario(config).net, "edge"):
        if edge.get("id") == name:
            return len(edge.findall("lane"))
    raise AssertionError(name)


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunResult]:
    """Outputs of an hour at a single intersection, run on until nobody is left, and SUMO's totals."""
    folder = tmp_path_factory.mktemp("single")
    edges = dict.fromkeys(INCOMING, 20) | dict.fromkeys(OUTGOING, 20)
    return folder, run_with_outputs(folder, SINGLE / "single.sumocfg", edges, 900, 900.0)


def test_loops_count_everybody_who_drove_once_in_and_once_out(single: tuple[Path, RunResult]) -> None:
    folder, run = single
    table = read_detectors(folder / "loops.xml")
    assert run.unfinished == 0
    assert run.arrived > 1000
    assert table.step_min == 15
    assert table.n_intervals == 5
    assert not np.isnan(table.values).any()
    out = table.select([name for name in table.names if name.startswith("centre_")])
    assert out.values.sum() == run.arrived
    into = table.select([name for name in table.names if name.rpartition("_")[0] in INCOMING])
    assert into.values.sum() == run.inserted
    assert table.remarks == ()


def test_edges_count_everybody_who_came_onto_them(single: tuple[Path, RunResult]) -> None:
    folder, run = single
    table = read_detectors(folder / "edges.xml")
    assert table.select(INCOMING).values.sum() == run.inserted
    assert table.select(OUTGOING).values.sum() == run.arrived
    written = [e for i in elements(folder / "edges.xml", "interval") for e in i.iter("edge")]
    assert table.values.sum() == sum(
        int(e.get("entered", "0")) + int(e.get("departed", "0")) for e in written
    )


def test_loops_and_edges_agree_in_each_interval_but_for_who_is_between(
    single: tuple[Path, RunResult],
) -> None:
    folder, _ = single
    loops, edges = read_detectors(folder / "loops.xml"), read_detectors(folder / "edges.xml")
    for edge in OUTGOING:
        lanes = [n for n in loops.names if n.rpartition("_")[0] == edge]
        passed = loops.select(lanes).values.sum(axis=1)
        entered = edges.select([edge]).values[:, 0]
        # 20 m into the edge there is room for few.
        assert (np.abs(np.cumsum(entered) - np.cumsum(passed)) <= 3 * len(lanes)).all()


def test_counts_are_of_the_interval_in_which_vehicles_passed(crossroads: Path, tmp_path: Path) -> None:
    config = crossroads / "cross.sumocfg"
    run_with_outputs(tmp_path, config, {"left0A0": 190, "A0right0": 5}, 300, 600.0)
    table = read_detectors(tmp_path / "edges.xml", step_min=5)
    recording = record(read_scenario(config), seed=3)
    # Nobody turns off to the right but who came from the left; who left by 300 s and 600 s the record knows.
    left = Counter(int(t.exits_s[0] // 300) for t in recording.trips.values() if t.edges[-1] == "A0right0"
                   if t.exits_s)  # fmt: skip
    assert table.select(["A0right0"]).values[:2, 0].tolist() == pytest.approx([left[0], left[1]], abs=1)
    assert left[0] > 10


def test_second_zero_is_where_the_caller_says(single: tuple[Path, RunResult]) -> None:
    path = single[0] / "loops.xml"
    assert str(read_detectors(path).start) == "1970-01-01T00:00"
    table = read_detectors(path, start=datetime(2026, 7, 1, 7), timezone="Australia/Melbourne")
    assert str(table.start) == "2026-06-30T21:00"
    assert [str(t) for t in table.local_times[:2]] == ["2026-07-01T07:00", "2026-07-01T07:15"]
    with pytest.raises(InputError, match="intervals of 15 min, not 5"):
        read_detectors(path, step_min=5)


def loop(begin: float | str, end: float | str, name: str = "a", count: str = "3") -> str:
    return f'<interval begin="{begin}" end="{end}" id="{name}" nVehContrib="{count}"/>'


def loops_file(folder: Path, *intervals: str, root: str = "detector") -> Path:
    path = folder / "loops.xml"
    path.write_text(f"<{root}>{''.join(intervals)}</{root}>")
    return path


def test_an_interval_that_a_loop_lacks_is_a_gap_and_one_cut_short_is_told(tmp_path: Path) -> None:
    path = loops_file(
        tmp_path, loop(25200, 26100), loop(25200, 26100, "b", "5"), loop(26100, 27000), loop(27000, "7:35:00")
    )
    table = read_detectors(path)
    nan = float("nan")
    assert np.array_equal(table.values, [[3, 5], [3, nan], [3, nan]], equal_nan=True)
    assert str(table.start) == "1970-01-01T07:00"
    assert table.remarks == ("the simulation ended 600 s before the last interval: its counts are of a part",)


def test_an_edge_that_an_interval_leaves_out_had_nobody(tmp_path: Path) -> None:
    path = tmp_path / "edges.xml"
    path.write_text(
        '<meandata><interval begin="0" end="900" id="d">'
        '<edge id="a" departed="2" entered="3"/><edge id="b" entered="1"/></interval>'
        '<interval begin="900" end="1800" id="d"><edge id="a" departed="0" entered="4"/></interval>'
        '<interval begin="1800" end="2700" id="d"/></meandata>'
    )
    table = read_detectors(path)
    assert table.names == ("a", "b")
    assert table.values.tolist() == [[5, 1], [4, 0], [0, 0]]
    assert table.remarks == ("3 edges and intervals without an entry: nobody was there, zero",)


@pytest.mark.parametrize(
    ("intervals", "said"),
    [
        ((loop(0, 900), loop(900, 1500), loop(1500, 2100)), "intervals of 900 s and of 600 s"),
        ((loop(0, 90), loop(90, 180)), "intervals of 90 s; they have to be whole minutes"),
        ((loop(0, 420), loop(420, 840)), "whole minutes that divide a day"),
        ((loop(30, 930), loop(930, 1830)), "begins at 30 s, off the grid of 15 min"),
        ((loop(0, 900), loop(960, 1860)), "begins at 960 s, off the grid"),
        ((loop(0, 900), loop(0, 900)), "'a' has two counts for the interval from 0 to 900"),
        ((loop(0, 900), loop(900, 2700)), "900 s longer than the 900 s of the others"),
        ((loop(0, 900, count="-1"),), "nVehContrib is '-1', no number of vehicles"),
        ((loop(0, 900, count="some"),), "nVehContrib is 'some'"),
        ((loop("soon", 900),), "'soon' is no time"),
        (('<interval begin="0" end="900" id="x" vehicleSum="3"/>',), "'x' has no nVehContrib"),
        ((), "holds no interval with counts"),
    ],
)
def test_what_is_refused_says_what_to_do(tmp_path: Path, intervals: tuple[str, ...], said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_detectors(loops_file(tmp_path, *intervals))


def test_other_files_of_sumo_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="outermost element is <tripinfos>"):
        read_detectors(loops_file(tmp_path, root="tripinfos"))
    path = tmp_path / "lanes.xml"
    lanes = '<edge id="a"><lane id="a_0" entered="3"/></edge>'
    path.write_text(f'<meandata><interval begin="0" end="900" id="d">{lanes}</interval></meandata>')
    with pytest.raises(InputError, match="is laneData"):
        read_detectors(path)
    one, two = (f'<interval begin="0" end="900" id="{d}"><edge id="a" entered="1"/></interval>' for d in "xy")
    path.write_text(f"<meandata>{one}{two}</meandata>")
    with pytest.raises(InputError, match="edge data 'x' and 'y'"):
        read_detectors(path)
    with pytest.raises(InputError, match="without an offset"):
        read_detectors(path, start=datetime.fromisoformat("2026-07-01T07:00+10:00"))
