"""Plans age when what is measured under them comes to exceed what was predicted, and not before."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from signals.errors import InputError
from signals.formats.files import write_whole
from signals.model.night import Expected, GroupNight, SignalPeriod, Subarea
from signals.nightly.ageing import add_measured, find_aged, read_measured
from signals.nightly.folder import keyed, night_folder, plain
from signals.nightly.in_force import PlanOrigin

NIGHT, TODAY = date(2026, 3, 2), date(2026, 6, 1)
PREDICTED_S = 30.0


def in_force(data: Path) -> dict[str, PlanOrigin]:
    """A night whose plans predict 30 s/veh at both signals of a group."""
    expected = Expected(PREDICTED_S, 25.0, 35.0)
    row = SignalPeriod(90.0, 0.0, expected, expected, 0.8, 0.8, "C", "C", 1000.0, ())
    group = GroupNight(Subarea("g", ("a", "b"), (90,)), None, None, signals={"a": (row,), "b": (row,)})
    folder = night_folder(data, NIGHT)
    with folder.locked():
        write_whole(folder.group("g"), keyed("key", plain(GroupNight, group)).encode())
    return dict.fromkeys(("a", "b"), PlanOrigin(NIGHT, "g", "digest"))


def measure(data: Path, delays_s: Sequence[float], first: date = NIGHT) -> None:
    lines = ["day,signal,delay_s,vehicles"]
    for k, delay_s in enumerate(delays_s):
        for signal, vehicles in (("a", 900), ("b", 1100)):
            lines.append(f"{first + timedelta(days=k)},{signal},{delay_s:.3f},{vehicles}")
    (data / "measured.csv").write_text("\n".join(lines) + "\n")


def steady(days: int, level: float = 1.1) -> list[float]:
    noise = np.random.default_rng(3).normal(0.0, 0.05, days)
    return [PREDICTED_S * level * float(np.exp(x)) for x in noise]


def test_a_rise_that_lasts_is_told_with_when_it_began(tmp_path: Path) -> None:
    origin = in_force(tmp_path)
    measure(tmp_path, [*steady(40), *(1.25 * x for x in steady(15))])
    (alarm,) = find_aged(tmp_path, TODAY, {"now": ("a", "b", "c")}, origin, read_measured(tmp_path))
    assert alarm.group == "now"
    assert abs((alarm.since - (NIGHT + timedelta(days=40))).days) <= 5
    assert alarm.predicted_s == pytest.approx(PREDICTED_S)
    assert alarm.drift_percent == pytest.approx(37.5, abs=10.0)


def test_what_a_prediction_misses_from_the_start_is_no_ageing(tmp_path: Path) -> None:
    origin = in_force(tmp_path)
    measure(tmp_path, steady(80, level=1.5))
    assert find_aged(tmp_path, TODAY, {"now": ("a", "b")}, origin, read_measured(tmp_path)) == ()


def test_days_before_the_plans_and_from_the_day_planned_for_on_do_not_count(tmp_path: Path) -> None:
    origin = in_force(tmp_path)
    measure(tmp_path, [*steady(40), *(1.5 * x for x in steady(20))], first=TODAY - timedelta(days=40))
    assert find_aged(tmp_path, TODAY, {"now": ("a", "b")}, origin, read_measured(tmp_path)) == ()
    measure(tmp_path, [*(steady(40)), *(1.5 * x for x in steady(20))], first=NIGHT - timedelta(days=60))
    assert find_aged(tmp_path, TODAY, {"now": ("a", "b")}, origin, read_measured(tmp_path)) == ()


def test_without_measurements_there_is_nothing_to_tell(tmp_path: Path) -> None:
    assert find_aged(tmp_path, TODAY, {"now": ("a",)}, in_force(tmp_path), read_measured(tmp_path)) == ()


def test_a_line_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "measured.csv").write_text(
        "day,signal,delay_s,vehicles\n2026-03-02,a,30,100\n2026-03-03,a,-1,100\n"
    )
    with pytest.raises(InputError, match="line 3"):
        read_measured(tmp_path)


def test_a_day_is_added_to_what_stands_there_and_the_later_line_counts(tmp_path: Path) -> None:
    add_measured(tmp_path, NIGHT, {"b": (31.5, 900.0), "a": (20.0, 1234.5)})
    path = tmp_path / "measured.csv"
    assert (
        path.read_text()
        == "day,signal,delay_s,vehicles\n2026-03-02,a,20.000,1234.5\n2026-03-02,b,31.500,900\n"
    )
    theirs = "vehicles,note,signal,day,delay_s\n5,by hand,a,2026-03-02,9.0"
    path.write_text(theirs)
    add_measured(tmp_path, TODAY, {"a": (21.0, 7.0)})
    add_measured(tmp_path, TODAY, {"a": (22.0, 8.0)})
    assert path.read_text().startswith(theirs + "\n")
    assert read_measured(tmp_path) == {"a": {NIGHT: (9.0, 5.0), TODAY: (22.0, 8.0)}}


def test_nothing_is_added_to_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "measured.csv").write_text("day,signal\n2026-03-02,a\n")
    with pytest.raises(InputError, match="expected columns"):
        add_measured(tmp_path, TODAY, {"a": (21.0, 7.0)})
    assert (tmp_path / "measured.csv").read_text() == "day,signal\n2026-03-02,a\n"
