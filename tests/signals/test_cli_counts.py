"""The commands on counts: what they print and write, and what they say of input that can't be used."""

from __future__ import annotations

import gzip
import json
import re
import shlex
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from signals.demand.forecast import OnlineForecaster, forecast_counts
from signals.demand.screening import screen
from signals.formats.counts import read_counts, write_counts
from signals.model.counts import CountTable, Mark, Reason
from sumo_nets import find_network

Run = Callable[..., Any]
START = np.datetime64("2026-03-02T00:00")
"""A Monday."""
DAYS = 16
STEP_MIN = 60
SERIES = ("north", "south", "east")
STUCK = slice(200, 224)


def table_of(*, step_min: int = STEP_MIN, days: int = DAYS, series: tuple[str, ...] = SERIES) -> CountTable:
    """Two peaks on workdays, one bump on others, Poisson about it; the second series is stuck for a day."""
    n = days * 1440 // step_min
    rng = np.random.default_rng(4)
    hour = np.arange(n) * step_min / 60 % 24
    free = (np.arange(n) * step_min // 1440 % 7 >= 5)[:, None]
    peaks = (np.exp(-(((hour - 8) / 2) ** 2)) + np.exp(-(((hour - 17) / 3) ** 2)))[:, None]
    bump = np.exp(-(((hour - 14) / 4) ** 2))[:, None]
    level = 400.0 * np.linspace(0.6, 1.4, len(series)) * step_min / 60
    values = rng.poisson(level * (0.05 + np.where(free, 0.6 * bump, peaks))).astype(float)
    values[STUCK, 1] = 321.0
    return CountTable(series, START, step_min, values)


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """The table as a wide CSV file."""
    path = tmp_path / "counts.csv"
    write_counts(table_of(), path)
    return path


def refused(ended: Any, *words: str) -> None:
    """The command ended as for wrong input, with a message that names these words."""
    assert ended.code == 2, ended
    assert "Traceback" not in ended.err
    for word in words:
        assert word in ended.err, ended.err


# ------------------------------------------------------------------------------------------------------ check


def test_check_tells_of_every_series_and_finds_the_stuck_one(greensplit: Run, wide: Path) -> None:
    ended = greensplit("counts", "check", wide, "--json", "--holiday", "2026-03-09=Labour Day")
    assert ended.code == 0, ended.err
    facts = json.loads(ended.out)
    assert (facts["intervals"], facts["step_min"]) == (DAYS * 24, STEP_MIN)
    assert [s["series"] for s in facts["series"]] == list(SERIES)
    screened = screen(read_counts(wide))
    bad = (screened.table.reasons == Reason.STUCK).sum(axis=0)
    assert bad[1] >= 20
    assert [s["bad"] for s in facts["series"]] == (screened.table.marks == Mark.BAD).sum(axis=0).tolist()
    reasons = {(f["series"], f["reason"]) for f in facts["findings"]}
    assert ("south", "stuck") in reasons
    assert ("", "holiday") in reasons


def test_check_draws_and_shows_tables(greensplit: Run, wide: Path, tmp_path: Path) -> None:
    chart = tmp_path / "quality.svg"
    ended = greensplit("counts", "check", wide, "--plot", chart)
    assert ended.code == 0, ended.err
    assert chart.read_text().startswith("<?xml")
    for word in (*SERIES, "same value", str(chart)):
        assert word in ended.out
    again = chart.read_bytes()
    assert greensplit("counts", "check", wide, "--plot", chart).code == 0
    assert chart.read_bytes() == again


# --------------------------------------------------------------------------------------------------- forecast


def test_forecast_writes_what_the_library_gives(greensplit: Run, wide: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    ended = greensplit(
        "forecast",
        wide,
        "--horizon",
        24,
        "-o",
        output,
        "--quantiles",
        "0.1,0.9",
        "--explain",
        "north",
        "--json",
    )
    assert ended.code == 0, ended.err
    facts = json.loads(ended.out)
    made, _ = forecast_counts(screen(read_counts(wide)).table, 24, levels=(0.1, 0.9))
    assert np.array(facts["mean"]) == pytest.approx(made.mean, abs=5e-4)
    assert facts["times"][0] == str(START + np.timedelta64(DAYS, "D"))
    written = read_counts(output)
    columns = dict(zip(written.names, written.values.T, strict=True))
    assert set(columns) == {n + s for n in SERIES for s in ("", "@0.1", "@0.9")}
    assert columns["north"] == pytest.approx(made.mean[:, 0], abs=1e-6)
    assert columns["east@0.9"] == pytest.approx(made.quantiles[:, 2, 1], abs=1e-6)
    assert [e["lead"] for e in facts["explained"]] == list(range(1, 25))
    for part, mean in zip(facts["explained"], made.mean[:, 0], strict=True):
        parts = sum(part[k] for k in ("profile", "ratio", "feedback", "network", "guard"))
        assert parts == pytest.approx(part["mean"], abs=1e-9)
        assert part["mean"] == pytest.approx(mean, abs=1e-9)


def test_the_long_form_and_parquet_give_the_same_forecast(
    greensplit: Run, wide: Path, tmp_path: Path
) -> None:
    long = tmp_path / "long.parquet"
    write_counts(read_counts(wide), long, layout="long")
    results = []
    for words in ([wide], [long, "--from", "long"]):
        ended = greensplit("forecast", "counts", *words, "-o", tmp_path / "f.parquet", "--json")
        assert ended.code == 0, ended.err
        results.append(json.loads(ended.out))
    by_name = [dict(zip(r["series"], r["mean"][0], strict=True)) for r in results]
    assert by_name[0] == pytest.approx(by_name[1])


def test_forecast_of_an_event_log(greensplit: Run, tmp_path: Path) -> None:
    # code 82 is detector on: https://docs.lib.purdue.edu/jtrpdata/3
    rng = np.random.default_rng(1)
    seconds = np.sort(rng.integers(0, 6 * 86400, 20000))
    rows = [f"{START + np.timedelta64(int(s), 's')},7,82,{rng.integers(1, 3)}" for s in seconds]
    log = tmp_path / "events.csv"
    log.write_text("TimeStamp,DeviceId,EventId,Parameter\n" + "\n".join(rows) + "\n")
    ended = greensplit("forecast", log, "--from", "hires", "-o", tmp_path / "f.csv", "--json")
    assert ended.code == 0, ended.err
    facts = json.loads(ended.out)
    assert facts["series"] == ["7:1", "7:2"]
    # 20,000 vehicles in 6 days on two detectors: 17.4 a quarter hour each
    assert np.array(facts["mean"])[0] == pytest.approx(17.4, rel=0.3)


def test_forecast_tables_and_chart(greensplit: Run, wide: Path, tmp_path: Path) -> None:
    chart = tmp_path / "f.png"
    ended = greensplit(
        "forecast", wide, "--horizon", 4, "-o", tmp_path / "f.csv", "--plot", chart, "--explain", "south"
    )
    assert ended.code == 0, ended.err
    assert chart.read_bytes().startswith(b"\x89PNG")
    for word in ("2026-03-18 00:00", "feedback", "south", "f.csv"):
        assert word in ended.out


# ------------------------------------------------------------------------------------------------------ score


def test_score_agrees_with_a_rolling_origin_by_hand(greensplit: Run, wide: Path, tmp_path: Path) -> None:
    chart = tmp_path / "week.svg"
    ended = greensplit(
        "forecast",
        "score",
        wide,
        "--test-from",
        "2026-03-16",
        "--peers",
        "last-value",
        "--plot",
        chart,
        "--json",
    )
    assert ended.code == 0, ended.err
    facts = json.loads(ended.out)
    table = screen(read_counts(wide)).table
    first = int(np.searchsorted(table.times, np.datetime64("2026-03-16T00:00")))
    forecaster = OnlineForecaster(table.times[:first], table.usable[:first], 1)
    off = volume = naive = 0.0
    for row in range(first, table.n_intervals):
        came = table.usable[row]
        off += np.nansum(np.abs(forecaster.predict() - came))
        naive += np.nansum(np.abs(table.usable[row - 1] - came))
        volume += np.nansum(came)
        forecaster.update(table.times[row], came)
    assert facts["forecasters"]["greensplit"]["wape"] == pytest.approx(100 * off / volume, rel=1e-6)
    assert facts["forecasters"]["last-value"]["wape"] == pytest.approx(100 * naive / volume, rel=0.02)
    assert facts["worst_week"]["series"] in SERIES
    assert "WAPE" not in ended.err
    assert chart.is_file()


def test_score_shows_the_best_first(greensplit: Run, wide: Path) -> None:
    ended = greensplit(
        "forecast", "score", wide, "--test-from", "2026-03-16", "--peers", "last-value,smoothed-profile"
    )
    assert ended.code == 0, ended.err
    assert ended.out.index("greensplit") < ended.out.index("last-value")
    assert "worst week" in ended.out


# ------------------------------------------------------------------------------------------------------- warn


def test_warn_names_the_peak_of_the_approach_that_is_too_small(
    greensplit: Run, wide: Path, tmp_path: Path
) -> None:
    capacity = tmp_path / "capacity.csv"
    capacity.write_text("series,capacity_vph\nnorth,200\neast,5000\n")
    ended = greensplit("forecast", "warn", wide, "--capacities", capacity, "--hours", 24, "--json")
    assert ended.code == 0, ended.err
    facts = json.loads(ended.out)
    assert facts["without_capacity"] == ["south"]
    assert {w["approach"] for w in facts["warnings"]} == {"north"}
    # the peaks of a Wednesday are at 8 and at 17 o'clock
    for clock in ("2026-03-18T08", "2026-03-18T17"):
        assert any(w["start"][:13] <= clock < w["end"][:13] for w in facts["warnings"]), facts
    assert all(w["peak_probability"] >= 0.5 and w["vc_mean"] > 0.9 for w in facts["warnings"])
    shown = greensplit("forecast", "warn", wide, "--capacities", capacity)
    assert "north" in shown.out
    assert "south" in shown.out


def test_warn_under_the_programs_of_a_network(greensplit: Run, tmp_path: Path) -> None:
    from signals.demand.margins import movements_of
    from signals.formats.sumo.config import read_scenario
    from signals.formats.sumo.network import read_network

    config = find_network("single")
    approaches = tuple(dict.fromkeys(m.approach for m in movements_of(read_network(read_scenario(config)))))
    table = table_of(step_min=15, series=approaches)
    path = tmp_path / "approaches.csv"
    write_counts(CountTable(table.names, START, 15, 3.0 * table.values), path)
    ended = greensplit("forecast", "warn", path, "--config", config, "--hours", 12, "--json")
    assert ended.code == 0, ended.err
    warnings = json.loads(ended.out)["warnings"]
    assert {w["approach"] for w in warnings} <= set(approaches)
    assert warnings, "three times the usual demand exceeds what the junction can pass"
    assert all(w["movement"] not in approaches for w in warnings)


# -------------------------------------------------------------------------------------------------- bad input


def test_wrong_words_are_named(greensplit: Run, wide: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.csv"
    refused(greensplit("counts", "check", tmp_path / "none.csv"), "none.csv", "no such file")
    refused(greensplit("counts", "check", wide, "--from", "tarot"), "tarot", "wide")
    refused(greensplit("counts", "check", wide, "--timezone", "Mars/Base"), "Mars/Base")
    refused(greensplit("counts", "check", wide, "--country", "XX"), "XX")
    refused(greensplit("counts", "check", wide, "--holiday", "Easter"), "--holiday Easter", "2026-12-24")
    refused(greensplit("counts", "check", wide, "--max-flow", -1), "--max-flow")
    refused(greensplit("counts", "check", wide, "--plot", wide), "counts.csv", "another file")
    refused(greensplit("forecast", wide, "-o", wide), "counts.csv", "another file")
    refused(greensplit("forecast", wide, "-o", tmp_path / "no" / "o.csv"), "folder")
    refused(greensplit("forecast", wide, "-o", out, "--quantiles", "0.5,2"), "--quantiles", "between 0 and 1")
    refused(greensplit("forecast", wide, "-o", out, "--quantiles", "half"), "--quantiles", "half")
    refused(greensplit("forecast", wide, "-o", out, "--explain", "nort"), "nort", "north")
    refused(greensplit("forecast", wide), "--output")
    refused(greensplit("forecast", "score", wide, "--test-from", "soon"), "--test-from soon", "2006-10-22")
    refused(greensplit("forecast", "score", wide, "--test-from", "2027-01-01"), "2027-01-01", "2026-03-02")
    refused(greensplit("forecast", "score", wide, "--test-from", "2026-03-16", "--peers", "oracle"), "oracle")
    refused(greensplit("forecast", "warn", wide), "--capacities", "--config")
    assert not out.exists()


@pytest.mark.parametrize("what", ["empty", "binary", "cut", "words"])
def test_a_file_that_is_spoilt_leaves_no_forecast(
    what: str, greensplit: Run, wide: Path, tmp_path: Path
) -> None:
    path = tmp_path / ("spoilt.csv.gz" if what == "cut" else "spoilt.csv")
    whole = wide.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "binary": bytes(range(256)) * 9,
            "cut": gzip.compress(whole)[:200],
            "words": whole.replace(b"321", b"lots"),
        }[what]
    )
    out = tmp_path / "o.csv"
    refused(greensplit("forecast", path, "--from", "wide", "-o", out), str(path))
    assert not out.exists()


def test_a_holiday_of_a_country_is_known(greensplit: Run, tmp_path: Path) -> None:
    # Anzac Day, 25 April, https://www.vic.gov.au/victorian-public-holidays-2026
    table = table_of(days=10)
    path = tmp_path / "april.csv"
    write_counts(CountTable(SERIES, np.datetime64("2026-04-20T00:00"), STEP_MIN, table.values[:240]), path)
    ended = greensplit("counts", "check", path, "--country", "AU", "--subdivision", "VIC", "--json")
    assert ended.code == 0, ended.err
    found = [f for f in json.loads(ended.out)["findings"] if f["reason"] == "holiday"]
    assert [date.fromisoformat(f["first"][:10]) for f in found] == [date(2026, 4, 25)]


def test_the_readmes_commands_run(greensplit: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text()
    commands = re.findall(r"^    greensplit ((?:counts (?!send)|forecast ).+)$", readme, flags=re.M)
    assert len(commands) == 4
    monkeypatch.chdir(tmp_path)
    # the hour that clocks skip on 29 March is not in these days, so the README's --timezone fits
    write_counts(table_of(step_min=15, series=("N1", "S1")), Path("counts.csv"))
    Path("capacities.csv").write_text("series,capacity_vph\nN1,900\nS1,900\n")
    for command in commands:
        ended = greensplit(*shlex.split(command))
        assert ended.code == 0, (command, ended.err)
    assert {p.name for p in tmp_path.iterdir()} >= {"quality.svg", "day.csv", "day.svg"}


def test_of_two_files_each_slot_takes_the_better_count(greensplit: Run, wide: Path, tmp_path: Path) -> None:
    second = tmp_path / "second.csv"
    other = table_of()
    values = other.values.copy()
    values[STUCK, 1] = values[STUCK.start - 168 : STUCK.stop - 168, 1]  # here the week before went on
    write_counts(CountTable(SERIES, START, STEP_MIN, values), second)
    alone = json.loads(greensplit("counts", "check", wide, "--json").out)
    both = json.loads(greensplit("counts", "check", wide, second, "--json").out)
    assert [s["bad"] for s in alone["series"]][1] >= 20
    assert [s["bad"] for s in both["series"]][1] == 0
    assert both["files"] == [str(wide), str(second)]
    refused(greensplit("counts", "check", wide, wide, "--json"), "named twice")
    refused(greensplit("forecast", wide, second, "-o", second), "second.csv", "another file")
