"""Pretimed cycles and splits by formula: Webster's, and the HCM's for a target degree of saturation.

Times are effective seconds and not rounded; what a controller holds in whole seconds is cut from them later.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kernels import delay
from signals.errors import InfeasiblePlan


@dataclass(frozen=True)
class WebsterPlan:
    """A pretimed plan by Webster's rule: greens in the order of the flow ratios."""

    cycle_s: float
    green_s: tuple[float, ...]
    lost_time_s: float
    critical_flow_ratio: float

    def __post_init__(self) -> None:
        total_s = sum(self.green_s) + self.lost_time_s
        if not math.isclose(total_s, self.cycle_s, rel_tol=1e-9):
            raise ValueError(
                f"greens and lost time add up to {total_s:.2f} s: expected the cycle, {self.cycle_s:.2f} s"
            )


def webster_cycle_s(critical_flow_ratio: float, lost_time_s: float) -> float:
    """Return Webster's cycle of least delay, s: (1.5 L + 5) / (1 − Y); infinite from Y = 1 on (Webster 1958).

    >>> webster_cycle_s(0.5, 16.0)
    58.0
    """
    _check_flow_ratios([critical_flow_ratio], lost_time_s)
    return delay.webster_cycle_s(float(critical_flow_ratio), float(lost_time_s))


def webster_delay_s(green_s: float, cycle_s: float, flow_vph: float, saturation_flow_vph: float) -> float:
    """Return Webster's mean delay of a movement, s/veh; infinite from saturation on (Webster 1958)."""
    return delay.webster_delay_s(
        float(green_s), float(cycle_s), flow_vph / 3600.0, saturation_flow_vph / 3600.0
    )


def flow_ratio(volume_vph: float, saturation_flow_vph: float) -> float:
    """Return y = v/s, the share of the cycle that a movement needs at the least."""
    if volume_vph < 0.0 or saturation_flow_vph <= 0.0:
        raise ValueError(
            f"volume {volume_vph:g} veh/h over saturation flow {saturation_flow_vph:g} veh/h: expected a "
            "volume of 0 or more and a positive saturation flow"
        )
    return volume_vph / saturation_flow_vph


def critical_flow_ratio(stages: Sequence[Sequence[float]]) -> float:
    """Return Y, the sum over stages of the largest flow ratio among the movements of each.

    >>> critical_flow_ratio([[0.2, 0.3], [0.1]])
    0.4
    """
    return sum(max(ratios, default=0.0) for ratios in stages)


def proportional_greens_s(
    weights: Sequence[float], green_total_s: float, min_green_s: Sequence[float]
) -> tuple[float, ...]:
    """Share out effective green in proportion to weights, but give nobody less than the minimum.

    Stages held at their minimum leave less for the others, which may bring these to theirs: repeated until it
    holds. Without any weight all share alike.

    Raises
    ------
    InfeasiblePlan
        The minimums alone exceed the green there is.
    """
    if len(weights) != len(min_green_s):
        raise ValueError(f"{len(weights)} weights and {len(min_green_s)} minimum greens: expected as many")
    if sum(min_green_s) > green_total_s + 1e-9:
        raise InfeasiblePlan(
            f"minimum greens add up to {sum(min_green_s):.1f} s, but the cycle leaves {green_total_s:.1f} s "
            "of green: raise the cycle or lower the minimums"
        )
    if sum(weights) <= 0.0:
        weights = [1.0] * len(weights)
    held: set[int] = set()
    while True:
        free = [i for i in range(len(weights)) if i not in held]
        left_s = green_total_s - sum(min_green_s[i] for i in held)
        free_weight = sum(weights[i] for i in free)
        share_s = {i: left_s * (weights[i] / free_weight) if free_weight > 0.0 else 0.0 for i in free}
        short = {i for i in free if share_s[i] < min_green_s[i]}
        if not short:
            break
        held |= short
    greens = [share_s.get(i, min_green_s[i]) for i in range(len(weights))]
    if not free or free_weight <= 0.0:
        # Everybody holds the minimum, or those who don't have no traffic: what is over goes out evenly.
        spare_s = (green_total_s - sum(greens)) / len(greens)
        greens = [green + spare_s for green in greens]
    return tuple(greens)


def webster_plan(
    flow_ratios: Sequence[float],
    lost_time_s: float,
    min_green_s: Sequence[float],
    cycle_bounds: tuple[float, float],
) -> WebsterPlan:
    """Return Webster's cycle, kept within bounds, with greens in proportion to the critical flow ratios.

    Parameters
    ----------
    flow_ratios
        Critical flow ratio of each stage.
    lost_time_s
        Lost time of the whole cycle.
    min_green_s
        Least effective green of each stage.
    cycle_bounds
        Shortest and longest cycle, s. From Y = 1 on the longest is taken.

    Raises
    ------
    InfeasiblePlan
        Lost time and minimum greens exceed the longest cycle.
    """
    shortest_s, longest_s = cycle_bounds
    if not 0.0 < shortest_s <= longest_s:
        raise ValueError(f"cycle bounds {shortest_s:g}-{longest_s:g} s: expected 0 < shortest <= longest")
    _check_flow_ratios(flow_ratios, lost_time_s)
    needed_s = lost_time_s + sum(min_green_s)
    if needed_s > longest_s:
        raise InfeasiblePlan(
            f"lost time {lost_time_s:g} s and minimum greens {sum(min_green_s):g} s need a cycle of "
            f"{needed_s:g} s, the longest allowed is {longest_s:g} s: raise it or lower the minimums"
        )
    total_ratio = sum(flow_ratios)
    cycle_s = min(max(webster_cycle_s(total_ratio, lost_time_s), shortest_s, needed_s), longest_s)
    greens = proportional_greens_s(flow_ratios, cycle_s - lost_time_s, min_green_s)
    return WebsterPlan(
        cycle_s=cycle_s, green_s=greens, lost_time_s=lost_time_s, critical_flow_ratio=total_ratio
    )


def cycle_for_saturation_s(
    critical_flow_ratios: Sequence[float], lost_time_s: float, target_vc_ratio: float
) -> float:
    """Return the cycle that brings the critical v/c ratio to a target: L X / (X − Σy) (HCM 7, Eq. 31-68).

    Infinite when the flow ratios add up to the target or more.
    """
    _check_flow_ratios(critical_flow_ratios, lost_time_s)
    margin = target_vc_ratio - sum(critical_flow_ratios)
    return lost_time_s * target_vc_ratio / margin if margin > 0.0 else math.inf


def critical_vc_ratio(critical_flow_ratios: Sequence[float], lost_time_s: float, cycle_s: float) -> float:
    """Return X_c, the v/c of an intersection with its greens shared out perfectly (HCM 7, Eq. 19-30)."""
    _check_flow_ratios(critical_flow_ratios, lost_time_s)
    if cycle_s <= lost_time_s:
        return math.inf
    return sum(critical_flow_ratios) * cycle_s / (cycle_s - lost_time_s)


def pretimed_green_s(critical_flow_ratio: float, cycle_s: float, vc_ratio: float) -> float:
    """Return the effective green that gives a critical phase this v/c ratio: y C / X (HCM 7, Eq. 31-69)."""
    if vc_ratio <= 0.0:
        raise ValueError(f"target v/c ratio {vc_ratio:g}: expected more than 0")
    return critical_flow_ratio * cycle_s / vc_ratio


def _check_flow_ratios(flow_ratios: Sequence[float], lost_time_s: float) -> None:
    if any(ratio < 0.0 for ratio in flow_ratios):
        raise ValueError(f"flow ratios {list(flow_ratios)}: expected 0 or more")
    if lost_time_s < 0.0:
        raise ValueError(f"lost time {lost_time_s:g} s: expected 0 or more")
