"""What signals show, looked up second by second, and how long a link that is held will be."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kernels._jit import kernel, part
from kernels.arrays import CLEARING, I8, PERMITTED, PROTECTED, RED, U1, Rows, SignalArrays
from kernels.lanes import NEVER

LOOK_AHEAD_S = 10
LONGEST_WAIT_S = 255
"""What is held for longer is looked at in between."""


class Lights(NamedTuple):
    """Which row of the states every signal shows.

    Second t of a run shows row row[s] + t of signal s, up to second until[s], when its cycle or program ends.

    Fields
    ------
    state : uint8[n_row, n_column], as in `SignalArrays`
    opens : uint8[n_row, n_column], s until a state lets vehicles go, not past the program's last row
    program : int64[n_signal], in force
    row : int64[n_signal]
    until : int64[n_signal], s
    """

    state: U1
    opens: U1
    program: I8
    row: I8
    until: I8


@kernel
def lay_lights(signals: SignalArrays) -> Lights:
    """Lights before the first second."""
    n_signal = signals.program.shape[0] - 1
    zeros = np.zeros((2, n_signal), np.int64)
    return Lights(signals.state, _opens(signals), signals.program[:-1].copy(), zeros[0], zeros[1])


@kernel
def _opens(signals: SignalArrays) -> U1:
    """Seconds until each row's states let vehicles go, 0 where they do; see `Lights`."""
    state = signals.state
    opens = np.empty_like(state)
    end = state.shape[0]
    for p in range(signals.row.shape[0] - 1, -1, -1):
        opens[end - 1] = 1
        for row in range(end - 1, signals.row[p] - 1, -1):
            later = opens[min(row + 1, end - 1)]
            for column in range(state.shape[1]):
                held = state[row, column] == RED or state[row, column] >= CLEARING
                wait = min(int(later[column]) + 1, LONGEST_WAIT_S) if row + 1 < end else 1
                opens[row, column] = wait if held else 0
        end = signals.row[p]
    return opens


@part
def next_rows(second: int, now: float, signals: SignalArrays, lights: Lights) -> int:
    """Start the cycles and programs that are due; the second in which the next one is."""
    program, until = lights.program, lights.until
    due = np.iinfo(np.int64).max
    for s in range(until.shape[0]):
        if until[s] <= second:
            while program[s] + 1 < signals.program[s + 1] and signals.start[program[s] + 1] <= now:
                program[s] += 1
            p = program[s]
            phase = (now - signals.offset[p]) % signals.cycle[p]
            lights.row[s] = signals.row[p] + int(phase) - second
            until[s] = second + int(np.ceil(signals.cycle[p] - phase))
            if program[s] + 1 < signals.program[s + 1]:
                until[s] = min(until[s], second + int(np.ceil(signals.start[program[s] + 1] - now)))
        due = min(due, until[s])
    return due


@part
def shown(k: int, second: int, lights: Lights, links: Rows) -> int:
    """What link k is shown, one of RED … CLEARED."""
    signal = links[k].signal
    if signal < 0:
        return PERMITTED if links[k].minor == 1 else PROTECTED
    return int(lights.state[lights.row[signal] + second, links[k].column])


@part
def held_for(k: int, second: int, lights: Lights, links: Rows) -> float:
    """Seconds for which the signal of link k shows nothing that lets go, or until its cycle ends."""
    signal = links[k].signal
    opening = int(lights.opens[lights.row[signal] + second, links[k].column])
    return float(min(opening, int(lights.until[signal]) - second))


@part
def stays_for(k: int, second: int, lights: Lights, links: Rows) -> float:
    """Seconds for which link k is shown what it is now, as far as one looks ahead."""
    signal = links[k].signal
    if signal < 0:
        return NEVER
    row, column = lights.row[signal] + second, links[k].column
    most = min(LOOK_AHEAD_S, int(lights.until[signal]) - second)
    seconds = 1
    while seconds < most and lights.state[row + seconds, column] == lights.state[row, column]:
        seconds += 1
    return float(seconds)
