"""What is drawn of a night: which groups, and that the drawings are of the plans."""

from __future__ import annotations

import base64
import itertools
import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from signals.diagrams.sheet import Sheet
from signals.model.demand import TurningCounts
from signals.model.network import Network
from signals.report.night_page import night_page
from signals.report.night_pictures import (
    DRAWN_GROUPS,
    NightPictures,
    Picture,
    busiest_period,
    draw_corridors,
    most_at_stake,
)
from tests.signals.report.made_up import failed_group, make_group, make_report, read_arterial


@pytest.fixture(scope="module")
def network() -> Network:
    return read_arterial()


def counts_along(network: Network, signals: tuple[str, ...]) -> TurningCounts:
    """The same on every movement, and half of it from each signal to the next in both directions."""
    counts = {s: {m.id: (60.0,) for m in network.intersections[s].movements} for s in signals}
    pairs = [*itertools.pairwise(signals), *itertools.pairwise(signals[::-1])]
    return TurningCounts(0.0, 900.0, 1, counts, dict.fromkeys(pairs, (30.0,)))


def test_those_with_most_at_stake_are_drawn(network: Network) -> None:
    random = np.random.default_rng(3)
    many = replace(
        network,
        intersections={f"{s}{k}": i for k in range(8) for s, i in network.intersections.items()},
    )
    names = sorted(many.intersections)
    groups = [make_group(many, f"g{k:02}", tuple(names[4 * k : 4 * k + 4]), random) for k in range(14)]
    alone = make_group(many, "alone", (names[-1],), random)
    report = make_report(many, [*groups, alone, failed_group("failed", (names[-2],), "no counts")])
    drawn = most_at_stake(report)
    saved = {g.id: abs(g.saved_veh_h) for g in report.groups}
    assert len(drawn) == DRAWN_GROUPS
    assert not {"alone", "failed"} & set(drawn)
    left_out = {g.subarea.id for g in groups} - set(drawn)
    assert min(saved[g] for g in drawn) >= max(saved[g] for g in left_out)


def test_a_corridor_is_drawn_in_place_and_with_the_plan_and_stands_in_the_page(network: Network) -> None:
    signals = tuple(sorted(network.intersections))[:5]
    group = make_group(network, "g", signals, np.random.default_rng(1))
    report = make_report(network, [group])
    asked = []

    def counts(name: str, period: int) -> TurningCounts:
        asked.append((name, period))
        return counts_along(network, signals)

    corridors = draw_corridors(report, network, [group], counts)
    assert asked == [("g", busiest_period(report.groups[0]))]
    before, after = corridors["g"]
    assert before.title.endswith("in place")
    assert after.title.endswith("plan")
    assert before.svg != after.svg
    page = night_page(report, NightPictures(corridors=corridors))
    embedded = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page)
    assert [base64.b64decode(e) for e in embedded] == [before.svg, after.svg]
    assert all(ElementTree.fromstring(p.svg).tag.endswith("svg") for p in (before, after))


def test_the_map_stands_in_the_page(network: Network) -> None:
    sheet = Sheet(2.0, 1.0)
    sheet.text(0.1, 0.5, "north")
    city_map = Picture("Map of the groups", sheet.svg())
    group = make_group(network, "north", tuple(sorted(network.intersections)), np.random.default_rng(1))
    page = night_page(make_report(network, [group]), NightPictures(city_map=city_map))
    assert base64.b64encode(city_map.svg).decode() in page
    assert 'alt="Map of the groups"' in page
