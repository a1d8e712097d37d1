"""The command that sets offsets alone: cycles and splits stay, and it says what is left to gain."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from signals.formats.sumo.config import read_scenario
from signals.formats.sumo.network import read_network
from signals.formats.sumo.programs import read_plans
from sumo_nets import find_network

Run = Callable[..., Any]


def test_cycles_and_splits_stay_and_offsets_are_those_said(greensplit: Run, tmp_path: Path) -> None:
    config, output = find_network("arterial"), tmp_path / "plans.add.xml"
    ended = greensplit("coordinate", config, "-o", output, "--end", "06:15:00", "--json")
    assert ended.code == 0, ended.err
    facts = json.loads(ended.out)
    assert set(facts) == {"output", "plan", "sets", "unplanned"}
    assert facts["output"] == str(output)
    assert facts["unplanned"] == {}
    (one,) = facts["sets"]
    tables, street = one["tables"], one["street"]
    assert tables["bound"] <= tables["after"] <= tables["before"]
    assert tables["gap"] < 0.001
    assert street["after"] <= street["after_tables"]
    assert street["after"] < street["before"]
    assert not one["keeps_offsets_in_place"]
    written = read_plans([output])
    network = read_network(read_scenario(config))
    assert set(written) == set(network.intersections) == set(one["offsets_s"])
    moved = 0
    for signal, program in written.items():
        field = network.intersections[signal].program
        assert field is not None
        assert [(i.duration_s, i.state) for i in program.intervals] == [
            (i.duration_s, i.state) for i in field.intervals
        ]
        assert program.offset_s == one["offsets_s"][signal] < one["cycle_s"]
        moved += program.offset_s != field.offset_s % field.cycle_s
    assert moved > 0
    # from what it wrote there is nothing worse, and the first signal stays
    first = next(iter(one["offsets_s"]))
    there = network.intersections[first].program
    assert there is not None
    assert written[first] == replace(written[first], offset_s=there.offset_s % there.cycle_s)


def test_tables_for_people_name_the_gap(greensplit: Run, tmp_path: Path) -> None:
    output = tmp_path / "plans.add.xml"
    ended = greensplit("coordinate", find_network("grid"), "-o", output, "--end", "900")
    assert ended.code == 0, ended.err
    for word in ("gap", "bound", "r0c0 r0c1 r0c2 r0c3 …", "%", f"written to {output}"):
        assert word in ended.out.replace("\n", " ").replace("  ", " "), ended.out


def test_a_signal_alone_stays_as_it_is(greensplit: Run, crossroads: Path) -> None:
    output = crossroads / "plans.add.xml"
    ended = greensplit("coordinate", crossroads / "cross.sumocfg", "-o", output)
    assert ended.code == 0, ended.err
    assert "No two signals" in ended.out
    assert read_plans([output])["A0"].offset_s == 0.0


def test_a_program_without_fixed_greens_is_named_with_the_reason(greensplit: Run, crossroads: Path) -> None:
    net = crossroads / "cross.net.xml"
    net.write_text(net.read_text().replace('type="static"', 'type="actuated"'))
    ended = greensplit("coordinate", crossroads / "cross.sumocfg", "-o", crossroads / "plans.add.xml")
    assert ended.code == 3
    assert "signal A0: its program is actuated" in ended.err
    assert not (crossroads / "plans.add.xml").exists()


def test_a_weight_that_is_none_is_refused(greensplit: Run, crossroads: Path) -> None:
    for weight in ("-1", "601", "nan"):
        ended = greensplit(
            "coordinate", crossroads / "cross.sumocfg", "-o", crossroads / "p.xml", "--stop-weight", weight
        )
        assert ended.code == 2
        assert "--stop-weight" in ended.err
