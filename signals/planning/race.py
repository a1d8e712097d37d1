"""Plans raced in SUMO: the same seeds for each, and the field narrowed as it goes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from signals.formats.sumo.config import Scenario
from signals.formats.sumo.programs import write_plans
from signals.model.plan import PlanRequest, PlanSet
from signals.simulation.run import RunResult, RunSpec, simulate_many
from signals.timing.objective import weighed
from signals.timing.problem import BUSY_DAY_SHARE, WORST_SHARE

Progress = Callable[[str, int, int], None]
"""Called with the step's name, how much of it is done, and how much there is."""

FINALISTS = 2
CLEARLY_WORSE = 1.15
"""An entrant behind the leader by this factor after the first seed runs no further."""
INCIDENT_PRICE = 0.05
"""Share of the objective's mean that each teleport and each emergency stop counts for."""


@dataclass(frozen=True)
class Raced:
    """How a candidate fared in simulation: mean delay [s/veh] and stops of everybody due, seed by seed.

    `modelled` is what the search's simulator says of it, in the unit of the request's objective. Without any run
    the means are NaN.
    """

    name: str
    modelled: float
    delays_s: tuple[float, ...]
    stops: tuple[float, ...]
    teleports: int
    emergency_stops: int

    @property
    def mean_s(self) -> float:
        """Mean delay over the seeds."""
        return float(np.mean(self.delays_s)) if self.delays_s else float("nan")

    @property
    def mean_stops(self) -> float:
        """Mean over the seeds of stops a vehicle."""
        return float(np.mean(self.stops)) if self.stops else float("nan")


@dataclass(eq=False)
class Entrant:
    """A plan set in a race, with a run by seed. Without plans it is the scenario as its files say."""

    name: str
    plans: PlanSet | None
    modelled: float = float("nan")
    results: dict[int, RunResult] = field(default_factory=dict)

    def worth(self, request: PlanRequest, seeds: Sequence[int]) -> float:
        """The objective's mean over seeds, with a share of the worst one's excess and a price on incidents.

        Incidents are teleports and emergency stops.
        """
        rows = [self.results[s] for s in seeds]
        values = [weighed(request, r.mean_delay_s, r.stops_per_vehicle) for r in rows]
        mean = float(np.mean(values))
        incidents = sum(r.teleports + r.emergency_stops for r in rows) / len(rows)
        return mean + WORST_SHARE * (max(values) - mean) + INCIDENT_PRICE * mean * incidents

    def raced(self, seeds: Sequence[int]) -> Raced:
        """The figures of the runs made with these seeds."""
        rows = [self.results[s] for s in seeds if s in self.results]
        return Raced(
            self.name,
            self.modelled,
            tuple(r.mean_delay_s for r in rows),
            tuple(r.stops_per_vehicle for r in rows),
            sum(r.teleports for r in rows),
            sum(r.emergency_stops for r in rows),
        )


def training_seeds(request: PlanRequest, n: int) -> tuple[int, ...]:
    """Seeds of the race: drawn from the request's own, far from the small numbers people compare with."""
    generator = np.random.default_rng((request.seed, 20261122))
    return tuple(int(s) for s in generator.integers(10**6, 2**31 - 1, n))


@dataclass
class Course:
    """Where plan sets are simulated: a scenario, a folder for plan files, and so many runs at once.

    With the seeds that are `busy` there is more demand, as on the busy days of the search.
    """

    scenario: Scenario
    folder: Path
    jobs_at_once: int
    busy: Collection[int] = ()
    runs: int = 0
    written: int = 0

    def run(
        self,
        entrants: Sequence[Entrant],
        seeds: Sequence[int],
        on_done: Callable[[int, int], None] = lambda _done, _of: None,
    ) -> None:
        """Simulate each entrant with each seed that it hasn't been run with; `on_done(done, of)` after each run."""
        todo = [(e, s) for e in entrants for s in seeds if s not in e.results]
        files = {number: self._files(e) for number, e in {id(e): e for e, _ in todo}.items()}
        busier = ("--scale", f"{self.scenario.scale * (1.0 + BUSY_DAY_SHARE):g}")
        specs = [
            RunSpec(self.scenario, s, files[id(e)], light=True, extra=busier if s in self.busy else ())
            for e, s in todo
        ]
        done = 0

        def count(_index: int, _result: RunResult) -> None:
            nonlocal done
            done += 1
            on_done(done, len(specs))

        results = simulate_many(specs, jobs_at_once=self.jobs_at_once, on_done=count)
        for (entrant, seed), result in zip(todo, results, strict=True):
            entrant.results[seed] = result
        self.runs += len(specs)
        for paths in files.values():
            for path in paths:
                path.unlink()

    def _files(self, entrant: Entrant) -> tuple[Path, ...]:
        if entrant.plans is None:
            return ()
        path = self.folder / f"{self.written}.add.xml"
        self.written += 1
        write_plans(entrant.plans, path)
        return (path,)


def race(
    course: Course, request: PlanRequest, entrants: Sequence[Entrant], seeds: Sequence[int], report: Progress
) -> list[Entrant]:
    """Simulate each entrant with the first seed, those close to the lead with the others; return these.

    The first entrant is the plan in place; it runs on unless it is far behind.
    """
    course.run(entrants, seeds[:1], lambda done, of: report("racing in SUMO", done, of))
    order = sorted(entrants, key=lambda e: e.worth(request, seeds[:1]))
    finalists = [e for e in order if e is not entrants[0]][:FINALISTS]
    if entrants[0].worth(request, seeds[:1]) <= CLEARLY_WORSE * order[0].worth(request, seeds[:1]):
        finalists = [entrants[0], *finalists]
    course.run(finalists, seeds[1:], lambda done, of: report("racing the finalists", done, of))
    return finalists
