"""From what was counted to what may come: draws of traffic for the queue simulator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from signals.model.demand import Demand
from signals.model.network import Network
from signals.model.phasing import SignalProgram
from signals.operation.knowledge import Knowledge
from signals.operation.street import Observed
from signals.timing.outlook import Outlook, Table, lay_traffic
from signals.timing.problem import BUSY_DAY_SHARE

AHEAD_S = 1800.0
"""Traffic of so long ahead is drawn: what is decided now still acts then."""
DRAIN_S = 600.0
"""It is followed for so much longer, so that a queue left behind is paid for."""
SEARCH_DRAWS = 3
FRESH_DRAWS = 10
BUSIER = 1.0 + BUSY_DAY_SHARE
"""Every other draw has so many times the traffic: what lies beside the edge of capacity must not win."""
SATURATED_SHARE = 0.4
"""An approach with so much of its room taken, before and after, had a queue all along."""
SPACE_M = 7.5


def look_ahead(
    knowledge: Knowledge,
    programs: Mapping[str, SignalProgram],
    observed: Observed | None,
    now_s: float,
    end_s: float,
    tables: dict[object, Table],
) -> Outlook:
    """The outlook at a time. A silent lane is closed in two of three draws: nobody knows for how long."""
    problem, expectation = knowledge.problem, knowledge.expectation
    seed = problem.request.seed
    last = min(now_s + AHEAD_S, end_s)
    present = observed.present or {} if observed is not None else {}
    silent = observed.silent if observed is not None else ()
    draws = []
    for k in range(SEARCH_DRAWS + FRESH_DRAWS):
        generator = np.random.default_rng((seed, int(now_s), k))
        vehicles = expectation.draw_present(present, now_s, generator)
        vehicles += expectation.draw(now_s, last, generator, BUSIER if k % 2 else 1.0)
        draws.append(
            lay_traffic(
                problem,
                Demand(now_s, last, tuple(vehicles), expectation.types),
                seed * 1000 + k,
                saturation=knowledge.feedback.saturation.factor,
                closed=tuple(silent) if k % 3 else (),
            )
        )
    ahead = replace(
        problem, begin_s=now_s, end_s=min(last + DRAIN_S, end_s), flows_vph=_flows(knowledge, now_s)
    )
    return Outlook(ahead, programs, now_s, draws[:SEARCH_DRAWS], draws[SEARCH_DRAWS:], draws[::2], tables)


def saturated(network: Network, before: Observed, after: Observed) -> tuple[str, ...]:
    """Approaches that had a queue from the begin of a slot to its end."""
    if before.present is None or after.present is None:
        return ()
    found = []
    for edge in after.passed:
        room = sum(lane.length_m for lane in network.edges[edge].lanes) / SPACE_M
        fewest = min(before.present.get(edge, 0.0), after.present.get(edge, 0.0))
        if fewest >= max(4.0, SATURATED_SHARE * room):
            found.append(edge)
    return tuple(found)


def _flows(knowledge: Knowledge, now_s: float) -> Mapping[str, Mapping[str, float]]:
    """Expected flow of each movement [veh/h]: the typical one of the time, at the level of all entries."""
    counts = knowledge.problem.counts
    k = min(max(int((now_s - counts.begin_s) // counts.interval_s), 0), counts.n_intervals - 1)
    hourly = knowledge.expectation.level(None, 0.0) * 3600.0 / counts.interval_s
    return {
        signal: {movement: row[k] * hourly for movement, row in rows.items()}
        for signal, rows in counts.counts.items()
    }
