"""Phase diagrams: bars as long as the program says, equal bytes, and ids of any kind."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import pytest

from signals.diagrams.groups import signal_groups
from signals.diagrams.phases import phase_diagram
from signals.diagrams.sheet import AMBER, PERMITTED, PROTECTED, Lamp, Sheet, text_width_in, wrapped
from signals.diagrams.sketch import layout
from signals.errors import InputError
from signals.model.network import Intersection, Network, Turn
from signals.model.phasing import SignalProgram

ROOT = Path(__file__).resolve().parents[3]
LETTERS = {PROTECTED: "G", PERMITTED: "g", AMBER: "y"}


def test_bars_are_as_long_as_the_program_says(
    junction: Intersection, network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[Lamp, list[float]] = defaultdict(list)
    legend_in = 0.3

    def record(self: Sheet, boxes: list[tuple[float, float, float, float]], lamp: Lamp) -> None:
        drawn[lamp] += [right - left for left, right, _, _ in boxes]

    monkeypatch.setattr(Sheet, "bars", record)
    program = junction.program
    assert program is not None
    phase_diagram(junction, network, {"in place": program}, tmp_path / "a.svg")
    groups = signal_groups(junction, network, [program])
    seconds = {
        lamp: sum(i.duration_s for g in groups for i in program.intervals if i.state[g.links[0]] == letter)
        for lamp, letter in LETTERS.items()
    }
    inches = {lamp: sum(drawn[lamp]) - legend_in for lamp in LETTERS}
    scales = [inches[lamp] / seconds[lamp] for lamp in LETTERS]
    assert scales == pytest.approx([scales[0]] * 3)
    # all rows are as long as the cycle
    everything = sum(sum(widths) for widths in drawn.values()) - legend_in * len(
        [lamp for lamp in drawn if drawn[lamp]]
    )
    assert everything == pytest.approx(scales[0] * program.cycle_s * len(groups))


@pytest.mark.parametrize("kind", ["svg", "png", "pdf"])
def test_the_same_drawing_gives_the_same_bytes(
    junction: Intersection, network: Network, tmp_path: Path, kind: str
) -> None:
    program = junction.program
    assert program is not None
    plan = replace(program, offset_s=7.0, program="plan")
    first = phase_diagram(junction, network, {"in place": program, "plan": plan}, tmp_path / f"a.{kind}")
    # whatever the user has set for other figures
    with mpl.rc_context({"font.size": 30, "lines.linewidth": 9, "svg.hashsalt": "other", "savefig.dpi": 40}):
        second = phase_diagram(junction, network, {"in place": program, "plan": plan}, tmp_path / f"b.{kind}")
    assert first.read_bytes() == second.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"a.{kind}", f"b.{kind}"]


def test_svg_is_xml_of_the_size_of_a_page(junction: Intersection, network: Network, tmp_path: Path) -> None:
    program = junction.program
    assert program is not None
    path = phase_diagram(junction, network, {"in place": program}, tmp_path / "a.svg")
    root = ElementTree.parse(path).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    # ISO 216: A4 is 210 mm by 297 mm
    assert float(root.get("width", "").removesuffix("pt")) / 72 * 25.4 == pytest.approx(210, abs=0.5)
    assert float(root.get("height", "").removesuffix("pt")) / 72 * 25.4 < 297
    assert "dc:date" not in path.read_text()


@pytest.mark.parametrize(
    "signal",
    ["$x^2$ $", "<a & 'b'>", "línea\n2\t\x07", "路口一", "x" * 400, "cluster_" + "123456789_" * 15, " "],
)
def test_ids_of_any_kind_are_drawn(
    network_of: Callable[..., Network],
    program_of: Callable[..., SignalProgram],
    tmp_path: Path,
    signal: str,
) -> None:
    network = network_of(signal)
    programs = {signal[:5]: program_of(signal), "plan": replace(program_of(signal), program=signal)}
    phase_diagram(network.intersections[signal], network, programs, tmp_path / "a.svg")
    ElementTree.parse(tmp_path / "a.svg")


def test_text_is_broken_to_fit() -> None:
    text = "cluster_306484187_cluster_1200363791_1200363826"
    lines = wrapped(text, 9.0, 1.5)
    assert "".join(lines) == text
    assert all(text_width_in(line, 9.0) <= 1.5 for line in lines)
    (short,) = wrapped(text, 9.0, 1.5, most=1)
    assert text_width_in(short, 9.0) <= 1.5
    head, tail = short.split("…")
    assert text.startswith(head)
    assert text.endswith(tail)
    assert wrapped("", 9.0, 1.0) == [""]


def test_errors_name_the_signal(
    junction: Intersection, network: Network, program_of: Callable[..., SignalProgram], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="signal J: no program"):
        phase_diagram(junction, network, {}, tmp_path / "a.svg")
    with pytest.raises(InputError, match="needs 13; is it a plan for another network"):
        phase_diagram(junction, network, {"plan": program_of(rows=((30.0, "GG"),))}, tmp_path / "a.svg")
    with pytest.raises(InputError, match="svg, png, pdf"):
        phase_diagram(junction, network, {"plan": program_of()}, tmp_path / "a.gif")
    with pytest.raises(InputError, match="can't be written"):
        phase_diagram(junction, network, {"plan": program_of()}, tmp_path / "missing" / "a.svg")
    assert not list(tmp_path.iterdir())


def test_diagrams_load_nothing_heavy_until_they_draw(tmp_path: Path) -> None:
    code = (
        "import sys, signals.diagrams.album, signals.diagrams.sketch\n"
        "heavy = {'matplotlib', 'numba', 'numpy', 'scipy', 'ortools'} & {m.split('.')[0] for m in sys.modules}\n"
        "assert not heavy, heavy\n"
        "from signals.diagrams.sheet import Sheet\n"
        "from pathlib import Path\n"
        "sheet = Sheet(1, 1); sheet.text(0.1, 0.5, 'a'); sheet.save(Path(sys.argv[1]))\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.svg")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# ------------------------------------------------------------------------------------------------ the plan


def test_legs_lie_where_they_come_from(junction: Intersection, network: Network) -> None:
    legs = {leg.name: leg for leg in layout(junction, network).legs}
    # who drives north comes from the south, and so on around the compass
    assert {name: leg.bearing_deg for name, leg in legs.items()} == {"NB": 180, "EB": 270, "SB": 0, "WB": 90}
    assert legs["NB"].exits == ("J-S-out",)


def test_arrows_start_on_the_right_and_end_on_their_leg(junction: Intersection, network: Network) -> None:
    plan = layout(junction, network)
    bearing = {leg.approach: math.radians(leg.bearing_deg) for leg in plan.legs}
    for movement in junction.movements:
        (x0, y0), (x1, y1) = plan.paths[movement.id][0], plan.paths[movement.id][-1]
        out = bearing[movement.approach]
        # who drives in keeps right: from the south leg that is the east side, a quarter turn before its bearing
        assert x0 * math.sin(out - math.pi / 2) + y0 * math.cos(out - math.pi / 2) > 0
        assert x0 * math.sin(out) + y0 * math.cos(out) == pytest.approx(1, abs=0.1)
        # seen from above, a left turn ends on the leg clockwise from its own, which is 270° the other way round
        turned = math.degrees(math.atan2(x0 * y1 - y0 * x1, x0 * x1 + y0 * y1)) % 360
        quarter = {Turn.LEFT: 270, Turn.THROUGH: 180, Turn.RIGHT: 90}[movement.turn]
        assert turned == pytest.approx(quarter, abs=30)


def test_near_legs_are_pushed_apart(junction: Intersection, network: Network) -> None:
    # the west approach and exit now come in beside the north leg
    edges = dict(network.edges)
    edges["J-W-in"] = replace(edges["J-W-in"], heading_deg=175.0)
    edges["J-W-out"] = replace(edges["J-W-out"], start_xy=(-1.0, 10.0), end_xy=(-18.0, 200.0))
    legs = layout(junction, replace(network, edges=edges)).legs
    bearings = sorted(leg.bearing_deg % 360 for leg in legs)
    gaps = [(b - a) % 360 for a, b in zip(bearings, (*bearings[1:], bearings[0]))]
    assert len(legs) == 4
    assert min(gaps) > 30


def test_a_controller_over_two_junctions_shows_both(
    network_with: Callable[..., Network], tmp_path: Path
) -> None:
    network = network_with("A", "B")
    a, b = network.intersections["A"], network.intersections["B"]
    shifted = [replace(m, links=tuple(i + 13 for i in m.links)) for m in b.movements]
    both = replace(
        a,
        junctions=("A-junction", "B-junction"),
        connections=(*a.connections, *b.connections),
        approaches=(*a.approaches, *b.approaches),
        movements=(*a.movements, *shifted),
        crossings=(*a.crossings, *(replace(c, link=c.link + 13) for c in b.crossings)),
    )
    plan = layout(both, network)
    assert plan.centres["A-junction"][0] < 0 < plan.centres["B-junction"][0]
    assert plan.paths.keys() == {m.id for m in both.movements}
    assert all(max(abs(x), abs(y)) <= 1.01 for path in plan.paths.values() for x, y in path)
    program = a.program
    assert program is not None
    twice = replace(program, intervals=tuple(replace(i, state=i.state * 2) for i in program.intervals))
    phase_diagram(both, network, {"in place": twice}, tmp_path / "two.png")
    assert (tmp_path / "two.png").stat().st_size > 0


def test_equal_bytes_from_another_process(tmp_path: Path) -> None:
    # hash seeds differ between processes; the order of sets must not show
    code = (
        "import sys; from pathlib import Path\n"
        "from signals.formats.sumo.config import read_scenario\n"
        "from signals.formats.sumo.network import read_network\n"
        "from signals.diagrams.phases import phase_diagram\n"
        "from sumo_nets import find_network\n"
        "n = read_network(read_scenario(find_network('single')))\n"
        "i = n.intersections['centre']\n"
        "phase_diagram(i, n, {'in place': i.program}, Path(sys.argv[1]))\n"
    )
    for seed in ("1", "2"):
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / f"{seed}.svg")],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed},
            timeout=60,
            check=True,
        )
    assert (tmp_path / "1.svg").read_bytes() == (tmp_path / "2.svg").read_bytes()
