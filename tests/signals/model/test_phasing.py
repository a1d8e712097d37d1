"""What a program shows at a moment."""

from __future__ import annotations

from signals.model.phasing import Interval, SignalProgram


def test_a_state_begins_at_its_tenth_however_tenths_add_up() -> None:
    seconds = (5.0, 4.3, 2.7, 5.0, 4.3, 2.7, 19.0, 8.0, 4.3, 2.7, 5.0, 3.6, 3.4, 13.0, 3.6, 3.4)
    letters = "GyrGyrGGyrGyrGyr"
    program = SignalProgram("j4", "0", "static", 57.0, tuple(map(Interval, seconds, letters)))
    begin = 0
    for k, (duration, letter) in enumerate(zip(seconds, letters)):
        if k and letters[k - 1] != letter:
            at = 57.0 + begin / 10
            assert program.state_at(at) == letter, (k, at)
            assert program.state_at(at - 0.1) == letters[k - 1], (k, at)
            assert program.state_at(at + 900.0) == letter, (k, at)
        begin += round(10 * duration)
