"""`greensplit isolated`: what it writes and prints, and what it says of tables that can't be used."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from signals.model.plan import Objective
from signals.timing.isolated import IsolatedRequest, plan_all
from signals.timing.isolated_files import PLAN_COLUMNS, read_intersections

Run = Callable[..., Any]
HEAD = "intersection,phase,flow_vph,saturation_flow_vph,min_green_s,max_green_s,clearance_s"
MAIN = (
    "Main at 1st,1,150,1750,5,30,4.5", "Main at 1st,2,900,3500,10,60,5.5", "Main at 1st,3,120,1750,5,30,4.5",
    "Main at 1st,4,500,1750,12,50,5", "Main at 1st,5,180,1750,5,30,4.5", "Main at 1st,6,1000,3500,10,60,5.5",
    "Main at 1st,7,90,1750,5,30,4.5", "Main at 1st,8,450,1750,12,50,5",
)  # fmt: skip
TEE = ("Tee,2,700,3400,10,60,5", "Tee,6,650,3400,10,60,5", "Tee,4,300,1700,8,50,5")


def table(path: Path, *lines: str, head: str = HEAD) -> Path:
    """A file with these lines."""
    path.write_text("\n".join((head, *lines)) + "\n")
    return path


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A crossing and a T."""
    return table(tmp_path / "city.csv", *MAIN, *TEE)


def scenarios(path: Path) -> Path:
    """The T on a usual day and on one of a fair."""
    lines = [f"{line},usual" for line in TEE]
    lines += [f"{line},fair".replace(",4,300,", ",4,750,") for line in TEE]
    return table(path, *lines, head=f"{HEAD},scenario")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_plans_are_written_a_row_a_phase_and_shown(greensplit: Run, two: Path, tmp_path: Path) -> None:
    output = tmp_path / "plans.csv"
    ended = greensplit("isolated", two, "-o", output)
    assert ended.code == 0, ended.err
    assert "2 plans written to" in ended.out
    assert "2 proven best" in " ".join(ended.out.split())
    assert "Main at 1st" in ended.out
    written = rows(output)
    assert tuple(written[0]) == PLAN_COLUMNS
    assert [(row["intersection"], row["phase"]) for row in written] == [
        *(("Main at 1st", str(n)) for n in range(1, 9)), ("Tee", "2"), ("Tee", "4"), ("Tee", "6"),
    ]  # fmt: skip
    plans = plan_all(read_intersections(two), IsolatedRequest())
    expected = [(plan.cycle_s, timing) for plan in plans if plan for timing in plan.phases]
    for row, (cycle_s, timing) in zip(written, expected, strict=True):
        assert (int(row["cycle_s"]), int(row["split_s"])) == (cycle_s, timing.split_s)
        assert float(row["green_s"]) == timing.green_s
        assert float(row["vc_ratio"]) == pytest.approx(timing.vc_ratio, abs=5e-4)
        assert float(row["delay_s"]) == pytest.approx(timing.delay_s, abs=5e-3)


def test_json_has_the_curve_and_the_file_is_the_same_again(
    greensplit: Run, two: Path, tmp_path: Path
) -> None:
    options = (
        "--objective",
        "index",
        "--stop-weight",
        "10",
        "--min-cycle",
        "70",
        "--max-cycle",
        "100",
        "--json",
    )
    files = []
    for threads in ("1", "2"):
        ended = greensplit("isolated", two, "-o", tmp_path / f"{threads}.csv", *options, "--threads", threads)
        assert ended.code == 0, ended.err
        assert ended.err == ""
        files.append((tmp_path / f"{threads}.csv").read_bytes())
    assert files[0] == files[1]
    facts = json.loads(ended.out)
    assert (facts["objective"], facts["unit"], facts["unplanned"]) == ("index", "s/veh", {})
    for plan in facts["plans"]:
        assert plan["proven"] is True
        assert plan["value"] == pytest.approx(plan["delay_s"] + 10 * plan["stops"], abs=1e-5)
        curve = plan["curve"]
        assert curve["first_cycle_s"] == 70
        assert len(curve["values"]) == 31
        assert curve["values"][plan["cycle_s"] - 70] == plan["value"] == min(curve["values"])


def test_stops_are_fewer_where_they_are_what_counts(greensplit: Run, two: Path, tmp_path: Path) -> None:
    stops = {}
    for objective in Objective:
        ended = greensplit("isolated", two, "-o", tmp_path / "o.csv", "--objective", objective, "--json")
        stops[objective] = [plan["stops"] for plan in json.loads(ended.out)["plans"]]
    assert stops[Objective.STOPS][0] < stops[Objective.INDEX][0] < stops[Objective.DELAY][0]


def test_scenarios_are_averaged_or_the_worst_of_them_counts(greensplit: Run, tmp_path: Path) -> None:
    given = scenarios(tmp_path / "tee.csv")
    greens = {}
    for name, options in (("mean", ()), ("worst", ("--cvar", "0.5"))):
        ended = greensplit("isolated", given, "-o", tmp_path / "o.csv", "--json", *options)
        assert ended.code == 0, ended.err
        (plan,) = json.loads(ended.out)["plans"]
        greens[name] = {phase["phase"]: phase["green_s"] / plan["cycle_s"] for phase in plan["phases"]}
    assert greens["worst"][4] > greens["mean"][4]


def test_left_turns_go_through_gaps_where_the_table_says_so(greensplit: Run, tmp_path: Path) -> None:
    kinds = {line: "protected-permitted" if line.split(",")[1] in "15" else "" for line in MAIN}
    head = f"{HEAD},left_turn"
    given = table(tmp_path / "city.csv", *(f"{line},{kind}" for line, kind in kinds.items()), head=head)
    plain = table(tmp_path / "plain.csv", *(f"{line},protected" for line in MAIN), head=head)
    assert read_intersections(plain) == read_intersections(table(tmp_path / "bare.csv", *MAIN))
    (one,) = read_intersections(given)
    assert [phase.number for phase in one.phases if phase.permitted] == [1, 5]
    delay = {}
    for path in (given, plain):
        ended = greensplit("isolated", path, "-o", tmp_path / "o.csv", "--json")
        assert ended.code == 0, ended.err
        (plan,) = json.loads(ended.out)["plans"]
        assert plan["value"] == plan["delay_s"]
        assert plan["proven"] is True
        delay[path] = plan["delay_s"]
    assert delay[given] < delay[plain] - 1.0
    ended = greensplit("isolated", given, "-o", tmp_path / "o.csv", "--objective", "stops")
    assert ended.code == 2
    assert "1 of 1 intersections have protected-permitted left turns" in ended.err
    assert "ask for the objective delay" in ended.err


def test_a_packed_table_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "city.csv.gz"
    path.write_bytes(gzip.compress(f"\ufeff{HEAD},remark\n{TEE[0]},x\n".encode()))
    (one,) = read_intersections(path)
    assert one.name == "Tee"
    assert one.phases[0].flow_vph == (700.0,)


def test_what_fits_no_cycle_is_named_and_the_others_are_written(greensplit: Run, tmp_path: Path) -> None:
    given = table(tmp_path / "city.csv", *TEE, *(line.replace(",12,50,", ",80,90,") for line in MAIN))
    output = tmp_path / "plans.csv"
    ended = greensplit("isolated", given, "-o", output, "--max-cycle", "110")
    assert ended.code == 3
    assert "1 of 2 intersections fit no cycle" in ended.err
    assert "Main at 1st: min greens and clearances need a cycle of" in ended.err
    assert {row["intersection"] for row in rows(output)} == {"Tee"}
    ended = greensplit("isolated", given, "-o", output, "--max-cycle", "110", "--json")
    assert ended.code == 3
    assert list(json.loads(ended.out)["unplanned"]) == ["Main at 1st"]


def test_nothing_is_written_where_nothing_fits(greensplit: Run, two: Path, tmp_path: Path) -> None:
    output = tmp_path / "plans.csv"
    ended = greensplit("isolated", two, "-o", output, "--min-cycle", "20", "--max-cycle", "25")
    assert ended.code == 3
    assert "2 of 2 intersections" in ended.err
    assert not output.exists()


@pytest.mark.parametrize(
    ("lines", "head", "words"),
    [
        ((), HEAD, "has no rows"),
        (("Tee,2,700,3400,10,60",), HEAD.removesuffix(",clearance_s"), "has no column clearance_s"),
        (("Tee,9,700,3400,10,60,5",), HEAD, "city.csv:2: phase '9': give a NEMA phase, 1 to 8"),
        (("Tee,2,many,3400,10,60,5",), HEAD, "city.csv:2: flow_vph 'many' is no number"),
        (("Tee,2,700,,10,60,5",), HEAD, "city.csv:2: saturation_flow_vph is empty"),
        (("Tee,2,700,3400,10",), HEAD, "city.csv:2: max_green_s is empty"),
        ((",2,700,3400,10,60,5",), HEAD, "city.csv:2: intersection is empty"),
        (("Tee,2,-7,3400,10,60,5",), HEAD, "city.csv:2: intersection 'Tee', phase 2: flow -7"),
        (("Tee,2,7,3400,10,5,5",), HEAD, "max green 5 s is below min green 10 s; raise it"),
        (
            (TEE[0], TEE[0]),
            HEAD,
            "city.csv:3: intersection 'Tee' has phase 2 in line 2 already; keep one row",
        ),
        (
            (f"{TEE[0]},a", f"{TEE[1]},a", f"{TEE[0]},b"),
            f"{HEAD},scenario",
            "city.csv:3: intersection 'Tee' has no phase 6 in scenario 'b'; give it a row there",
        ),
        (
            (f"{TEE[0]},a", f"{TEE[0]},b".replace(",60,", ",50,")),
            f"{HEAD},scenario",
            "city.csv:3: max_green_s of intersection 'Tee', phase 2 is 50 here and 60 in line 2",
        ),
        ((f"{TEE[0]},",), f"{HEAD},scenario", "city.csv:2: scenario is empty"),
        (('"Tee,2,700',), HEAD, "can't be read as CSV"),
        (
            (f"{TEE[0]},permitted",),
            f"{HEAD},left_turn",
            "city.csv:2: left_turn 'permitted': give protected or protected-permitted, or nothing for protected",
        ),
        (
            (f"{TEE[0]},protected-permitted",),
            f"{HEAD},left_turn",
            "city.csv:2: intersection 'Tee', phase 2: only left turns",
        ),
        (
            (f"{TEE[0]},", "Tee,1,100,1700,5,20,4,protected-permitted"),
            f"{HEAD},left_turn",
            "city.csv:3: Tee: left turn 1 is protected-permitted: it goes through gaps in phase 2 while 6 is green",
        ),
        (
            [f"{line},{'protected-permitted' if k == 0 else ''},{k}" for k in (0, 1) for line in MAIN[:1]]
            + [f"{line},,{k}" for k in (0, 1) for line in MAIN[1:]],
            f"{HEAD},left_turn,scenario",
            "city.csv:2: Main at 1st: left turn 1 is protected-permitted, which is planned for one scenario, not 2",
        ),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_its_row(
    greensplit: Run, tmp_path: Path, lines: tuple[str, ...], head: str, words: str
) -> None:
    given = table(tmp_path / "city.csv", *lines, head=head)
    output = tmp_path / "plans.csv"
    ended = greensplit("isolated", given, "-o", output)
    assert ended.code == 2, ended
    assert words in ended.err
    assert "Traceback" not in ended.err
    assert not output.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--min-cycle", "100", "--max-cycle", "90"), "cycles from 100 to 90 s"),
        (("--stop-weight", "inf"), "--stop-weight inf: give a number"),
        (("--cvar", "1"), "alpha of 1"),
        (("--cvar", "nan"), "--cvar nan: give a number"),
        (("--cvar", "0.8"), "--cvar weighs scenarios, and there is one; add a column scenario"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    greensplit: Run, two: Path, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    ended = greensplit("isolated", two, "-o", tmp_path / "plans.csv", *options)
    assert ended.code == 2
    assert words in ended.err


def test_no_file_no_place_and_the_table_itself_are_refused(
    greensplit: Run, two: Path, tmp_path: Path
) -> None:
    ended = greensplit("isolated", tmp_path / "none.csv", "-o", tmp_path / "plans.csv")
    assert (ended.code, "none.csv: no such file" in ended.err) == (2, True)
    ended = greensplit("isolated", two, "-o", tmp_path / "no" / "plans.csv")
    assert (ended.code, "its folder doesn't exist" in ended.err) == (2, True)
    ended = greensplit("isolated", two, "-o", two)
    assert (ended.code, "is one of the files to be read" in ended.err) == (2, True)
