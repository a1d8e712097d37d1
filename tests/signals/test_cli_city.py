"""`greensplit city generate`: a folder that can be read, the same again, and refusals that say what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from signals.formats.city import read_city

Run = Callable[..., Any]


def test_a_city_is_made_and_told(greensplit: Run, tmp_path: Path) -> None:
    options = ("--intersections", 9, "--weeks", 1, "--until", "2026-06-14", "--seed", 2)
    shown = greensplit("city", "generate", "-o", tmp_path / "a", *options)
    assert shown.code == 0, shown.err
    assert "9 signals in 1 districts, 36 approaches with 24,192 counts, 1 of them with faulty" in shown.out
    told = greensplit("city", "generate", "-o", tmp_path / "b", *options, "--json")
    assert (told.code, told.err) == (0, "")
    assert json.loads(told.out) == {
        "output": str(tmp_path / "b"),
        "city": str(tmp_path / "b" / "city.toml"),
        "intersections": 9,
        "districts": 1,
        "approaches": 36,
        "movements": 108,
        "counts": 24_192,
        "faults": 1,
    }
    assert read_city(tmp_path / "a").inputs_hash() == read_city(tmp_path / "b").inputs_hash()
    (table,) = read_city(tmp_path / "a").read_counts()
    assert str(table.local_times[-1]) == "2026-06-14T23:45"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--intersections", 0), "no city can be made: a city has 1 to 20000 intersections, got 0"),
        (("--weeks", 0), "no city can be made: counts of 1 to 104 weeks are made, got 0"),
        (("--seed", -1), "--seed -1: give a whole number, 0 or more"),
        (("--until", "Sunday"), "--until Sunday: is no date; write it as 2026-11-22"),
    ],
)
def test_what_can_not_be_made_is_refused(
    greensplit: Run, tmp_path: Path, options: tuple[Any, ...], said: str
) -> None:
    ended = greensplit("city", "generate", "-o", tmp_path / "city", *options)
    assert ended.code == 2
    assert said in ended.err


def test_a_folder_with_files_is_left_alone(greensplit: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    ended = greensplit("city", "generate", "-o", tmp_path)
    assert ended.code == 2
    assert "holds files already; name a new or an empty folder" in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
