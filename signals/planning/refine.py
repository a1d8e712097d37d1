"""Polishing with SUMO itself: small changes of a solution, raced on paired seeds against where it stands.

The queue simulator screens: what it finds clearly worse isn't run. What is left runs seed by seed, in an order drawn
anew each round, and drops out once it is behind on the seeds so far. A change is kept when it is better over
all seeds, the worst one weighed in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from signals.model.plan import PlanRequest, PlanSet
from signals.planning.race import Course, Entrant
from signals.timing.moves import move
from signals.timing.problem import Judged, Problem, Solution, judge
from signals.timing.search import delay_by_signal

REFINE_SEEDS = 6
BATCH = 4
"""Changes raced against each other in a round; a constant, so that jobs don't change what is found."""
STEPS = (1, 2, 3, REFINE_SEEDS)
"""Seeds after which who is behind drops out."""
SLACK = (0.01, 0.004, 0.002)
"""Shares by which a change may be behind after the first so many seeds."""
MODEL_SLACK = 0.06
"""Share by which a change may be worse in the queue simulator, which errs by about as much."""
DRAWS_PER_ROUND = 40
SECOND_MOVE = 0.4
"""Share of changes that are two moves at once."""


def refine(
    course: Course,
    problem: Problem,
    leaders: Sequence[tuple[Judged, Entrant]],
    seeds: Sequence[int],
    plans_of: Callable[[Solution], PlanSet],
    is_safe: Callable[[PlanSet], bool],
    time_left: Callable[[], bool],
    report: Callable[[], None],
) -> Entrant:
    """The best that changes of the best leader lead to before `time_left` says no, run with all `seeds`."""
    request = problem.request
    course.run([e for _, e in leaders], seeds)
    stands, here = min(leaders, key=lambda pair: pair[1].worth(request, seeds))
    generator = np.random.default_rng((request.seed, 20261125))
    number = 0
    while time_left():
        changes = _changes(problem, stands, generator)
        if not changes:
            break
        order = [seeds[k] for k in generator.permutation(len(seeds))]
        trials = []
        for change in changes:
            number += 1
            trials.append(
                (change, Entrant(f"refined, change {number}", plans_of(change.solution), change.value))
            )
        alive = _raced(course, request, here, trials, order)
        for found, entrant in sorted(alive, key=lambda pair: pair[1].worth(request, seeds)):
            if entrant.plans is not None and is_safe(entrant.plans):
                stands, here = found, entrant
                break
        report()
    return here


def _raced(
    course: Course,
    request: PlanRequest,
    here: Entrant,
    trials: Sequence[tuple[Judged, Entrant]],
    order: Sequence[int],
) -> list[tuple[Judged, Entrant]]:
    """Those that are not behind `here` after any step, run with all seeds."""
    alive = list(trials)
    for n, slack in zip(STEPS, (*SLACK, 0.0), strict=True):
        course.run([e for _, e in alive], order[:n])
        limit = here.worth(request, order[:n]) * (1.0 + slack)
        alive = [pair for pair in alive if pair[1].worth(request, order[:n]) < limit]
        if not alive:
            break
    return alive


def _changes(problem: Problem, stands: Judged, generator: np.random.Generator) -> list[Judged]:
    """Changes that the queue simulator doesn't find clearly worse, BATCH of them or fewer."""
    weights = delay_by_signal(problem, stands)
    found: list[Judged] = []
    for _ in range(DRAWS_PER_ROUND):
        candidate = move(problem, stands.solution, weights, generator)
        if candidate is not None and generator.random() < SECOND_MOVE:
            candidate = move(problem, candidate, weights, generator) or candidate
        if candidate is None or any(candidate == f.solution for f in found):
            continue
        seen = judge(problem, candidate)
        if seen.value < stands.value * (1.0 + MODEL_SLACK):
            found.append(seen)
        if len(found) == BATCH:
            break
    return found
