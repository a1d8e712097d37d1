"""Rings and barriers: recognised where the stages follow them, offered where the geometry allows them."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from signals.formats.sumo.config import read_scenario
from signals.formats.sumo.network import read_network
from signals.model.network import Approach, Edge, Intersection, Lane, Movement, Network, Turn
from signals.model.phasing import ConflictTable, Interval, RingBarrier, SignalProgram
from signals.timing.rings import offer_rings, recognise_rings, why_not_rings
from sumo_nets import NETWORKS, find_network
from sumo_nets.arterial.build import JUNCTIONS

EB, SB, WB, NB = 90.0, 180.0, 270.0, 0.0
NAMES = {EB: "EB", SB: "SB", WB: "WB", NB: "NB"}
TURNS = (Turn.RIGHT, Turn.THROUGH, Turn.LEFT)
# HCM 7th ed., worked example of chapter 31 in tests/theory: EB 2, WB 6, NB 8 with left turn 3, SB 4 with 7.
HCM = {"EBT": 2, "WBT": 6, "NBT": 8, "SBT": 4, "NBL": 3, "SBL": 7, "WBL": 1, "EBL": 5}


def numbers(rings: RingBarrier | None) -> str:
    """Rings as on a timing sheet: phases, a bar for each barrier, a slash between the rings."""
    assert rings is not None
    return " / ".join(
        "|".join(",".join(str(p.number) for p in half) for half in ring) for ring in rings.rings
    )


def links_of(rings: RingBarrier | None) -> dict[int, tuple[int, ...]]:
    """Links by phase number."""
    assert rings is not None
    return {p.number: p.links for ring in rings.rings for half in ring for p in half}


class Crossing:
    """A hand-made intersection: approaches by heading, and the turns that each has.

    Links are numbered in the order of `turns`: EBR, EBT, EBL, … A left turn has a lane of its own unless its
    approach is in `shared`.
    """

    def __init__(
        self,
        turns: Mapping[float, Sequence[Turn]],
        *,
        shared: Sequence[float] = (),
        lanes: Mapping[float, int] | None = None,
    ) -> None:
        self.names = [
            (heading, f"{NAMES.get(heading, f'{heading:g}')}{turn}")
            for heading, row in turns.items()
            for turn in row
        ]
        self.index = {name: k for k, (_, name) in enumerate(self.names)}
        edges, approaches, movements = {}, [], []
        for heading, row in turns.items():
            edge = f"in{heading:g}"
            count = (lanes or {}).get(heading, 3)
            rows = tuple(Lane(f"{edge}_{k}", 100.0, 13.9, frozenset({"passenger"})) for k in range(count))
            edges[edge] = Edge(
                edge, f"from{heading:g}", "X", rows, 100.0, 13.9, heading, (0.0, 0.0), (0.0, 0.0)
            )
            approaches.append(Approach(edge, NAMES.get(heading, "NB"), count, 13.9, 100.0))
            for turn in row:
                name = f"{NAMES.get(heading, f'{heading:g}')}{turn}"
                lane = 1 if heading in shared else {Turn.RIGHT: 0, Turn.THROUGH: 1, Turn.LEFT: 2}[turn]
                movements.append(Movement(name, edge, f"out-{name}", turn, (self.index[name],), (lane,)))
        self.network = Network("by hand", edges, (), {})
        n = len(self.names)
        self.intersection = Intersection(
            "X", ("X",), ((0,),) * n, tuple(approaches), tuple(movements), (), self._conflicts(), None
        )

    def _conflicts(self) -> ConflictTable:
        """Streets that cross conflict; a left turn gives way to oncoming traffic."""
        conflicts, yields = set(), set()
        for (i, (a, one)), (j, (b, other)) in itertools.combinations(enumerate(self.names), 2):
            apart = min((a - b) % 360.0, (b - a) % 360.0)
            if 40.0 < apart < 140.0:
                conflicts.add((i, j))
            elif apart >= 140.0 and (one[-1] == "L") != (other[-1] == "L"):
                conflicts.add((i, j))
                yields.add((i, j) if one[-1] == "L" else (j, i))
        return ConflictTable(len(self.names), frozenset(conflicts), frozenset(yields))

    def state(self, greens: str) -> str:
        """A state from words: "EBT WBT wbl" is two through movements and a permitted left turn."""
        signs = ["r"] * len(self.names)
        for word in greens.split():
            signs[self.index[word.upper()]] = "g" if word.islower() else "G"
        return "".join(signs)

    def timed(self, *stages: str) -> Intersection:
        """The intersection with a program: 20 s a stage, 3 s of yellow and 2 s of red after each."""
        rows = []
        for stage, following in zip(stages, [*stages[1:], stages[0]]):
            now, then = self.state(stage), self.state(following)
            yellow = "".join("y" if a in "Gg" and b == "r" else a for a, b in zip(now, then))
            rows += [Interval(20, now), Interval(3, yellow), Interval(2, yellow.replace("y", "r"))]
        program = SignalProgram("X", "0", "static", 0.0, tuple(rows))
        return replace(self.intersection, program=program)


FOUR = Crossing({EB: TURNS, SB: TURNS, WB: TURNS, NB: TURNS}, lanes={EB: 4, WB: 4})
TEE = Crossing({EB: (Turn.THROUGH, Turn.LEFT), WB: (Turn.RIGHT, Turn.THROUGH), SB: (Turn.RIGHT, Turn.LEFT)})
MAIN, CROSS = "EBT EBR WBT WBR", "NBT NBR SBT SBR"


# --------------------------------------------------------------------------------------- hand-made ones


def test_eight_phases_bear_the_numbers_of_the_hcm() -> None:
    signal = FOUR.timed("EBL WBL", MAIN, "NBL SBL", CROSS)
    rings = recognise_rings(signal, FOUR.network)
    assert numbers(rings) == "1,2|3,4 / 5,6|7,8"
    for name, phase in HCM.items():
        assert FOUR.index[name] in links_of(rings)[phase], name
    assert links_of(rings)[2] == tuple(sorted((FOUR.index["EBT"], FOUR.index["EBR"])))
    assert why_not_rings(signal, FOUR.network) == ""


def test_every_link_is_in_one_phase() -> None:
    for stages in (("EBL WBL", MAIN, "NBL SBL", CROSS), (MAIN, CROSS), ("EBL WBL", MAIN, f"{CROSS} nbl sbl")):
        rings = recognise_rings(FOUR.timed(*stages), FOUR.network)
        listed = sorted(link for links in links_of(rings).values() for link in links)
        assert listed == list(range(12))


def test_the_program_may_start_anywhere() -> None:
    stages = ["EBL WBL", f"{MAIN} ebl wbl", "NBL SBL", CROSS]
    for k in range(4):
        turned = FOUR.timed(*stages[k:], *stages[:k])
        assert numbers(recognise_rings(turned, FOUR.network)) == "1,2|3,4 / 5,6|7,8"


def test_overlaps_between_the_rings() -> None:
    leading = FOUR.timed("EBL WBL", "EBL EBT EBR", MAIN, CROSS)  # 1+5, 2+5, 2+6, 4+8
    assert numbers(recognise_rings(leading, FOUR.network)) == "1,2|4 / 5,6|8"
    lagging = FOUR.timed("EBL EBT EBR", MAIN, "WBL WBT WBR", CROSS)  # 2+5, 2+6, 1+6: lead and lag
    assert numbers(recognise_rings(lagging, FOUR.network)) == "2,1|4 / 5,6|8"
    split = FOUR.timed("EBL WBL", MAIN, "NBL NBT NBR", "SBL SBT SBR")  # 3+8, then 4+7
    assert numbers(recognise_rings(split, FOUR.network)) == "1,2|3,4 / 5,6|8,7"


def test_permitted_left_turns_belong_to_their_through_phase() -> None:
    rings = recognise_rings(FOUR.timed(f"{MAIN} ebl wbl", f"{CROSS} nbl sbl"), FOUR.network)
    assert numbers(rings) == "2|4 / 6|8"
    assert FOUR.index["EBL"] in links_of(rings)[2]
    assert FOUR.index["SBL"] in links_of(rings)[4]


def test_a_right_turn_overlap_is_no_phase() -> None:
    signal = FOUR.timed("EBL WBL NBR SBR", MAIN, "NBL SBL EBR WBR", CROSS)
    assert numbers(recognise_rings(signal, FOUR.network)) == "1,2|3,4 / 5,6|7,8"


def test_a_busier_street_has_phases_2_and_6() -> None:
    north = Crossing({EB: TURNS, SB: TURNS, WB: TURNS, NB: TURNS}, lanes={NB: 4, SB: 4})
    rings = recognise_rings(north.timed("NBL SBL", CROSS, MAIN), north.network)
    assert numbers(rings) == "1,2|4 / 5,6|8"
    # clockwise by direction of travel: 2 northbound, 4 eastbound, 6 southbound, 8 westbound
    for name, phase in (("NBT", 2), ("EBT", 4), ("SBT", 6), ("WBT", 8), ("SBL", 1), ("NBL", 5)):
        assert north.index[name] in links_of(rings)[phase], name


def test_streets_alike_count_from_east_and_west() -> None:
    for tilt in (-8.0, 0.0, 8.0):
        alike = Crossing({(h + tilt) % 360.0: TURNS for h in (EB, SB, WB, NB)})
        rings = offer_rings(alike.intersection, alike.network)
        east = next(
            k for k, (heading, name) in enumerate(alike.names) if heading == EB + tilt and name[-1] == "T"
        )
        assert east in links_of(rings)[2], tilt


def test_a_stem_has_one_phase() -> None:
    rings = recognise_rings(TEE.timed("EBL EBT", "EBT WBT WBR ebl", "SBL SBR"), TEE.network)
    assert numbers(rings) == "2|4 / 5,6|"
    assert links_of(rings)[4] == tuple(sorted((TEE.index["SBL"], TEE.index["SBR"])))
    assert numbers(offer_rings(TEE.intersection, TEE.network)) == "2|4 / 5,6|"


@pytest.mark.parametrize(
    ("stages", "reason"),
    [
        (("EBL WBL", MAIN, "EBL WBL", CROSS), "served twice a cycle"),
        ((MAIN, CROSS, "EBL WBL", "NBL SBL"), "each street is served 2 times a cycle"),
        (("EBL WBL", "EBT EBR", "WBT WBR", CROSS), "ring 2 rests"),
        ((f"{MAIN} EBL", "WBL EBL", "NBT NBR EBT", CROSS), "a barrier keeps apart"),
        (("EBL WBL", MAIN, "NBR SBR WBR", CROSS), "serves no phase"),
        ((MAIN, "EBL WBL"), "all stages serve one street"),
    ],
)
def test_stages_of_another_kind_are_not_rings(stages: Sequence[str], reason: str) -> None:
    signal = FOUR.timed(*stages)
    assert recognise_rings(signal, FOUR.network) is None
    assert reason in why_not_rings(signal, FOUR.network)
    # the street would allow them all the same
    assert numbers(offer_rings(signal, FOUR.network)) == "1,2|3,4 / 5,6|7,8"


def test_a_left_turn_in_the_way_of_protected_traffic_is_no_ring() -> None:
    signal = FOUR.timed(f"{MAIN} EBL", CROSS)
    harsh = replace(signal, conflicts=replace(signal.conflicts, yields=frozenset()))
    assert recognise_rings(harsh, FOUR.network) is None
    assert "protected green to the left turn" in why_not_rings(harsh, FOUR.network)


def test_what_has_no_program_may_still_be_offered_rings() -> None:
    assert recognise_rings(FOUR.intersection, FOUR.network) is None
    assert "has no program" in why_not_rings(FOUR.intersection, FOUR.network)
    assert numbers(offer_rings(FOUR.intersection, FOUR.network)) == "1,2|3,4 / 5,6|7,8"


def test_left_turns_in_shared_lanes_stay_permitted() -> None:
    some = Crossing({EB: TURNS, SB: TURNS, WB: TURNS, NB: TURNS}, shared=(NB, SB), lanes={EB: 4, WB: 4})
    rings = offer_rings(some.intersection, some.network)
    assert numbers(rings) == "1,2|4 / 5,6|8"
    assert some.index["NBL"] in links_of(rings)[8]
    every = Crossing({EB: TURNS, SB: TURNS, WB: TURNS, NB: TURNS}, shared=(EB, SB, WB, NB))
    assert offer_rings(every.intersection, every.network) is None


def test_left_turns_that_meet_each_other_are_not_offered() -> None:
    one, other = sorted((FOUR.index["EBL"], FOUR.index["WBL"]))
    tight = replace(
        FOUR.intersection,
        conflicts=replace(
            FOUR.intersection.conflicts, conflicts=FOUR.intersection.conflicts.conflicts | {(one, other)}
        ),
    )
    assert offer_rings(tight, FOUR.network) is None


@pytest.mark.parametrize(
    ("headings", "reason"),
    [
        ((EB, WB), "2 approach direction(s)"),
        ((0.0, 72.0, 144.0, 216.0, 288.0), "5 approach direction(s)"),
        ((0.0, 40.0, 80.0, 120.0), "don't oppose each other"),
        ((0.0, 120.0, 240.0), "don't oppose each other"),
        ((0.0, 35.0, 180.0), "don't cross squarely"),
    ],
)
def test_odd_geometry_is_explained(headings: Sequence[float], reason: str) -> None:
    odd = Crossing(dict.fromkeys(headings, TURNS))
    assert reason in why_not_rings(odd.intersection, odd.network)
    assert offer_rings(odd.intersection, odd.network) is None


def test_a_bus_lane_beside_its_street_is_the_same_approach() -> None:
    beside = Crossing(
        {EB: TURNS, SB: TURNS, WB: TURNS, NB: TURNS, 95.0: (Turn.THROUGH,)}, lanes={EB: 4, WB: 4}
    )
    signal = beside.timed("EBL WBL", f"{MAIN} 95T", CROSS)
    rings = recognise_rings(signal, beside.network)
    assert numbers(rings) == "1,2|4 / 5,6|8"
    assert {beside.index["EBT"], beside.index["95T"]} <= set(links_of(rings)[2])
    half = beside.timed("EBL WBL", MAIN, CROSS)
    assert "lets only 1 of the 2 links of phase 2 go" in why_not_rings(half, beside.network)


def test_one_controller_over_several_junctions_is_explained() -> None:
    joined = replace(FOUR.intersection, junctions=("X", "Y"))
    assert "2 junctions" in why_not_rings(joined, FOUR.network)


def test_a_nema_program_says_it_itself() -> None:
    rows = tuple(
        Interval(20, FOUR.state(greens), name=name)
        for name, greens in (
            ("1", "WBL"),
            ("2", "EBT EBR"),
            ("4", "SBT SBR SBL"),
            ("5", "EBL"),
            ("6", "WBT WBR"),
        )
    )
    signal = replace(FOUR.intersection, program=SignalProgram("X", "0", "NEMA", 0.0, rows))
    rings = recognise_rings(signal, FOUR.network)
    assert numbers(rings) == "1,2|4 / 5,6|"
    assert links_of(rings)[1] == (FOUR.index["WBL"],)
    named = replace(rows[0], name="left")
    odd = replace(signal, program=SignalProgram("X", "0", "NEMA", 0.0, (named, *rows[1:])))
    assert "'left'" in why_not_rings(odd, FOUR.network)


def test_a_signal_that_controls_nothing_is_explained() -> None:
    empty = Intersection("X", (), (), (), (), (), ConflictTable(0, frozenset(), frozenset()), None)
    nothing = Network("by hand", {}, (), {})
    assert recognise_rings(empty, nothing) is None
    assert offer_rings(empty, nothing) is None
    assert "0 approach direction(s)" in why_not_rings(empty, nothing)


# ----------------------------------------------------------------------------------------- real networks

# The timing sheet of the arterial numbers its cross street the other way round: 4 NB and 8 SB.
SHEET_TO_HCM = {1: 1, 2: 2, 5: 5, 6: 6, 3: 7, 7: 3, 4: 8, 8: 4}


def test_the_arterial_is_read_as_its_timing_sheet_says() -> None:
    network = read_network(read_scenario(find_network("arterial")))
    for junction in JUNCTIONS:
        rings = recognise_rings(network.intersections[junction.name], network)
        assert rings is not None, junction.name
        on_sheet = {SHEET_TO_HCM[n] for stage in junction.stages for n in stage.phases}
        assert set(links_of(rings)) == on_sheet
        for ring in rings.rings:
            # phases of a ring follow each other as the stages of the sheet do
            order = [p.number for half in ring for p in half]
            first = [
                min(
                    k
                    for k, stage in enumerate(junction.stages)
                    if n in {SHEET_TO_HCM[p] for p in stage.phases}
                )
                for n in order
            ]
            assert first == sorted(first)


def _resco() -> dict[str, Path]:
    spec = importlib.util.find_spec("sumo_rl")
    if spec is None or not spec.submodule_search_locations:
        return {}
    root = Path(next(iter(spec.submodule_search_locations))) / "nets" / "RESCO"
    return {path.parent.name: path for path in sorted(root.glob("*/*.sumocfg"))}


RESCO_NAMES = ("arterial4x4", "cologne1", "cologne3", "cologne8", "grid4x4",
               "ingolstadt1", "ingolstadt21", "ingolstadt7")  # fmt: skip


@pytest.mark.parametrize("name", [*NETWORKS, *RESCO_NAMES])
def test_every_real_signal_has_rings_or_a_reason(name: str) -> None:
    path = find_network(name) if name in NETWORKS else _resco().get(name)
    if path is None:
        pytest.skip(f"{name} comes with sumo-rl, which isn't installed: pip install 'sumo-rl>=1.4.5'")
    network = read_network(read_scenario(path))
    for signal, intersection in network.intersections.items():
        for rings in (recognise_rings(intersection, network), offer_rings(intersection, network)):
            if rings is None:
                continue
            found = links_of(rings)
            flat = [link for links in found.values() for link in links]
            assert len(flat) == len(set(flat)), signal
            for ring, allowed in zip(rings.rings, (range(1, 5), range(5, 9))):
                for half, side in zip(ring, ({1, 2, 5, 6}, {3, 4, 7, 8})):
                    assert {p.number for p in half} <= side & set(allowed), signal
            # through phases across the barrier must conflict, or there would be no barrier
            table = intersection.conflicts
            for a, b in itertools.product(found.keys() & {2, 6}, found.keys() & {4, 8}):
                assert any(table.conflict(i, j) for i in found[a] for j in found[b]), (signal, a, b)
        assert bool(why_not_rings(intersection, network)) == (recognise_rings(intersection, network) is None)


def test_the_cycle_of_grid4x4_is_no_ring_but_its_streets_would_be() -> None:
    path = _resco().get("grid4x4")
    if path is None:
        pytest.skip("grid4x4 comes with sumo-rl, which isn't installed: pip install 'sumo-rl>=1.4.5'")
    network = read_network(read_scenario(path))
    for intersection in network.intersections.values():
        # through movements first, left turns, then each approach by itself: every phase comes twice
        assert "served twice" in why_not_rings(intersection, network)
        assert numbers(offer_rings(intersection, network)) == "1,2|3,4 / 5,6|7,8"
