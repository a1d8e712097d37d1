"""Corrections are slow and bounded; the ageing alarm finds drift and stays quiet as often as it says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from signals.feedback import LEAST_FACTOR, MOST_FACTOR, Feedback, alarm_limit, drift


def days(n: int, seed: int, rise: float = 0.0, since: int = 0) -> tuple[list[float], list[float]]:
    """Predicted and measured delay of n days: 12 % of noise about a model that is 20 % low, then a rise."""
    generator = np.random.default_rng(seed)
    predicted = generator.uniform(20.0, 60.0, n)
    ratio = np.exp(0.18 + generator.normal(0.0, 0.12, n))
    ratio[since:] *= 1.0 + rise
    return list(predicted), list(predicted * ratio)


def test_a_factor_follows_slowly_and_within_bounds() -> None:
    feedback = Feedback()
    feedback.learn_flows({"a": 60.0}, {"a": 80.0}, ["a"])
    assert 0.9 < feedback.saturation.factor < 1.0
    for _ in range(100):
        feedback.learn_flows({"a": 20.0}, {"a": 80.0}, ["a"])
    assert feedback.saturation.factor == LEAST_FACTOR
    for _ in range(100):
        feedback.learn_flows({"a": 80.0}, {"a": 20.0}, ["a"])
    assert feedback.saturation.factor == MOST_FACTOR


def test_approaches_without_a_queue_say_nothing_of_saturation() -> None:
    feedback = Feedback()
    feedback.learn_flows({"a": 20.0, "b": 80.0}, {"a": 80.0, "b": 80.0}, ["b"])
    assert feedback.saturation.factor == 1.0


def test_a_factor_settles_where_measured_and_predicted_agree() -> None:
    feedback = Feedback()
    for _ in range(60):
        predicted = 100.0 * feedback.saturation.factor
        feedback.learn_flows({"a": 85.0}, {"a": predicted}, ["a"])
    assert feedback.saturation.factor == pytest.approx(0.85, abs=0.01)


def test_the_limit_is_the_one_of_the_tables() -> None:
    # Montgomery, Introduction to Statistical Quality Control: k = 0.5, one side, h = 4: 335, h = 5: 930
    assert alarm_limit(335.0) == pytest.approx(4.0, abs=0.05)
    assert alarm_limit(930.0) == pytest.approx(5.0, abs=0.05)


def test_a_plan_that_ages_is_found_and_dated() -> None:
    found = [drift(*days(120, seed, rise=0.25, since=60)) for seed in range(40)]
    late = [f for f in found if f is not None and f.at >= 60]
    assert len(late) >= 36  # the others had a false alarm before
    assert np.median([f.at - 60 for f in late]) < 10
    assert np.median([abs(f.since - 60) for f in late]) <= 4
    assert np.median([f.percent for f in late]) == pytest.approx(25.0, abs=8.0)


def test_a_steady_past_raises_no_more_alarms_than_said() -> None:
    # one run of 100 steady days has an alarm with probability about 100 / 400
    alarms = sum(drift(*days(100, seed), false_alarm_every=400.0) is not None for seed in range(300))
    assert 0.10 < alarms / 300 < 0.30


def test_what_the_model_misses_from_the_start_is_no_drift() -> None:
    predicted = [30.0, 40.0, 35.0, 45.0, 50.0] * 6
    measured = [1.5 * p * (1.0 + 0.02 * math.sin(k)) for k, p in enumerate(predicted)]
    assert drift(predicted, measured) is None


def test_days_without_a_figure_are_left_out() -> None:
    predicted, measured = days(120, 3, rise=0.4, since=60)
    measured[10] = measured[70] = float("nan")
    found = drift(predicted, measured)
    assert found is not None
    assert found.at >= 60


def test_too_few_days_raise_no_alarm() -> None:
    assert drift([30.0] * 5, [30.0, 31.0, 30.5, 90.0, 95.0]) is None
