"""What signals show: changes found once, so that a second in which nothing changes costs nothing."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kernels._jit import kernel
from kernels.arrays import F8, I8, PERMITTED, PROTECTED, U1, RoadArrays, SignalArrays
from kernels.lanes import NEVER


class Lights(NamedTuple):
    """What every link is shown, and when that changes.

    Fields
    ------
    shown : uint8[n_link], one of RED … CLEARED
    lasts : int64[n_row], seconds until another row than this one is shown, not past its cycle's end
    row_change : int64[n_row + 1]; columns that differ from the row before are
        changed[row_change[row] … row_change[row + 1] - 1]
    changed : int64[n_change]
    column_link : int64[n_signal * n_column + 1]; links of column c of signal s are link_at[column_link[p] …
        column_link[p + 1] - 1] with p = s * n_column + c, their lanes lane_at likewise
    link_at : int64[n_controlled]
    lane_at : int64[n_controlled]
    program : int64[n_signal], in force
    row : int64[n_signal], shown last
    row_end : int64[n_signal], where the rows of this cycle end, -1 before it begins
    next_change : float64[n_signal], s
    """

    shown: U1
    lasts: I8
    row_change: I8
    changed: I8
    column_link: I8
    link_at: I8
    lane_at: I8
    program: I8
    row: I8
    row_end: I8
    next_change: F8


@kernel
def lay_lights(road: RoadArrays, signals: SignalArrays) -> Lights:
    """Lights before the first second."""
    n_signal = signals.program.shape[0] - 1
    shown = np.where(road.link_minor == 0, PROTECTED, PERMITTED).astype(np.uint8)
    lasts, row_change, changed = _changes(signals)
    column_link, link_at = _links_by_column(road, n_signal, signals.state.shape[1])
    return Lights(
        shown,
        lasts,
        row_change,
        changed,
        column_link,
        link_at,
        road.link_from[link_at],
        signals.program[:-1].copy(),
        np.zeros(n_signal, np.int64),
        np.full(n_signal, -1, np.int64),
        np.full(n_signal, -NEVER),
    )


@kernel
def _links_by_column(road: RoadArrays, n_signal: int, width: int) -> tuple[I8, I8]:
    """Links of column c of signal s: link_at[first[s * width + c] … first[s * width + c + 1] - 1]."""
    first = np.zeros(n_signal * width + 1, np.int64)
    for k in range(road.link_signal.shape[0]):
        if road.link_signal[k] >= 0:
            first[road.link_signal[k] * width + road.link_column[k] + 1] += 1
    first = np.cumsum(first)
    link_at = np.empty(first[-1], np.int64)
    filled = first[:-1].copy()
    for k in range(road.link_signal.shape[0]):
        if road.link_signal[k] >= 0:
            place = road.link_signal[k] * width + road.link_column[k]
            link_at[filled[place]] = k
            filled[place] += 1
    return first, link_at


@kernel
def _changes(signals: SignalArrays) -> tuple[I8, I8, I8]:
    """Where the states change within each program.

    Returns for each row the seconds until another one is shown, not past the cycle's end, and the columns that
    differ from the row before: changed[first[row] … first[row + 1] - 1].
    """
    state = signals.state
    n_row, n_column = state.shape
    lasts = np.ones(n_row, np.int64)
    first = np.zeros(n_row + 1, np.int64)
    for row in range(1, n_row):
        first[row + 1] = np.sum(state[row] != state[row - 1])
    first = np.cumsum(first)
    changed = np.empty(first[n_row], np.int64)
    for row in range(1, n_row):
        place = first[row]
        if place == first[row + 1]:
            continue
        for column in range(n_column):
            if state[row, column] != state[row - 1, column]:
                changed[place] = column
                place += 1
    for p in range(signals.row.shape[0]):
        begin = signals.row[p]
        for row in range(begin + int(np.ceil(signals.cycle[p] - 1e-9)) - 2, begin - 1, -1):
            if first[row + 1] == first[row + 2]:
                lasts[row] = lasts[row + 1] + 1
    return lasts, first, changed
