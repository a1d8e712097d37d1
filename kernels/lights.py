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
    row_change : int64[n_row + 1]; links that are shown something else than in the row before are
        change_link[row_change[row] … row_change[row + 1] - 1], and what they are shown change_state likewise
    change_link : int64[n_change]
    change_state : uint8[n_change]
    signal_link : int64[n_signal + 1]; links of signal s are link_at[signal_link[s] … signal_link[s + 1] - 1],
        sorted by column
    link_at : int64[n_controlled]
    program : int64[n_signal], in force
    row : int64[n_signal], shown last
    row_end : int64[n_signal], where the rows of this cycle end, -1 before it begins
    next_change : float64[n_signal], s
    """

    shown: U1
    lasts: I8
    row_change: I8
    change_link: I8
    change_state: U1
    signal_link: I8
    link_at: I8
    program: I8
    row: I8
    row_end: I8
    next_change: F8


@kernel
def lay_lights(road: RoadArrays, signals: SignalArrays) -> Lights:
    """Lights before the first second."""
    n_signal, width = signals.program.shape[0] - 1, signals.state.shape[1]
    shown = np.where(road.link_minor == 0, PROTECTED, PERMITTED).astype(np.uint8)
    column_link, link_at = _links_by_column(road, n_signal, width)
    lasts, row_change, change_link, change_state = _changes(signals, column_link, link_at)
    return Lights(
        shown,
        lasts,
        row_change,
        change_link,
        change_state,
        column_link[::width].copy(),
        link_at,
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
def _changes(signals: SignalArrays, column_link: I8, link_at: I8) -> tuple[I8, I8, I8, U1]:
    """Where the states change within each program.

    Returns for each row the seconds until another one is shown, not past the cycle's end, and the links that are
    shown something else than in the row before: first, link and state as in `Lights`.
    """
    state = signals.state
    n_row, n_column = state.shape
    lasts = np.ones(n_row, np.int64)
    first = np.zeros(n_row + 1, np.int64)
    n_signal = signals.program.shape[0] - 1
    most = 0
    for s in range(n_signal):
        most = max(most, column_link[(s + 1) * n_column] - column_link[s * n_column])
    change_link, change_state = np.empty(n_row * most, np.int64), np.empty(n_row * most, np.uint8)
    place = 0
    for s in range(n_signal):
        for p in range(signals.program[s], signals.program[s + 1]):
            begin = signals.row[p]
            end = signals.row[p + 1] if p + 1 < signals.row.shape[0] else n_row
            first[begin + 1] = place
            for row in range(begin + 1, end):
                for column in range(n_column):
                    if state[row, column] == state[row - 1, column]:
                        continue
                    for index in range(
                        column_link[s * n_column + column], column_link[s * n_column + column + 1]
                    ):
                        change_link[place] = link_at[index]
                        change_state[place] = state[row, column]
                        place += 1
                first[row + 1] = place
                if first[row + 1] == first[row]:
                    lasts[row - 1] = 0
            for row in range(end - 2, begin - 1, -1):
                if lasts[row] == 0:
                    lasts[row] = lasts[row + 1] + 1
    return lasts, first, change_link, change_state
