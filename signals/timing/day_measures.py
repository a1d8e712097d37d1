"""What HCM says of one plan of a signal through a day: delay and v/c, slot by slot."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kernels.arrays import F8
from kernels.day_costs import slot_costs
from kernels.lane_cost import Goal
from signals.timing.objective import ANALYSIS_PERIOD_H
from signals.timing.signal_day import SignalDay


@dataclass(frozen=True, eq=False)
class DayMeasures:
    """By slot, float64[S]: vehicles that wait on average, vehicles that come [veh/h], and the highest v/c of a lane."""

    waiting_veh: F8
    flow_vph: F8
    vc: F8

    def delay_s(self, first: int, last: int) -> float:
        """Mean delay of who comes in the slots first … last − 1 [s/veh]; 0 where nobody does."""
        vph = float(self.flow_vph[first:last].sum())
        return 3600.0 * float(self.waiting_veh[first:last].sum()) / vph if vph > 0 else 0.0


def measure_day(signal: SignalDay, cycle_s: float, green_s: F8) -> DayMeasures:
    """The measures of a plan shown all day; `green_s` is float64[n_stage], s."""
    # kernels take whole seconds: what a program in place has beyond them is in the changes
    whole = np.rint(green_s)
    rest = np.einsum("tkl,k->tl", signal.share, green_s - whole)
    day = replace(signal, fixed_s=signal.fixed_s + rest).arrays
    waiting = np.empty(len(signal.flow))
    slot_costs(day, Goal(1.0, 0.0, ANALYSIS_PERIOD_H), whole.astype(np.int64), float(cycle_s), waiting)
    effective = np.clip(day.fixed + np.einsum("tkl,k->tl", day.share, whole), 1e-9, cycle_s)
    vc = day.flow_vps * cycle_s / (day.saturation_vps * effective)
    return DayMeasures(waiting, 3600.0 * signal.flow.sum(axis=1), vc.max(axis=1, initial=0.0))


def with_flow(signal: SignalDay, factor: F8) -> SignalDay:
    """The signal's day with every flow of a slot times the slot's factor, float64[S]."""
    return replace(signal, flow=signal.flow * factor[:, None])
