"""Capacities in files: what is read, and what is refused with its line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from signals.errors import InputError
from signals.formats.capacities import read_capacities


def test_capacities_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "capacities.csv"
    path.write_text(
        "series,approach,from,capacity_vph\nA1L,A1,,200\nA1L,A1,07:00,320\nA1T,A1,06:30,1200\nB,,00:00,800\n"
    )
    found = read_capacities(path)
    assert (found.names, found.approaches) == (("A1L", "A1T", "B"), ("A1", "A1", "B"))
    assert found.starts_min == (0, 390, 420)
    np.testing.assert_allclose(found.veh, [[50, 300, 200], [50, 300, 200], [80, 300, 200]])
    assert read_capacities(path, step_min=60).veh[0, 0] == 200


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("series,vph\nA,1\n", "need series and capacity_vph"),
        ("series,capacity_vph\n", "no rows"),
        ("series,capacity_vph\nA,many\n", "csv:2: capacity 'many'"),
        ("series,capacity_vph\nA,-3\n", "0 or more"),
        ("series,capacity_vph\nA\n", "capacity ''"),
        ("series,capacity_vph,from\nA,3,25:00\n", "no time of day"),
        ("series,capacity_vph\nA,3\nA,4\n", "csv:3: series 'A' has a second row from 00:00"),
        ("series,capacity_vph,approach,from\nA,3,x,\nA,4,y,1:00\n", "a series has one approach"),
        ("series,capacity_vph\n,4\n", "without series"),
    ],
)
def test_broken_files_are_named_with_the_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "capacities.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_capacities(path)
    with pytest.raises(InputError, match="can't be read"):
        read_capacities(tmp_path / "absent.csv")
