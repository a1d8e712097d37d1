"""Keep, adjust, or switch: what the queue simulator says of each over the next half hour, and which is worth a change.

Candidates are found on a few draws of what may come and told apart on fresh ones, with the seconds at which each signal
would really change. A change must win by more than noise and by more than a share of the delay: the queue simulator
isn't the street, and each change costs progression for a while.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from signals.model.phasing import SignalProgram
from signals.operation.transitions import switch_to
from signals.timing.moves import move
from signals.timing.outlook import Outlook
from signals.timing.problem import Choice, Judged, Solution, at_cycle
from signals.timing.search import delay_by_signal

MARGIN = 0.05
"""Share of the delay by which a change must win, beside twice the standard error of what it saves."""
AGAIN = 1.5
"""So many times the margin in the slot after a change: a plan is given time to show what it is worth."""
EVALUATIONS = 1000
"""Moves tried in a slot."""
WALKS = 3
HEAT = 0.004
"""Mean share by which a move that is taken may be worse at first."""
SLACK = 0.01
"""Share by which a move may be worse on the first draw to be tried on the others."""
CYCLE_STEPS = (0.7, 0.85, 1.0, 1.15, 1.35)
"""Cycles for which splits and offsets are made anew for what is expected, over the one in force."""


class Kind(StrEnum):
    """What may be done at the end of a slot."""

    KEEP = "keep"
    ADJUST = "adjust"
    SWITCH = "switch"


@dataclass(frozen=True)
class Proposal:
    """Programs of the signals that would change, and when each would; `name` says where they come from."""

    kind: Kind
    name: str
    solution: Solution
    programs: Mapping[str, SignalProgram]
    starts: Mapping[str, float]
    by_draw: tuple[float, ...]

    @property
    def value(self) -> float:
        """The objective's mean over the fresh draws."""
        return float(np.mean(self.by_draw))


@dataclass(frozen=True)
class Decision:
    """What was decided and why; `gain` is the share of the delay that a change is expected to save, at least `surely`.

    `best` is the best of the changes, chosen or not; None where there was none.
    """

    chosen: Proposal
    kept: Proposal
    best: Proposal | None
    gain: float
    surely: float
    why: str


def decide(
    outlook: Outlook,
    current: Solution,
    library: Mapping[str, Solution],
    *,
    seed: int,
    evaluations: int = EVALUATIONS,
    changed_lately: bool = False,
    margin: float = MARGIN,
) -> Decision:
    """What to do about the next slot."""
    generator = np.random.default_rng((seed, int(outlook.now_s), 99))
    starts = [(Kind.ADJUST, "the plan in force", outlook.judge(current))]
    others = {**library, **_made_anew(outlook, current)}
    tried = [
        (Kind.SWITCH, name, outlook.judge(solution))
        for name, solution in others.items()
        if _allowed(outlook, solution)
    ]
    tried.sort(key=lambda found: found[2].value)
    starts += tried[: WALKS - 1]
    proposals = []
    for kind, name, start in starts:
        best = _walk(outlook, start, evaluations // len(starts), generator)
        proposals.append(_proposal(outlook, kind, name, best.solution, current))
    proposals += [_proposal(outlook, kind, name, found.solution, current) for kind, name, found in tried[:1]]
    kept = Proposal(Kind.KEEP, "keep", current, {}, {}, outlook.worth({}, {}))
    changes = [p for p in proposals if p is not None]
    if not _allowed(outlook, current):
        changes = [p for p in changes if _allowed(outlook, p.solution)]
        return _forced(kept, changes)
    return _chosen(kept, changes, margin * (AGAIN if changed_lately else 1.0))


def _allowed(outlook: Outlook, solution: Solution) -> bool:
    """Whether every cycle is within the longest one: a policy may forbid the plan in force."""
    problem = outlook.problem
    return all(problem.cycle_s(s, c) <= problem.longest_cycle_s(s) for s, c in solution.items())


def _forced(kept: Proposal, changes: Sequence[Proposal]) -> Decision:
    """The best change, whatever it costs, where the plan in force isn't allowed."""
    if not changes:
        return Decision(kept, kept, None, 0.0, 0.0, "no change keeps to the longest cycle")
    best = min(changes, key=lambda p: p.value)
    gain, surely = _gain(kept, best)
    return Decision(best, kept, best, gain, surely, f"from {best.name}, since the cycle in force is too long")


def _gain(kept: Proposal, change: Proposal) -> tuple[float, float]:
    """Share of the delay that a change saves: the mean over the draws, and that less twice its standard error."""
    saved = (np.array(kept.by_draw) - np.array(change.by_draw)) / max(kept.value, 1e-9)
    error = float(saved.std(ddof=1)) / math.sqrt(len(saved)) if len(saved) > 1 else math.inf
    return float(saved.mean()), float(saved.mean()) - 2.0 * error


def _chosen(kept: Proposal, changes: Sequence[Proposal], margin: float) -> Decision:
    if not changes or kept.value <= 0.0:
        return Decision(kept, kept, None, 0.0, 0.0, "there is nothing to change")
    best = min(changes, key=lambda p: p.value)
    gain, surely = _gain(kept, best)
    if gain < margin:
        return Decision(kept, kept, best, gain, surely, f"no change saves {100 * margin:g} % of the delay")
    if surely <= 0.0:
        return Decision(kept, kept, best, gain, surely, "what a change saves can't be told from noise")
    return Decision(best, kept, best, gain, surely, f"from {best.name}")


def _made_anew(outlook: Outlook, current: Solution) -> dict[str, Solution]:
    """Splits by HCM and offsets by dispersion for what is expected, at cycles about the one in force."""
    problem = outlook.problem
    orders = {s: c.order for s, c in current.items()}
    cycles = sorted(problem.cycle_s(s, c) for s, c in current.items())
    if not cycles:
        return {}
    middle = cycles[len(cycles) // 2]
    return {
        f"splits made anew at {round(step * middle)} s": at_cycle(problem, orders, round(step * middle))
        for step in CYCLE_STEPS
    }


def _walk(outlook: Outlook, start: Judged, evaluations: int, generator: np.random.Generator) -> Judged:
    """The best found by small moves from a start, some taken though they are a little worse, ever fewer."""
    best = here = start
    weights = delay_by_signal(outlook.problem, here)
    for n in range(evaluations):
        candidate = move(outlook.problem, here.solution, weights, generator)
        if candidate is None:
            continue
        heat = HEAT * (1.0 - n / evaluations) * float(generator.standard_exponential())
        found = outlook.judge_beside(here, candidate, heat, SLACK)
        if found is not None:
            here = found
            weights = delay_by_signal(outlook.problem, here)
            best = min(best, here, key=lambda j: j.value)
    return best


def _proposal(
    outlook: Outlook, kind: Kind, name: str, solution: Solution, current: Solution
) -> Proposal | None:
    """A solution with real seconds of change, tried on the fresh draws; None where nothing can change."""
    problem = outlook.problem
    programs: dict[str, SignalProgram] = {}
    starts: dict[str, float] = {}
    reached: dict[str, Choice] = dict(current)
    for signal, choice in solution.items():
        if choice == current.get(signal):
            continue
        least = {s.state: s.min_s for s in problem.base[signal].stages}
        wanted = problem.program(signal, choice)
        switch = switch_to(outlook.programs[signal], wanted, outlook.now_s, least)
        if switch is None:
            continue
        moved = int(switch.program.offset_s - wanted.offset_s)
        programs[signal], starts[signal] = switch.program, switch.time_s
        reached[signal] = Choice(
            choice.order, choice.green_s, (choice.offset_s + moved) % problem.cycle_s(signal, choice)
        )
    if not programs:
        return None
    return Proposal(kind, name, reached, programs, starts, outlook.worth(programs, starts))
