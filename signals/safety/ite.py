"""Clearance times of a signal's links by the ITE formula, as controllers hold them: rounded up to tenths.

The posted speed of the approach stands in for the 85th-percentile one; grades are taken as level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from signals.model.network import Connection, Intersection
from signals.safety.clearance import (
    MAX_RED_CLEARANCE_S,
    bounded_yellow_s,
    red_clearance_s,
    yellow_change_s,
)


def ite_yellow_s(intersection: Intersection, link: int) -> float:
    """The yellow that ends a green of this vehicle link [s], 3 to 6 s, by its fastest approach.

    Raises
    ------
    ValueError
        Where no movement uses the link: its approach speed isn't known.
    """
    return _tenths_up(bounded_yellow_s(yellow_change_s(_approach_speed_mps(intersection, link))))


def ite_red_clearance_s(intersection: Intersection, connections: Sequence[Connection], link: int) -> float:
    """The red after the yellow in which the last vehicle of a link leaves the junction [s], at most 6 s.

    `connections` are those of the network; the longest path of the link is the width to clear.

    Raises
    ------
    ValueError
        Where no movement uses the link.
    """
    width_m = max((connections[p].length_m for p in intersection.connections[link]), default=0.0)
    red_s = red_clearance_s(width_m, _approach_speed_mps(intersection, link))
    return _tenths_up(min(red_s, MAX_RED_CLEARANCE_S))


def _approach_speed_mps(intersection: Intersection, link: int) -> float:
    edges = {m.approach for m in intersection.movements if link in m.links}
    speeds = [a.speed_mps for a in intersection.approaches if a.edge in edges]
    if not speeds:
        raise ValueError(f"signal {intersection.id}: no movement uses link {link}; it has no approach speed")
    return max(speeds)


def _tenths_up(seconds: float) -> float:
    # 1e-6: a figure that is a tenth already stays one, whatever its last bits
    return math.ceil(seconds * 10 - 1e-6) / 10
