"""Processes of a real service are killed under load, and nothing that it promised is lost or done twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.faults import study


@pytest.mark.slow
def test_nothing_is_lost_or_doubled_when_processes_are_killed(tmp_path: Path) -> None:
    found = study(tmp_path, rounds=5, seed=3, plans=2, seeds=(1,))
    assert found.problems == []
    assert found.lost == found.doubled == 0
    assert found.batches > 0
    assert found.kills.total() == 5
