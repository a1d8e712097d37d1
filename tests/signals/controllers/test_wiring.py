"""What heads show while a unit's phases are green, yellow and walking."""

from __future__ import annotations

from signals.controllers.virtual.wiring import Heads
from signals.model.controller import Cabinet, ControllerPhase, ControllerRecord, LinkWiring

NOBODY: frozenset[int] = frozenset()


def heads_of(*links: LinkWiring) -> Heads:
    """Heads of a cabinet whose record nobody asks for."""
    record = ControllerRecord((ControllerPhase(1, 1, NOBODY, 5, 3.0, 0.0),), ((1,),))
    return Heads(Cabinet("J", record, links))


def test_a_link_is_yellow_with_the_last_of_its_phases() -> None:
    heads = heads_of(LinkWiring(0, (2, 6), red="s"))
    assert heads.letters({2, 6}, NOBODY, NOBODY) == "G"
    assert heads.letters({6}, {2}, NOBODY) == "G"
    assert heads.letters(NOBODY, {6}, NOBODY) == "y"
    assert heads.letters(NOBODY, NOBODY, NOBODY) == "s"


def test_an_overlap_is_held_green_only_towards_its_own_phases() -> None:
    heads = heads_of(LinkWiring(0, (1, 2), frozenset({2}), held=True, cleared=frozenset({(2, 1)})))
    assert heads.letters({1}, NOBODY, NOBODY) == "G"
    assert heads.letters(NOBODY, {1}, NOBODY, {2}) == "g"
    assert heads.letters({2}, NOBODY, NOBODY) == "g"
    assert heads.letters(NOBODY, {2}, NOBODY, {1}) == "y"
    assert heads.letters(NOBODY, NOBODY, NOBODY, {1}) == "r"
    assert heads.letters({1}, NOBODY, NOBODY) == "G"
    assert heads.letters(NOBODY, {1}, NOBODY, {3}) == "y"


def test_people_walk_with_walks_and_not_with_greens() -> None:
    heads = heads_of(LinkWiring(0, (2,), pedestrian=True))
    assert heads.letters({2}, NOBODY, {2}) == "G"
    assert heads.letters({2}, NOBODY, NOBODY) == "r"
