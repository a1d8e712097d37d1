"""Clearance times against printed values and the grid of the ITE formula."""

from __future__ import annotations

import pytest

from signals.safety import clearance
from tests.theory.worked import EXAMPLES

ITE = EXAMPLES["ITE-YELLOW"]
MPS_PER_MPH = 0.44704
M_PER_FT = 0.3048


def test_published_yellow() -> None:
    for speed_mph, yellow_s in ITE["expected"]["yellow_published"].items():
        # 45 mi/h is printed as 4.3 s, 55 mi/h as "about 5.0".
        assert clearance.yellow_change_us_s(speed_mph) == pytest.approx(yellow_s, abs=0.05)


@pytest.mark.parametrize("speed_mph", ITE["computed_grid"])
def test_grid_of_yellow_and_red(speed_mph: int) -> None:
    row = ITE["computed_grid"][speed_mph]
    assert clearance.yellow_change_us_s(speed_mph) == pytest.approx(row["Y"], abs=0.006)
    for width_ft, red_s in row["R"].items():
        assert clearance.red_clearance_us_s(width_ft, speed_mph) == pytest.approx(red_s, abs=0.006)


@pytest.mark.parametrize("speed_mph", ITE["computed_grid"])
def test_metric_and_us_agree(speed_mph: int) -> None:
    """They differ by the rounding of their constants: 3.05 m/s² for 10 ft/s², 6.1 m for 20 ft."""
    speed_mps = speed_mph * MPS_PER_MPH
    for grade in (-0.06, 0.0, 0.06):
        assert clearance.yellow_change_s(speed_mps, grade) == pytest.approx(
            clearance.yellow_change_us_s(speed_mph, grade), abs=0.01
        )
    for width_ft in (30.0, 110.0):
        assert clearance.red_clearance_s(width_ft * M_PER_FT, speed_mps) == pytest.approx(
            clearance.red_clearance_us_s(width_ft, speed_mph), abs=0.01
        )


def test_yellow_follows_from_stopping() -> None:
    """A driver who brakes after the reaction time covers v·t + v²/2a; at v that distance takes the yellow."""
    speed_mps, reaction_s, braking = 20.0, 1.4, 2.8
    distance_m = speed_mps * reaction_s + speed_mps**2 / (2.0 * braking)
    yellow_s = clearance.yellow_change_s(speed_mps, reaction_s=reaction_s, deceleration_mps2=braking)
    assert yellow_s == pytest.approx(distance_m / speed_mps)


def test_downhill_takes_longer() -> None:
    level_s = clearance.yellow_change_s(15.0)
    assert (
        clearance.yellow_change_s(15.0, grade=-0.05) > level_s > clearance.yellow_change_s(15.0, grade=0.05)
    )


def test_yellow_bounds() -> None:
    assert [clearance.bounded_yellow_s(s) for s in (2.5, 4.3, 6.4)] == [3.0, 4.3, 6.0]


def test_pedestrian_clearance() -> None:
    assert clearance.pedestrian_clearance_s(21.4) == pytest.approx(20.0)
    assert clearance.pedestrian_clearance_s(21.4, walking_speed_mps=0.9) == pytest.approx(23.78, abs=0.01)


def test_walk_is_seven_seconds_or_what_a_slow_walker_needs() -> None:
    assert clearance.min_walk_s(10.0) == 7.0
    assert clearance.min_walk_s(10.0, short_walk=True) == 4.0
    # 20 m crossing and 5 m from the button: 25/0.91 = 27.47 s in all, clearance gives 18.69 s of it.
    assert clearance.min_walk_s(20.0, 25.0) == pytest.approx(27.473 - 18.692, abs=0.001)
    assert clearance.min_walk_s(10.0, 11.0) == 7.0


def test_service_counts_walk_clearance_and_buffer() -> None:
    assert clearance.min_pedestrian_service_s(10.7) == pytest.approx(7.0 + 10.0 + 3.0)
    # Where everybody walks slower than 0.91 m/s, nobody from the button is faster.
    slow_s = clearance.min_pedestrian_service_s(16.0, 20.0, walking_speed_mps=0.5, short_walk=True)
    assert slow_s == pytest.approx(20.0 / 0.5 + 3.0)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="approach speed -1"):
        clearance.yellow_change_s(-1.0)
    with pytest.raises(ValueError, match="nobody stops"):
        clearance.yellow_change_s(10.0, grade=-0.4)
    with pytest.raises(ValueError, match="nobody stops"):
        clearance.yellow_change_us_s(10.0, grade=-0.4)
    with pytest.raises(ValueError, match="speed 0 m/s"):
        clearance.red_clearance_s(10.0, 0.0)
    with pytest.raises(ValueError, match="width -1 ft"):
        clearance.red_clearance_us_s(-1.0, 30.0)
    with pytest.raises(ValueError, match="walking speed 0"):
        clearance.pedestrian_clearance_s(10.0, 0.0)
    with pytest.raises(ValueError, match="at least the crossing"):
        clearance.min_walk_s(10.0, 9.0)
