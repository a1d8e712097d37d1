"""Capacities over time: which row holds when, and what makes no capacities."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from signals.errors import InputError
from signals.model.capacity import Capacities

MONDAY = np.datetime64("2026-03-02T00:00", "m")
QUARTER = np.timedelta64(15, "m")


def test_capacity_follows_the_clock() -> None:
    two = Capacities(("m",), ("A",), (6 * 60, 9 * 60 + 5), 15, np.array([[100.0], [40.0]]), np.zeros((2, 1)))
    times = MONDAY + np.array([0, 24, 36, 37, 96 + 24]) * QUARTER
    veh, others = two.at(times, 15)
    # night has the evening's plan; the slot from 9:00 has 5 of its 15 minutes under the old one
    np.testing.assert_allclose(veh[:, 0], [40, 100, (5 * 100 + 10 * 40) / 15, 40, 100])
    assert not others.any()
    hourly, _ = two.at(times[1:2], 60)
    assert hourly[0, 0] == pytest.approx(400)


def test_capacities_of_one_day_do_not_reach_back() -> None:
    dated = Capacities(
        ("m",),
        ("A",),
        (0, 1440),
        15,
        np.array([[10.0], [20.0]]),
        np.zeros((2, 1)),
        MONDAY.astype("datetime64[D]"),
    )
    np.testing.assert_allclose(dated.at(MONDAY + np.array([95, 96]) * QUARTER, 15)[0][:, 0], [10, 20])
    with pytest.raises(InputError, match="is asked for"):
        dated.at(np.array([MONDAY - QUARTER]), 15)


def test_capacities_check_themselves() -> None:
    good = Capacities(("m",), ("A",), (0,), 15, np.array([[10.0]]), np.array([[0.0]]))
    for wrong, message in (
        ({"starts_min": (5, 5)}, "shapes"),
        ({"starts_min": (1440,)}, "lie from 0"),
        ({"veh": np.array([[-1.0]])}, "0 or more"),
        ({"others": np.array([[-1.0]])}, "0 or more"),
        ({"approaches": ()}, "approaches"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(good, **wrong)
