"""How many requests somebody may make."""

from __future__ import annotations

from api.rates import Rates


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_window_moves_along_and_each_caller_has_an_own_one() -> None:
    clock = Clock()
    rates = Rates("3/minute", clock)
    for _ in range(3):
        assert rates.exceeded(1) is None
        clock.now += 10
    exceeded = rates.exceeded(1)
    assert exceeded is not None
    assert (str(exceeded[0]), exceeded[1]) == ("3 per 1 minute", 30.0)
    assert rates.exceeded(2) is None
    clock.now += 30
    assert rates.exceeded(1) is None
    assert rates.exceeded(1) is not None


def test_what_one_limit_refuses_does_not_count_for_another() -> None:
    clock = Clock()
    rates = Rates("4/minute;1/second", clock)
    for _ in range(3):
        assert rates.exceeded(1) is None
        for _ in range(5):
            exceeded = rates.exceeded(1)
            assert exceeded is not None
            assert 0 < exceeded[1] <= 1
        clock.now += 1
    assert rates.exceeded(1) is None
    clock.now += 1
    exceeded = rates.exceeded(1)
    assert exceeded is not None
    assert str(exceeded[0]) == "4 per 1 minute"
    assert exceeded[1] == 56.0
