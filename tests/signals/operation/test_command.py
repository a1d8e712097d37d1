"""The command says what is wrong with what it is given."""

from __future__ import annotations

import pytest

from signals.cli.operate import _disturbed, _settings
from signals.errors import InputError
from signals.formats.sumo.config import read_scenario
from sumo_nets import find_network


@pytest.mark.parametrize(
    "given", ["max-cycle", "max-cycle=long", "max-cycle=-5", "colour=3", "min-cycle=500"]
)
def test_a_policy_that_makes_no_sense_is_refused(given: str) -> None:
    with pytest.raises(InputError, match="--policy"):
        _settings([given])


def test_a_longest_cycle_binds_the_plan_in_force() -> None:
    settings = _settings(["max-cycle=90", "min-green=6"])
    assert settings.cycle_binds
    assert (settings.request.max_cycle_s, settings.request.min_green_s) == (90.0, 6.0)
    assert not _settings(["min-green=6"]).cycle_binds


@pytest.mark.parametrize(
    ("incidents", "surges"), [(["lane@5"], []), ([], ["edge@0-900"]), ([], ["edge*2@0"])]
)
def test_a_disturbance_in_another_form_is_refused(
    incidents: list[str], surges: list[str], tmp_path: object
) -> None:
    from pathlib import Path

    scenario = read_scenario(find_network("single"))
    with pytest.raises(InputError, match="expected"):
        _disturbed(scenario, incidents, surges, Path(str(tmp_path)))
