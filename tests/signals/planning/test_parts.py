"""Parts of a network are whole where their own signals are concerned."""

from __future__ import annotations

import pytest

from signals.formats.sumo.config import read_scenario
from signals.formats.sumo.network import read_network
from signals.model.network import Network
from signals.planning.parts import NetworkParts
from sumo_nets import find_network


@pytest.fixture(scope="module")
def grid() -> Network:
    return read_network(read_scenario(find_network("grid")))


def test_a_part_keeps_every_path_of_its_signals(grid: Network) -> None:
    chosen = sorted(grid.intersections)[:4]
    part = NetworkParts(grid).part(chosen)
    assert sorted(part.intersections) == chosen
    for signal in chosen:
        whole, cut = grid.intersections[signal], part.intersections[signal]
        assert [len(paths) for paths in cut.connections] == [len(paths) for paths in whole.connections]
        for mine, theirs in zip(cut.connections, whole.connections):
            for a, b in zip(mine, theirs):
                here, there = part.connections[a], grid.connections[b]
                assert (here.from_edge, here.from_lane, here.to_edge, here.to_lane) == (
                    there.from_edge, there.from_lane, there.to_edge, there.to_lane,
                )  # fmt: skip
                assert len(here.foes) == len(there.foes)
                assert {part.connections[f].link_index for f in here.yields_to} == {
                    grid.connections[f].link_index for f in there.yields_to
                }


def test_roads_are_named_where_paths_lead(grid: Network) -> None:
    part = NetworkParts(grid).part(sorted(grid.intersections)[:2])
    assert all(c.from_edge in part.edges and c.to_edge in part.edges for c in part.connections)
    assert len(part.edges) < len(grid.edges)
    assert all(c.signal is None or c.signal in part.intersections for c in part.connections)


def test_an_unknown_signal_is_no_part(grid: Network) -> None:
    with pytest.raises(KeyError):
        NetworkParts(grid).part(["nowhere"])
