"""A map of subareas shows every signal and every group, in the same bytes each time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from signals.diagrams.city import COLOURS, subarea_map
from signals.errors import InputError
from signals.model.network import Network
from signals.model.night import Subarea

GROUPS = (
    Subarea("A", ("A", "B"), (60, 68), 12.0),
    Subarea("C", ("C",), (40,)),
    Subarea("D", ("D", "E"), (90,), 3.0),
)
COUPLING = {("A", "B"): 12.0, ("B", "C"): 0.4, ("B", "D"): 2.0, ("D", "E"): 60.0}


@pytest.fixture
def row(network_with: Callable[..., Network]) -> Network:
    return network_with("A", "B", "C", "D", "E")


def test_the_same_division_gives_the_same_picture(row: Network, tmp_path: Path) -> None:
    first, second = (subarea_map(row, GROUPS, COUPLING) for _ in range(2))
    assert first.svg() == second.svg()
    assert first.svg().startswith(b"<?xml")
    written = first.save(tmp_path / "city.png").read_bytes()
    assert written.startswith(b"\x89PNG")
    assert written == second.save(tmp_path / "again.png").read_bytes()


def test_coupled_groups_differ_in_colour_and_weak_links_are_left_out(row: Network) -> None:
    picture = subarea_map(row, GROUPS, COUPLING).svg().decode().lower()
    assert COLOURS[0].lower() in picture
    assert COLOURS[1].lower() in picture
    assert COLOURS[2].lower() not in picture
    fewer = {pair: value for pair, value in COUPLING.items() if value >= 1.0}
    assert subarea_map(row, GROUPS, fewer).svg().decode().lower() == picture
    none = {pair: value for pair, value in fewer.items() if pair != ("B", "D")}
    assert subarea_map(row, GROUPS, none).svg().decode().lower() != picture


def test_a_city_of_one_signal_can_be_drawn(network: Network) -> None:
    assert subarea_map(network, (Subarea("J", ("J",), (60,)),), {}).svg().startswith(b"<?xml")


def test_signals_of_another_network_are_refused_by_name(row: Network) -> None:
    with pytest.raises(InputError, match="Z9"):
        subarea_map(row, (Subarea("Z9", ("Z9",), (60,)),), {})
    with pytest.raises(InputError, match="nothing to show"):
        subarea_map(row, (), {})
