"""How long links wait at red: under their program, and the longest that a hold may let them."""

from __future__ import annotations

import math
from collections.abc import Iterable

from signals.model.phasing import GREEN, SignalProgram
from signals.safety.timeline import unroll_between

LONGEST_RED_S = 180.0
"""No link waits longer for the ambulance's sake, unless its program lets it wait nearly as long."""
LEAST_ADDED_S = 60.0
"""So much may be added to any red of the program."""


def longest_reds(rows: Iterable[tuple[float, str]], n_links: int) -> list[float]:
    """The longest time without green after a first one, by link, over rows of (duration, state) [s].

    A red that the last row cuts counts as far as it goes; a link that is never green has none.
    """
    longest = [0.0] * n_links
    ended: list[float | None] = [None] * n_links
    now = 0.0
    for duration, state in rows:
        now += duration
        for i, letter in enumerate(state):
            since = ended[i]
            if letter in GREEN:
                ended[i] = now
            elif since is not None:
                longest[i] = max(longest[i], now - since)
    return longest


def red_bounds(program: SignalProgram, longest_red_s: float) -> tuple[float, ...]:
    """The longest red that each link may have, by link [s]; infinite where the program never serves it.

    That is `longest_red_s`, but at least `LEAST_ADDED_S` and at most one cycle more than the program's own.
    """
    cycle_s = program.cycle_s
    own = longest_reds(unroll_between(program, 0.0, 3 * cycle_s), program.n_links)
    served = [any(interval.state[i] in GREEN for interval in program.intervals) for i in range(len(own))]
    return tuple(
        min(max(longest_red_s, red + LEAST_ADDED_S), red + cycle_s) if serves else math.inf
        for red, serves in zip(own, served, strict=True)
    )
