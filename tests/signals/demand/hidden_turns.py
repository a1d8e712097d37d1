"""A demand whose turns are hidden from the estimates: what is known of it, and how far off an estimate is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from signals.demand.margins import approaches_of, movements_of
from signals.demand.proportions import default_shares
from signals.model.counts import CountTable
from signals.model.network import Network

Floats = NDArray[np.float64]

MONDAY = np.datetime64("2026-03-02T00:00", "m")


def table(
    names: tuple[str, ...], values: Floats, step_min: int = 15, start: np.datetime64 = MONDAY
) -> CountTable:
    return CountTable(names, start, step_min, np.asarray(values, dtype=np.float64))


def wape(truth: CountTable, flows: Floats) -> float:
    return float(np.abs(flows - truth.values).sum() / truth.values.sum())


def geh_share(truth: CountTable, flows: Floats) -> float:
    """Share of movements and intervals with GEH below 5, of hourly flows (FHWA Traffic Analysis Toolbox III)."""
    c, m = 4 * truth.values, 4 * flows
    return float((np.sqrt(2 * (m - c) ** 2 / np.maximum(m + c, 1e-9)) < 5).mean())


def by_prior(network: Network, truth: CountTable, inflow: CountTable) -> Floats:
    """The naive estimate: default shares of each approach's count."""
    shares, approach = default_shares(movements_of(network)), approaches_of(network)
    return np.column_stack([shares[m] * inflow.select([approach[m]]).values[:, 0] for m in truth.names])
