"""A real night of a small city: killed at random moments it ends with the plans of an undisturbed one."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from sumo_nets.city import generate_city

ROOT = Path(__file__).resolve().parents[2]
DAY = date(2026, 11, 23)
PATIENCE_S = 1200.0
KILLS = 4


def begin(city: Path, workers: int) -> subprocess.Popen[str]:
    """A night in a process of its own."""
    words = ["nightly", "--data", str(city), "--date", str(DAY), "--workers", str(workers), "--json"]
    return subprocess.Popen(
        [sys.executable, "-m", "signals.cli", *words, "--validate", "none"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def results(city: Path) -> dict[str, bytes]:
    """The files of the night that are the same in every run of it."""
    folder = city / "nights" / str(DAY)
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("timings.json", ".lock")
    }


@pytest.mark.slow
def test_a_night_that_is_killed_ends_with_the_plans_of_one_that_is_not(tmp_path: Path) -> None:
    for name in ("undisturbed", "killed"):
        generate_city(45, seed=2, directory=tmp_path / name, weeks=3, until=date(2026, 11, 22))
    night = begin(tmp_path / "undisturbed", 0)
    out, said = night.communicate(timeout=PATIENCE_S)
    assert night.returncode == 0, said
    facts = json.loads(out)
    assert facts["signals_planned"] == 45
    assert facts["delay_veh_h"]["after"] < facts["delay_veh_h"]["before"]
    when = random.Random(1)
    longest_s = facts["timings"]["seconds"]
    for _ in range(KILLS):
        night = begin(tmp_path / "killed", 2)
        try:
            night.communicate(timeout=when.uniform(0.2, 0.8) * longest_s)
        except subprocess.TimeoutExpired:
            night.kill()
            night.communicate()
    night = begin(tmp_path / "killed", 2)
    _, said = night.communicate(timeout=PATIENCE_S)
    assert night.returncode == 0, said
    wanted, found = results(tmp_path / "undisturbed"), results(tmp_path / "killed")
    assert [name for name in wanted if found.get(name) != wanted[name]] == []
    assert set(found) == set(wanted)
