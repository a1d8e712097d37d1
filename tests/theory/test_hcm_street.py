"""HCM chapters 18, 19 and 30: a street between two signals, and its people on foot and on bicycles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kernels import profile
from signals.timing import urban_street
from signals.timing.urban_street import Segment, SegmentMeasures
from tests.theory.worked import EXAMPLES

EP1 = EXAMPLES["HCM7-30-EP1"]


def ep1_segment() -> Segment:
    """The segment; the published delay behind turning vehicles (chapter 30, section 4) is an input."""
    inputs = EP1["inputs"]
    return Segment(
        length_ft=inputs["segment_length_ft"],
        upstream_width_ft=inputs["upstream_intersection_width_ft"],
        through_lanes=inputs["n_through_lanes"],
        speed_limit_mph=inputs["speed_limit_mph"],
        midsegment_flow_vph=inputs["midsegment_flow_veh_h"],
        signal_spacing_ft=inputs["signal_spacing_ft"],
        curb_share=inputs["proportion_with_curb"],
        parking_share=inputs["proportion_on_street_parking"],
        access_points=inputs["n_access_points_subject"] + inputs["n_access_points_opposing"],
        turn_delay_s=sum(EP1["expected"]["access_delay_s"]),
    )


def ep1_measures() -> SegmentMeasures:
    inputs = EP1["inputs"]
    return urban_street.measure_segment(
        ep1_segment(),
        inputs["through_control_delay_s"],
        inputs["full_stop_rate_override"],
        inputs["through_demand_veh_h"],
        inputs["through_capacity_veh_h"],
    )


def test_segment_speeds_and_level_of_service() -> None:
    found, expected = ep1_measures(), EP1["expected"]
    assert found.base_free_flow_mph == pytest.approx(expected["base_FFS_mph"], abs=0.005)
    assert found.free_flow_mph == pytest.approx(expected["S_f"], abs=0.005)
    assert found.running_time_s == pytest.approx(expected["running_time_s"], abs=0.01)
    assert found.running_mph == pytest.approx(expected["running_speed_mph"], abs=0.01)
    assert found.travel_mph == pytest.approx(expected["travel_speed_mph"], abs=0.01)
    assert found.spatial_stops_per_mile == pytest.approx(expected["spatial_stop_rate"], abs=0.01)
    assert found.vc_ratio == pytest.approx(expected["vc"], abs=0.005)
    assert found.level_of_service == expected["LOS"]


def test_traveler_perception() -> None:
    score = urban_street.traveler_perception(
        ep1_measures().spatial_stops_per_mile, EP1["inputs"]["prop_left_turn_lanes"]
    )
    assert score == pytest.approx(EP1["expected"]["perception"], abs=0.01)


def test_hcm_platoon_constants() -> None:
    running_s = EP1["expected"]["running_time_s"]
    assert profile.hcm_smoothing(running_s, 1.0) == pytest.approx(EP1["expected"]["F_smoothing"], abs=5e-6)
    assert profile.hcm_lag_steps(running_s, 1.0) == pytest.approx(
        EP1["expected"]["platoon_arrival_steps"], abs=5e-4
    )


def test_uniform_arrivals_on_green() -> None:
    inputs = EP1["inputs"]
    share = inputs["effective_green_s"] / inputs["cycle_length_s"]
    assert share == pytest.approx(EP1["expected"]["P_green_uniform"], abs=5e-4)


def test_a_segment_above_capacity_is_level_f() -> None:
    assert urban_street.segment_level_of_service(35.0, 40.0, 1.01) == "F"
    letters = [urban_street.segment_level_of_service(speed, 40.0, 0.5) for speed in (33, 28, 21, 17, 13, 12)]
    assert letters == list("ABCDEF")


def test_a_segment_says_what_is_wrong_with_it() -> None:
    with pytest.raises(ValueError, match="expected it longer than the intersection's 1900 ft"):
        replace(ep1_segment(), upstream_width_ft=1900.0)
    with pytest.raises(ValueError, match="at least one lane"):
        replace(ep1_segment(), through_lanes=0)
    with pytest.raises(ValueError, match="expected 0 to 1"):
        replace(ep1_segment(), curb_share=1.5)
    with pytest.raises(ValueError, match="18-6 holds below"):
        urban_street.running_time_s(replace(ep1_segment(), midsegment_flow_vph=5000.0))


def test_bicycles() -> None:
    example = EXAMPLES["HCM7-31-EP3-BIKE"]
    inputs, expected = example["inputs"], example["expected"]
    found = urban_street.measure_bicycles(
        inputs["bike_flow"],
        inputs["g"],
        inputs["C"],
        inputs["cross_street_width_ft"],
        inputs["W_t"],
        inputs["v_left"] + inputs["v_through"] + inputs["v_right"],
        inputs["through_lanes"],
        inputs["s"],
    )
    assert found.capacity_ph == pytest.approx(expected["c"], abs=0.5)
    assert found.delay_s == pytest.approx(expected["d"], abs=0.05)
    assert found.cross_section == pytest.approx(expected["F_w"], abs=0.005)
    assert found.motor_traffic == pytest.approx(expected["F_v"], abs=0.005)
    assert found.score == pytest.approx(expected["score"], abs=0.006)
    assert found.level_of_service == expected["LOS"]


TWO_STAGE = EXAMPLES["HCM7-31-EP4-TWOSTAGE"]


def two_stages(inputs: dict[str, float]) -> urban_street.TwoStageDelay:
    return urban_street.two_stage_pedestrian_delay(
        inputs["C"],
        inputs["walk_x"],
        inputs["walk_y"],
        inputs["walk_start_x"],
        inputs["walk_start_y"],
        inputs["first_stage_ft"] / inputs["walk_speed_fps"],
    )


def test_pedestrians_in_two_stages() -> None:
    found, expected = two_stages(TWO_STAGE["inputs"]), TWO_STAGE["expected"]
    parts = expected["parts"]
    assert found.first_s == pytest.approx(parts["d1"], abs=0.05)
    assert found.median_after_waiting_s == pytest.approx(parts["d2_DW1"], abs=0.05)
    assert found.median_after_walking_on_s == pytest.approx(parts["d2_W1"], abs=0.05)
    assert found.waiting_share == pytest.approx(parts["P_DW1"], abs=0.0005)
    assert found.total_s == pytest.approx(expected["B_to_A"], abs=0.5)


def test_pedestrians_in_two_stages_the_other_way() -> None:
    found = two_stages(TWO_STAGE["inputs"] | TWO_STAGE["inputs"]["reverse"])
    assert found.total_s == pytest.approx(TWO_STAGE["expected"]["A_to_B"], abs=1.0)


@pytest.mark.parametrize("seed", range(8))
def test_two_stages_against_pedestrians_one_by_one(seed: int) -> None:
    """20 000 people, evenly over the cycle, each followed across."""
    rng = np.random.default_rng(seed)
    cycle_s = rng.uniform(60.0, 140.0)
    walk_1, walk_2 = rng.uniform(4.0, 0.7 * cycle_s - 4.0, 2)
    start_1, start_2 = rng.uniform(0.0, cycle_s, 2)
    crossing_s = rng.uniform(3.0, 1.5 * cycle_s)
    found = urban_street.two_stage_pedestrian_delay(cycle_s, walk_1, walk_2, start_1, start_2, crossing_s)

    def wait(time_s: np.ndarray, start_s: float, walk_s: float) -> np.ndarray:
        into_s = (time_s - start_s) % cycle_s
        return np.where(into_s < walk_s + 4.0, 0.0, cycle_s - into_s)

    arrival_s = (np.arange(20_000) + 0.5) / 20_000 * cycle_s
    first_s = wait(arrival_s, start_1, walk_1)
    second_s = wait(arrival_s + first_s + crossing_s + 1e-9, start_2, walk_2)
    assert found.first_s == pytest.approx(first_s.mean(), abs=0.01)
    assert found.total_s == pytest.approx((first_s + second_s).mean(), abs=0.02)


def test_walks_longer_than_the_cycle_are_refused() -> None:
    with pytest.raises(ValueError, match="walks within the cycle"):
        urban_street.two_stage_pedestrian_delay(60.0, 57.0, 5.0, 0.0, 0.0, 10.0)


def test_bandwidth_efficiency_and_capacity() -> None:
    example = EXAMPLES["NPTEL-BANDWIDTH"]
    inputs, expected = example["inputs"], example["expected"]
    efficiency = urban_street.bandwidth_efficiency(inputs["band_s"], inputs["C"])
    # 17/60 is 28.33 %; the page prints 28.4.
    assert 100.0 * efficiency == pytest.approx(expected["efficiency_pct"], abs=0.1)
    capacity = urban_street.band_capacity_vph(inputs["band_s"], inputs["C"], inputs["headway"])
    assert capacity == pytest.approx(expected["vph_per_lane"])
    assert capacity * inputs["C"] / 3600.0 == pytest.approx(expected["veh_per_cycle"])
