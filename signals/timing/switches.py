"""When a signal may change from one program to the next so that nobody is harmed."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from signals.errors import InputError
from signals.model.phasing import CHANGE, GREEN, SignalProgram

MIN_GREEN_S = 5.0
STAGE_S = 5.0
"""A state without yellow in which a green begins and which lasts this long is a stage and no change."""
TOLERANCE_S = 1e-6


def safe_switch_time(
    old: SignalProgram,
    new: SignalProgram,
    after_s: float,
    *,
    min_green_s: float | Mapping[str, float] = MIN_GREEN_S,
    horizon_s: float = 1800.0,
) -> float | None:
    """First whole second from `after_s` on at which a signal may change from one program to another.

    The change is SUMO's WAUT without a procedure: from that second on the new program shows what it shows
    at (t − offset) modulo its cycle. It harms nobody where

    * both programs show the same state throughout the second before t, and the new one throughout the second
      after; a state without yellow and with a green;
    * that state lasts, elapsed part in the old program plus rest in the new one, at least its min green and
      at most the longer of the two cycles;
    * no intergreen across the switch is shorter than where the programs show it themselves: a state in which
      one program clears a crossing or the intersection may be settled green in the other.

    Parameters
    ----------
    min_green_s
        Least duration of the state [s], or a mapping from state to it (`MIN_GREEN_S` for states not named).
        It counts no further than the longer of the two programs' own times of that state. Name the minimum of
        a state with a walk signal: crossings aren't known here.
    horizon_s
        How long after `after_s` to look.

    Returns
    -------
    The time [s], or None where the horizon holds none: look at a longer one, or move the new plan's offset.

    Raises
    ------
    InputError
        Where the programs are empty or have states of different length.
    """
    for program in (old, new):
        if not program.intervals or program.cycle_s <= 0:
            raise InputError(
                f"signal {program.intersection}: program {program.program} shows nothing; give it phases"
            )
    if old.n_links != new.n_links:
        raise InputError(
            f"signal {old.intersection}: programs {old.program} and {new.program} have {old.n_links} and "
            f"{new.n_links} links; a switch needs two programs of one signal"
        )
    before, after = _Shown(old), _Shown(new)
    intergreens: dict[tuple[int, int], float] | None = None
    longest_s = max(old.cycle_s, new.cycle_s)
    first = math.ceil(after_s - TOLERANCE_S)
    for second in range(first, math.floor(after_s + horizon_s + TOLERANCE_S) + 1):
        k, since_s, _ = before.at(second)
        m, new_since_s, left_s = after.at(second)
        state = before.runs[k][1]
        if state != after.runs[m][1] or not _settled(state):
            continue
        # a second on both sides: SUMO's step from t to t + 1 shows what is in force at its end
        if min(since_s, new_since_s, left_s) < 1.0 - TOLERANCE_S:
            continue
        if len(before.runs) > 1 or len(after.runs) > 1:
            least_s = min_green_s.get(state, MIN_GREEN_S) if isinstance(min_green_s, Mapping) else min_green_s
            least_s = min(least_s, max(before.longest_s(state), after.longest_s(state)))
            if not least_s - TOLERANCE_S <= since_s + left_s <= longest_s + TOLERANCE_S:
                continue
            if intergreens is None:
                intergreens = _intergreens(before, after)
            if _cut_intergreen(before, after, second, intergreens):
                continue
        return float(second)
    return None


def _settled(state: str) -> bool:
    return any(c in GREEN for c in state) and not any(c in CHANGE for c in state)


class _Shown:
    """A program as runs of (duration [s], state), neighbours different, around the cycle."""

    def __init__(self, program: SignalProgram) -> None:
        runs: list[tuple[float, str]] = []
        start_s = program.offset_s
        for interval in program.intervals:
            if interval.duration_s <= 0:
                continue
            if runs and runs[-1][1] == interval.state:
                runs[-1] = (runs[-1][0] + interval.duration_s, interval.state)
            else:
                runs.append((interval.duration_s, interval.state))
        if len(runs) > 1 and runs[0][1] == runs[-1][1]:
            duration_s, state = runs.pop()
            runs[0] = (runs[0][0] + duration_s, state)
            start_s -= duration_s
        self.runs = runs
        self.start_s = start_s
        self.cycle_s = sum(duration_s for duration_s, _ in runs)
        ends = np.cumsum([duration_s for duration_s, _ in runs])
        self._ends = [float(e) for e in ends]

    def at(self, time_s: float) -> tuple[int, float, float]:
        """Run shown at a time, seconds since it began, and seconds that it still lasts."""
        position = (time_s - self.start_s) % self.cycle_s
        for k, end_s in enumerate(self._ends):
            if position < end_s - TOLERANCE_S:
                return k, position - end_s + self.runs[k][0], end_s - position
        return 0, 0.0, self.runs[0][0]

    def longest_s(self, state: str) -> float:
        """Longest time for which a state is shown."""
        return max((duration_s for duration_s, shown in self.runs if shown == state), default=0.0)

    def ended(self, run: int, link: int, since_s: float) -> float | None:
        """Seconds since the last green of a link, seen from `since_s` into a run; None where it has none."""
        for back in range(1, len(self.runs) + 1):
            duration_s, state = self.runs[(run - back) % len(self.runs)]
            if state[link] in GREEN:
                return since_s
            since_s += duration_s
        return None

    def begins(self, run: int, link: int, left_s: float) -> float | None:
        """Seconds to the next green of a link, seen `left_s` before a run's end; None where it has none."""
        for ahead in range(1, len(self.runs) + 1):
            duration_s, state = self.runs[(run + ahead) % len(self.runs)]
            if state[link] in GREEN:
                return left_s
            left_s += duration_s
        return None


def _intergreens(a: _Shown, b: _Shown) -> dict[tuple[int, int], float]:
    """Seconds from the end of green of a link to the start of another's, the shortest of both programs.

    Only pairs that no program shows green together. Where a stage lies between the two in both programs, the
    time says little about what the pair needs: it counts as the longest that a pair without one between has.
    """
    shortest: dict[tuple[int, int], float] = {}
    direct: set[tuple[int, int]] = set()
    together: set[tuple[int, int]] = set()
    n_links = len(a.runs[0][1])
    for shown in (a, b):
        n = len(shown.runs)
        for _, state in shown.runs:
            green = [i for i in range(n_links) if state[i] in GREEN]
            together.update((i, j) for i in green for j in green)
        for k, (_, state) in enumerate(shown.runs):
            following = shown.runs[(k + 1) % n][1]
            ending = [i for i in range(n_links) if state[i] in GREEN and following[i] not in GREEN]
            already = {i for i in range(n_links) if state[i] in GREEN}
            gap_s, between = 0.0, False
            waiting = {j for j in range(n_links) if state[j] not in GREEN} if ending else set()
            for ahead in range(1, n + 1):
                duration_s, later = shown.runs[(k + ahead) % n]
                starting = [j for j in sorted(waiting) if later[j] in GREEN]
                waiting.difference_update(starting)
                for i in ending:
                    for j in starting:
                        shortest[i, j] = min(gap_s, shortest.get((i, j), math.inf))
                        if not between:
                            direct.add((i, j))
                ending = [i for i in ending if later[i] not in GREEN]
                if not ending or not waiting:
                    break
                gap_s += duration_s
                begins = any(c in GREEN and i not in already for i, c in enumerate(later))
                between = between or (begins and _settled(later) and duration_s >= STAGE_S)
    shortest = {pair: gap_s for pair, gap_s in shortest.items() if pair not in together}
    cap_s = max((gap_s for pair, gap_s in shortest.items() if pair in direct), default=math.inf)
    return {pair: gap_s if pair in direct else min(gap_s, cap_s) for pair, gap_s in shortest.items()}


def _cut_intergreen(
    before: _Shown, after: _Shown, second: float, intergreens: Mapping[tuple[int, int], float]
) -> bool:
    """Whether a switch at this second leaves some pair of links less time than it has in the programs."""
    k, since_s, _ = before.at(second)
    m, _, left_s = after.at(second)
    state = before.runs[k][1]
    red = [i for i, c in enumerate(state) if c not in GREEN]
    ended = {i: before.ended(k, i, since_s) for i in red}
    begins = {j: after.begins(m, j, left_s) for j in red}
    for i, gone_s in ended.items():
        if gone_s is None:
            continue
        for j, ahead_s in begins.items():
            if ahead_s is not None and gone_s + ahead_s < intergreens.get((i, j), 0.0) - TOLERANCE_S:
                return True
    return False
