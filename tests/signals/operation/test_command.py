"""The command says what is wrong with what it is given."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    incidents: list[str], surges: list[str], tmp_path: Path
) -> None:
    scenario = read_scenario(find_network("single"))
    with pytest.raises(InputError, match="expected"):
        _disturbed(scenario, incidents, surges, tmp_path)


def test_measured_delays_are_kept_for_the_nights_that_watch_for_ageing(
    crossroads: Path, greensplit: Callable[..., Any]
) -> None:
    given = ("operate", str(crossroads / "cross.sumocfg"), "--json", "--measured", str(crossroads))
    refused = greensplit(*given)
    assert refused.code == 2
    assert "--date" in refused.err
    refused = greensplit(*given[:-1], crossroads / "nowhere", "--date", "2026-11-24")
    assert (refused.code, "no such folder" in refused.err) == (2, True)
    run = greensplit(*given, "--date", "2026-11-24")
    facts = json.loads(run.out)
    assert facts["typical"] == facts["scenario"]
    assert "own demand is known as the typical day" in run.err
    (row,) = csv.DictReader((crossroads / "measured.csv").read_text().splitlines())
    assert facts["files"] == [str(crossroads / "measured.csv")]
    assert (row["day"], row["signal"]) == ("2026-11-24", "A0")
    assert 0.0 < float(row["delay_s"]) <= facts["loop"]["mean_delay_s"] * 1.001
    assert float(row["vehicles"]) > 100
