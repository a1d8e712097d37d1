"""What a night says in words: movements, times of day, and why a stage gains or loses seconds."""

from __future__ import annotations

from collections.abc import Iterable

from signals.diagrams.groups import TURN_ORDER, approach_names
from signals.model.network import Network, Turn
from signals.model.night import Change

_TURNS = {Turn.LEFT: "left", Turn.THROUGH: "through", Turn.RIGHT: "right", Turn.U_TURN: "U-turn"}
LEAST_CHANGE_S = 0.5
"""Plan times are whole seconds: less than half of one is no change."""
LEAST_DEMAND_PERCENT = 1.0
"""Below this demand is said to be the same."""


def clock(minutes: int) -> str:
    """A minute of the day as engineers write it, 24:00 at its end."""
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def span(begin_min: int, end_min: int) -> str:
    """A part of the day, such as 06:30–09:00."""
    return f"{clock(begin_min)}–{clock(end_min)}"


def movements_text(network: Network, signal: str, movements: Iterable[str]) -> str:
    """Movements by approach, such as ``EB, WB left/through``; an approach stands alone where all its turns are meant.

    An id that the network lacks stays as it is.
    """
    intersection = network.intersections.get(signal)
    if intersection is None:
        return ", ".join(movements)
    names = approach_names(intersection)
    known = {m.id: m for m in intersection.movements}
    turns: dict[str, list[Turn]] = {}
    strangers = []
    for movement_id in movements:
        movement = known.get(movement_id)
        if movement is None:
            strangers.append(movement_id)
        else:
            turns.setdefault(names.get(movement.approach, movement.approach), []).append(movement.turn)
    every: dict[str, set[Turn]] = {}
    for movement in intersection.movements:
        if movement.turn is not Turn.U_TURN:
            every.setdefault(names.get(movement.approach, movement.approach), set()).add(movement.turn)
    parts = [
        approach
        if len(turns[approach]) > 1 and every.get(approach, set()) <= set(turns[approach])
        else f"{approach} {'/'.join(_TURNS[t] for t in TURN_ORDER if t in turns[approach])}"
        for approach in sorted(turns)
    ]
    return ", ".join([*parts, *strangers])


def change_text(network: Network, signal: str, change: Change, cycle_change_s: float | None) -> str:
    """What a stage gains or loses and why, as one clause; empty where it keeps its green.

    The reason is demand where it moved the same way; else the cycle; else that other stages had more need.
    """
    gained_s = change.to_s - change.from_s
    if abs(gained_s) < LEAST_CHANGE_S:
        return ""
    whom = movements_text(network, signal, change.movements)
    stage = f"stage {change.stage}" + (f" ({whom})" if whom else "")
    if change.from_s <= 0.0:
        return f"{stage} is new, with {change.to_s:.0f} s"
    if change.to_s <= 0.0:
        return f"{stage} is left out, {change.from_s:.0f} s before"
    verb = "gains" if gained_s > 0 else "loses"
    return f"{stage} {verb} {abs(gained_s):.0f} s: {_reason(gained_s, change.demand_percent, cycle_change_s)}"


def _reason(gained_s: float, demand_percent: float | None, cycle_change_s: float | None) -> str:
    demand = _demand_text(demand_percent)
    moved = demand_percent is not None and abs(demand_percent) >= LEAST_DEMAND_PERCENT
    if demand_percent is not None and moved and (demand_percent > 0) == (gained_s > 0):
        return demand
    if cycle_change_s and (cycle_change_s > 0) == (gained_s > 0):
        cause = f"the cycle is {'longer' if cycle_change_s > 0 else 'shorter'}"
    elif gained_s > 0:
        cause = "they save more here than in other stages"
    else:
        cause = "they save more in other stages"
    return f"{cause}, {'though ' if moved else ''}{demand}" if demand else cause


def _demand_text(demand_percent: float | None) -> str:
    if demand_percent is None:
        return ""
    if abs(demand_percent) < LEAST_DEMAND_PERCENT:
        return "its demand is the same"
    return f"its demand {'rose' if demand_percent > 0 else 'fell'} {abs(demand_percent):.0f} %"
