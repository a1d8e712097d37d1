"""Commands about the street that need no service: files of units, moments, and what an event log proves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from signals.cli.demo_street import Communities, read_proofs, shown_since
from signals.cli.street import _moment, read_units
from signals.controllers.credentials import read_credentials
from signals.controllers.snmp import Community
from signals.errors import InputError
from signals.formats.sumo.config import read_scenario
from signals.formats.sumo.network import read_network
from signals.model.network import Network
from sumo_nets import find_network

UNITS = """{"signal": "j1", "host": "127.0.0.1", "port": 16100, "pattern": 1}
{"signal": "j2", "host": "127.0.0.1", "port": 16101, "pattern": 1}

{"signal": "j9", "unmapped": "a reason"}
{"ready": 2, "unmapped": 1}
"""


def test_units_are_read_from_what_simulate_prints(tmp_path: Path) -> None:
    file = tmp_path / "units.ndjson"
    file.write_text(UNITS)
    assert read_units(file) == {"j1": ("127.0.0.1", 16100), "j2": ("127.0.0.1", 16101)}


@pytest.mark.parametrize("text", ["", '{"ready": 0}\n', "j1 127.0.0.1\n", "[1, 2\n"])
def test_a_file_without_units_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "units.ndjson"
    file.write_text(text)
    with pytest.raises(InputError, match=r"units\.ndjson"):
        read_units(file)


def test_moments_carry_their_offset() -> None:
    found = _moment("2026-11-26T02:00+01:00", "--opens")
    assert found is not None
    assert found.isoformat() == "2026-11-26T02:00:00+01:00"
    assert _moment(None, "--opens") is None
    for text in ("2026-11-26T02:00", "tonight"):
        with pytest.raises(InputError, match="--closes"):
            _moment(text, "--closes")


def test_a_log_proves_a_push_by_what_came_after_it(tmp_path: Path) -> None:
    log = tmp_path / "events.csv"
    rows = [
        ("06:00:00", "j1", 131, 1), ("06:00:00", "j1", 132, 110), ("06:00:00", "j1", 150, 1),
        ("06:10:00", "j1", 131, 48), ("06:10:00", "j1", 132, 90), ("06:10:00", "j1", 133, 17),
        ("06:10:00", "j1", 150, 2), ("06:12:30", "j1", 150, 1), ("06:00:00", "j2", 131, 1),
    ]  # fmt: skip
    lines = [f"2026-11-26T{t}.000+00:00,{signal},{code},{value}" for t, signal, code, value in rows]
    log.write_text("\n".join(["TimeStamp,DeviceId,EventId,Parameter", *lines, ""]))
    proofs = read_proofs(log, {"j1": 48, "j2": 48})
    assert proofs["j2"] is None
    proof = proofs["j1"]
    assert proof is not None
    assert (proof.pattern, proof.cycle_s, proof.offset_s, proof.in_step_after_s) == (48, 90, 17, 150.0)
    assert proof.begun_s == 6 * 3600 + 600


def test_sumos_record_is_the_plans_from_the_last_difference_on(tmp_path: Path) -> None:
    network = read_network(read_scenario(find_network("single")))
    program = network.intersections["centre"].program
    assert program is not None
    crossing = network.intersections["centre"].crossings[0].link
    lines = []
    for second in range(300):
        state = program.state_at(second + (7 if second < 100 else 0))
        # pedestrians follow the unit's own walk
        state = state[:crossing] + "r" + state[crossing + 1 :]
        lines.append(f'<tlsState time="{second}.00" id="centre" programID="x" phase="0" state="{state}"/>')
    record = tmp_path / "states.xml"
    record.write_text("\n".join(["<tlsStates>", *lines, "</tlsStates>"]))
    since = shown_since(record, {"centre": program}, network)
    assert 90 < since["centre"] <= 100
    assert shown_since(record, {"other": program}, replace_signal(network, "other")) == {}


def replace_signal(network: Network, name: str) -> Network:
    """A network whose one signal has another name."""
    (intersection,) = network.intersections.values()
    return replace(network, intersections={name: intersection})


def test_the_demos_words_are_its_own_and_kept_from_others(tmp_path: Path) -> None:
    first, second = Communities.drawn(), Communities.drawn()
    assert len({first.read, first.write, second.read, second.write}) == 4
    known = read_credentials(first.keep(tmp_path / "credentials.toml"))
    assert known == {"street": Community(first.read, first.write)}
